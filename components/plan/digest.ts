/** One text, and one digest, for one JSON value. */
import { createHash } from "node:crypto";

/** A digest of any JSON value that does not depend on the order of its keys. */
export function digestOf(value: unknown): string {
  return createHash("sha256").update(canonical(value)).digest("hex").slice(0, 16);
}

/** JSON with sorted keys. */
export const canonical = (value: unknown): string => JSON.stringify(ordered(value));

/** A copy, for a replacer of JSON.stringify takes twice as long. */
function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  for (const entry of entries) entry[1] = ordered(entry[1]);
  return Object.fromEntries(entries);
}
