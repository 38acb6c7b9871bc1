/**
 * Reading what a stack's resources hold. Any part may be missing, of another type than its schema says, or not known
 * yet: nothing here throws, and what is not known is told apart from what is not there.
 */
import type { PolicyResource } from "@pulumi/policy";
import * as internals from "@pulumi/policy/proxy.js";

/** Keys and indexes from a resource's properties down to a value. */
export type Path = readonly (string | number)[];

/**
 * The SDK hands properties out behind a proxy that throws wherever a value is unknown, one proxy for each look. What lies
 * behind it has the engine's markers in the unknown places: looking for those is twenty times as fast.
 */
const { getSpecialProxyTarget, ...markers } = internals as unknown as Record<string, string>;
const UNKNOWN: ReadonlySet<unknown> = new Set(
  Object.entries(markers).flatMap(([name, marker]) => (/^unknown\w+Value$/.test(name) ? [marker] : [])),
);

/** Whether a value is one that a preview cannot know. */
export const isUnknown = (value: unknown): boolean => UNKNOWN.has(value);

/** A resource's properties, to be read with the functions below. */
export function propsOf(resource: PolicyResource): unknown {
  const props: unknown = resource.props;
  return isRecord(props) ? (props[getSpecialProxyTarget as string] ?? props) : undefined;
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === "object" && !Array.isArray(value);

/** What lies at a path: undefined when nothing does, the marker of an unknown value when it or something above it is unknown. */
export function at(value: unknown, ...path: Path): unknown {
  let inner = value;
  for (const key of path) {
    if (isUnknown(inner)) return inner;
    if (inner === null || typeof inner !== "object" || !Object.hasOwn(inner, key)) return undefined;
    inner = (inner as Record<string | number, unknown>)[key];
  }
  return inner === null ? undefined : inner;
}

/** A known text; undefined for anything else. */
export const text = (value: unknown): string | undefined =>
  typeof value === "string" && !isUnknown(value) ? value : undefined;

/** A known number, whether it is written as a number or as the text of one. */
export function number(value: unknown): number | undefined {
  if (typeof value === "number") return value;
  const written = text(value)?.trim();
  return written !== undefined && /^-?\d+(\.\d+)?$/.test(written) ? Number(written) : undefined;
}

/** The elements of a list; none when it is no list, or unknown. */
export const items = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

/** The entries of an object; none when it is no object, or unknown. */
export const entries = (value: unknown): [string, unknown][] => (isRecord(value) ? Object.entries(value) : []);

/** Whether a value, or any part of it, is unknown. */
export function hasUnknown(value: unknown): boolean {
  if (value === null || typeof value !== "object") return isUnknown(value);
  return Object.values(value).some(hasUnknown);
}

/** Calls `visit` with every known text inside a value, and where it lies. The path is only good during the call. */
export function eachText(
  value: unknown,
  visit: (text: string, path: Path) => void,
  path: (string | number)[] = [],
): void {
  if (typeof value === "string") {
    if (!isUnknown(value)) visit(value, path);
    return;
  }
  if (value === null || typeof value !== "object") return;
  const list = Array.isArray(value);
  for (const key of Object.keys(value)) {
    path.push(list ? Number(key) : key);
    eachText((value as Record<string, unknown>)[key], visit, path);
    path.pop();
  }
}
