/** Mistakes in what a person wrote: one line each, with the path, what was found and what is allowed. */
import type { z } from "zod";
import { VisibleError } from "./visible-error.ts";

/** A mistake at one place of the input. */
export interface Problem {
  /** Where: property names and indexes from the root of the value. */
  path: string;
  /** What was found there and what is allowed. */
  reason: string;
}

/** Thrown when an input is refused; the message has one line for each problem. */
export class InvalidSpec extends VisibleError {
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
  const result = schema.safeParse(value, { error: expectation });
  if (result.success) return result.data;
  throw new InvalidSpec(result.error.issues.flatMap((issue) => describe(issue, value, root)));
}

/** Whether a value is a promise or one of Pulumi's outputs, told by shape: plan does not know Pulumi. */
export const isPending = (value: unknown): boolean =>
  value instanceof Promise || (value !== null && typeof value === "object" && "apply" in value);

/**
 * Every problem of `value` but those that a pending part of it may still mend.
 * @param pending tells a value that is not known yet
 */
export function problemsSoFar(schema: z.ZodType, value: unknown, root: string, pending = isPending): Problem[] {
  const { issues } = schema.safeParse(value, { error: expectation }).error ?? { issues: [] };
  const settled = issues.filter(({ path }) => !path.some((_, depth) => pending(at(value, path.slice(0, depth + 1)))));
  return settled.flatMap((issue) => describe(issue, value, root));
}

const KINDS: Record<string, string> = {
  record: "an object",
  object: "an object",
  array: "a list",
  int: "a whole number",
};

/** What is allowed, where the schema does not say it in words of its own. */
const expectation: z.core.$ZodErrorMap = (issue) => {
  if (issue.code === "invalid_type") return `expected ${KINDS[issue.expected] ?? `a ${issue.expected}`}`;
  if (issue.code !== "unrecognized_keys") return undefined;
  const { shape } = (issue.inst as z.core.$ZodObject)._zod.def;
  return `known here: ${Object.keys(shape).join(", ")}`;
};

function describe(issue: z.core.$ZodIssue, value: unknown, root: string): Problem[] {
  const { path, message } = issue;
  if (issue.code === "unrecognized_keys") {
    // Their values are nobody's to judge, and may be secret.
    return issue.keys.map((key) => ({
      path: pathText(root, [...path, key]),
      reason: `found an unknown property; ${message}`,
    }));
  }
  const found = issue.code === "invalid_key" ? `the name ${quoted(String(path.at(-1)))}` : shown(at(value, path), path);
  const allowed = issue.code === "invalid_key" ? issue.issues.map((inner) => inner.message).join(", ") : message;
  return [{ path: pathText(root, path), reason: `found ${found}; ${allowed}` }];
}

/** `root.a.b[0]["c.d"]`, as users write it. */
export function pathText(root: string, path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === "number") return `${text}[${key}]`;
    if (!/^[\w-]+$/.test(String(key))) return `${text}[${JSON.stringify(String(key))}]`;
    return `${text}${/^$|:$/.test(text) ? "" : "."}${String(key)}`;
  }, root);
}

const at = (value: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>((inner, key) => (inner as Record<PropertyKey, unknown> | null | undefined)?.[key], value);

/** Where a value may be a secret, or hold one as arguments and addresses do: the path names it, the value stays out. */
const SECRET =
  /^(env|secretEnv|credentials|args|command|tls)$|(password|seed|creds|key|token|kubeconfig|endpoints|servers)$/i;

function shown(value: unknown, path: readonly PropertyKey[]): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "an object";
  if (path.some((key) => SECRET.test(String(key)))) return `a ${typeof value}`;
  return typeof value === "string" ? quoted(disarmed(value)) : clipped(String(value));
}

/** Without a URL's user and query, which are secret where it is a signed one. */
const disarmed = (text: string): string =>
  text.replace(/^(\w+:\/\/)[^/?#]*@/, "$1…@").replace(/^(\w+:\/\/[^?#]*)[?#].*$/s, "$1?…");

/** On one line, whatever is in it. */
const quoted = (text: string) => `'${clipped(text)}'`;
const clipped = (text: string) =>
  (text.length > 80 ? `${text.slice(0, 80)}…` : text).replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, " ");
