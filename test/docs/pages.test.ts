// What the pages name is there, and what is there is named.
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { program } from "../../cli/program.ts";
import { pages, quoted, root } from "./pages.ts";

const textOf = (...patterns: string[]) =>
  globSync(patterns, { cwd: root })
    .map((file) => readFileSync(join(root, file), "utf8"))
    .join("\n");

/** What ships, and the program of this repository. */
const source = textOf("{components,runtime,cli,stacks,policy}/**/*.{ts,mts,cjs}", "dev/**/*.{ts,js}");
/** What parts of ours tell each other. */
const INTERNAL = [
  "RINGFENCE_ADAPTERS_DIRECTORY",
  "RINGFENCE_ADAPTERS_PORT",
  "RINGFENCE_BOOTSTRAPPED_BY",
  "RINGFENCE_ENGINE_PORT",
  "RINGFENCE_SERVER",
  "RINGFENCE_TOKEN_DIRECTORY",
];

const code = pages.flatMap(quoted);
const everything = pages.map(({ text }) => text).join("\n");

describe("links", () => {
  /** As GitHub makes them. */
  const anchorsOf = (target: string) =>
    [...readFileSync(join(root, target), "utf8").matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
      heading
        .toLowerCase()
        .replace(/[^\w\- ]/g, "")
        .trim()
        .replaceAll(" ", "-"),
    );

  for (const { path, text } of pages)
    it(`of ${path} lead somewhere`, () => {
      const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, to = ""]) => to).filter((to) => !to.includes("://"));
      const broken = links.filter((to) => {
        const [file = "", anchor] = to.split("#");
        const target = file ? join(dirname(path), file) : path;
        return !existsSync(join(root, target)) || (anchor && !anchorsOf(target).includes(anchor));
      });
      assert.deepEqual(broken, []);
    });

  it("lead to every page from the README", () => {
    const start = pages.find(({ path }) => path === "README.md")?.text ?? "";
    assert.deepEqual(
      pages.filter(({ path }) => path !== "README.md" && !start.includes(`](${path})`)).map(({ path }) => path),
      [],
    );
  });
});

describe("the command line", () => {
  /** By command: its options. */
  const commands = new Map<string, string[]>();
  const groups = new Set<string>();
  const walk = (command: Command, path: string[]) => {
    const name = path.join(" ");
    if (command.commands.length === 0) commands.set(name, [...command.options.map(({ long }) => `${long}`), "--help"]);
    else groups.add(name);
    for (const each of command.commands) walk(each, [...path, each.name()]);
  };
  walk(program, []);

  /** Each `ringfence …` that is quoted, up to a pipe, a redirection or a comment. */
  const calls = code.flatMap((line) =>
    [...line.matchAll(/(?:^|[\s(])ringfence( [^|>#)]*)?(?=$|[|>#)])/g)].map(([, words = ""]) => {
      const [first = "", second = ""] = words.trim().split(/\s+/);
      return { line, name: groups.has(first) ? `${first} ${second}`.trim() : first, words };
    }),
  );
  const flagsIn = (words: string) => words.match(/(?<![\w-])--[a-z][\w-]*/g) ?? [];

  for (const [name, flags] of commands)
    it(`${name}: the docs have it, with all its options and no others`, () => {
      const about = calls.filter((call) => call.name === name);
      assert.ok(about.length > 0, "no page quotes it");
      const named = new Set(about.flatMap(({ words }) => flagsIn(words)));
      assert.deepEqual(
        flags.filter((flag) => flag !== "--help" && !named.has(flag)),
        [],
        "no page quotes it with these",
      );
      for (const { line, words } of about)
        for (const flag of flagsIn(words)) assert.ok(flags.includes(flag), `'${line}': it has no ${flag}`);
    });

  it("has every command that the docs quote", () => {
    const known = new Set([...commands.keys(), ...groups, "…", "--help"]);
    assert.deepEqual(
      calls.filter(({ name }) => !known.has(name)).map(({ line }) => line),
      [],
    );
  });
});

describe("names", () => {
  it("npm scripts are there", () => {
    const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const lines = code.flatMap((line) => [...line.matchAll(/\bnpm (?:run )?([a-z][\w:-]*)/g)].map(([, name]) => name));
    const npms = ["install", "pack", "run"];
    const unknown = lines.filter((name = "") => !(name in scripts) && !npms.includes(name) && !name.endsWith(":"));
    assert.deepEqual(unknown, []);
  });

  it("environment variables of ours are there, and each that is anybody else's to read or set is named", () => {
    const pattern = /\bRINGFENCE_[A-Z0-9_]+/g;
    const named = new Set(everything.match(pattern));
    const there = new Set(source.match(pattern));
    assert.deepEqual(
      [...named].filter((name) => !there.has(name)),
      [],
    );
    assert.deepEqual(
      [...there].filter((name) => !named.has(name) && !INTERNAL.includes(name)),
      [],
    );
  });

  it("metrics are there, and each that is served is named", () => {
    const pattern = /\bringfence_[a-z]+(?:_[a-z]+)*/g;
    const braces = [...everything.matchAll(/\b(ringfence_\w+_)\{([\w,]+)\}/g)];
    const expanded = braces.flatMap(([, begin, ends = ""]) => ends.split(",").map((end) => `${begin}${end}`));
    const named = new Set([...(everything.match(pattern) ?? []), ...expanded]);
    for (const [, begin = ""] of braces) named.delete(begin.slice(0, -1));
    const served = new Set(source.match(pattern));
    assert.ok(served.size > 20);
    assert.deepEqual([...named].sort(), [...served].sort());
  });

  it("labels and annotations are there, and are named", () => {
    const pattern = /\b(?:adapter\.)?ringfence\.dev\/[a-z-]*/g;
    // Images, which are no labels, have a tag.
    const namesIn = (text: string) => new Set(text.replace(/ringfence\.dev\/[\w-]+:/g, "").match(pattern));
    const made = namesIn(textOf("{components,runtime}/**/*.ts"));
    const named = namesIn(everything);
    const all = namesIn(source);
    assert.deepEqual(
      [...made].filter((name) => !named.has(name)),
      [],
    );
    assert.deepEqual(
      [...named].filter((name) => !all.has(name)),
      [],
    );
  });

  it("config keys are there", () => {
    const program = textOf("stacks/index.ts");
    const keys = [...everything.matchAll(/\bringfence:([a-z]+)/g)];
    const unknown = keys.map(([, key]) => key).filter((key) => key !== "platform" && !program.includes(`"${key}"`));
    assert.notEqual(keys.length, 0);
    assert.deepEqual(unknown, []);
  });
});
