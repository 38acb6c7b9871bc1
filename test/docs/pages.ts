// The pages that users read, and what is quoted in them.
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));

export interface Page {
  /** From the root. */
  path: string;
  text: string;
}

export const pages: Page[] = [
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  ...globSync("docs/*.md", { cwd: root }).sort(),
].map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }));

export interface Block {
  page: string;
  /** Of the first line of its text, from 1. */
  line: number;
  text: string;
}

/** Fenced blocks of a language. */
export const blocks = (language: string): Block[] =>
  pages.flatMap(({ path, text }) =>
    [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)]
      .filter(([, found]) => found === language)
      .map(({ index, 2: inner = "" }) => ({
        page: path,
        line: text.slice(0, index).split("\n").length + 1,
        text: inner,
      })),
  );

/** What is quoted as code: spans, and lines of fenced and of indented blocks; each alternative of `a b \\| c` as `a c`. */
export function quoted({ text }: Page): string[] {
  const fence = /^```\w*\n(.*?)^```$/gms;
  const prose = text.replace(fence, "");
  return [
    ...[...prose.matchAll(/`([^`]+)`/g)].flatMap(([, code = ""]) => alternatives(code.replace(/\s+/g, " "))),
    ...[...prose.matchAll(/^ {4}(\S.*)$/gm)].map(([, code = ""]) => code),
    ...[...text.matchAll(fence)].flatMap(([, code = ""]) => code.split("\n")),
  ];
}

/** In a table, a bar stands for itself with a backslash before it. */
function alternatives(code: string): string[] {
  const [first = "", ...others] = code.split(" \\| ");
  const common = first.replace(/\S+$/, "");
  return [first, ...others.map((other) => common + other)];
}
