/** What a policy says of a resource: one line with the resource, the property, what was found and the fix; never a secret. */
import type { ReportViolation } from "@pulumi/policy";
import { redacted } from "./credentials.ts";
import type { Path } from "./value.ts";

export interface Verdict {
  /** The resource that it is about. */
  resource: { name: string; urn: string };
  path: Path;
  /** What was found and what is wrong with it: the rest of a sentence that begins with the property. */
  problem: string;
  /** What to do: a sentence without its full stop. */
  fix: string;
}

/** Reports a violation. */
export function tell(report: ReportViolation, { resource, path, problem, fix }: Verdict): void {
  report(oneLine(redacted(`${pathText(resource.name, path)}: ${problem}; ${fix}.`)), resource.urn);
}

/** A value as a message may have it: not too long, its credentials left out. */
export function shown(value: unknown): string {
  if (typeof value !== "string") return typeof value === "object" ? "an object" : String(value);
  const open = redacted(value);
  return `'${open.length > 80 ? `${open.slice(0, 80)}…` : open}'`;
}

const oneLine = (message: string): string => message.replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, " ");

/** `name.spec.containers[0]["a.b/c"]` */
export function pathText(root: string, path: Path): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === "number") return `${text}[${key}]`;
    return /^[\w-]+$/.test(key) ? `${text}.${key}` : `${text}[${JSON.stringify(key)}]`;
  }, root);
}
