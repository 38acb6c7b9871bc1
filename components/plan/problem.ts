/** Mistakes in what a person wrote: one line each, with the path, what was found and what is allowed. */
import type { z } from "zod";

/** A mistake at one place of the input. */
export interface Problem {
  /** Where: property names and indexes from the root of the value. */
  path: string;
  /** What was found there and what is allowed. */
  reason: string;
}

/** Thrown when an input is refused; the message has one line for each problem. */
export class InvalidSpec extends Error {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(problems.map((problem) => `${problem.path}: ${problem.reason}`).join("\n"));
    this.name = "InvalidSpec";
    this.problems = problems;
  }
}

/**
 * Parses `value`, or throws InvalidSpec with every problem.
 * @param root the path of the value itself, for example `ringfence:pipelines`
 */
export function parse<T extends z.ZodType>(schema: T, value: unknown, root: string): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new InvalidSpec(result.error.issues.map((issue) => describe(issue, value, root)));
}

function describe(issue: z.core.$ZodIssue, value: unknown, root: string): Problem {
  if (issue.code === "unrecognized_keys") {
    const path = [...issue.path, issue.keys[0] as string];
    return {
      path: pathText(root, path),
      reason: `found ${shown(at(value, path), path)}; no such property is known here`,
    };
  }
  if (issue.code === "invalid_key") {
    const reason = issue.issues.map((inner) => inner.message).join(", ");
    return { path: pathText(root, issue.path), reason: `found the name '${String(issue.path.at(-1))}'; ${reason}` };
  }
  return {
    path: pathText(root, issue.path),
    reason: `found ${shown(at(value, issue.path), issue.path)}; ${lowerFirst(issue.message.replace(/^[^:]*: /, ""))}`,
  };
}

/** `root.a.b[0]`, as users write it. */
export function pathText(root: string, path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, key) =>
      typeof key === "number" ? `${text}[${key}]` : `${text}${/^$|:$/.test(text) ? "" : "."}${String(key)}`,
    root,
  );
}

const lowerFirst = (text: string) => text.charAt(0).toLowerCase() + text.slice(1);

const at = (value: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>((inner, key) => (inner as Record<PropertyKey, unknown> | undefined)?.[key], value);

/** Environment variables, passwords, keys and credentials may be secret: the path names them, the value stays out. */
const SECRET_PATH = /env|password|seed|creds|key|token|kubeconfig/i;

function shown(value: unknown, path: readonly PropertyKey[]): string {
  if (value === undefined) return "nothing";
  if (path.some((key) => SECRET_PATH.test(String(key)))) return `a ${typeof value}`;
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "an object";
  const text = typeof value === "string" ? `'${value}'` : String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
