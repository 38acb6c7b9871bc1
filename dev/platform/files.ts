/**
 * Small files that must survive a kill at any moment: a reader sees the old text or the new one, never half of it.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/** The text of a file; `undefined` where there is none. */
export function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Writes a file that only its owner may read, in one step. A file that has this text already is left alone. */
export function write(path: string, text: string): void {
  if (read(path) === text) return;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}.draft`;
  writeFileSync(draft, text, { mode: 0o600 });
  renameSync(draft, path);
}

/** The file's text, which is made and written the first time and kept from then on. */
export function keep(path: string, make: () => string): string {
  const kept = read(path);
  if (kept !== undefined) return kept;
  const made = make();
  write(path, made);
  return made;
}

/** 256 random bits, in characters that need no quoting in a shell, a URL or `user:password`. */
export const randomSecret = (): string => randomBytes(32).toString("base64url");
