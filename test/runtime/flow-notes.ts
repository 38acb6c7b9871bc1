/** What a sink notes of the numbers that came: lines of one length, so that the file's size tells how many there are. */
import { existsSync, readFileSync } from "node:fs";

export const LINE = 8;

export const lineOf = (n: number): string => `${String(n).padStart(LINE - 1)}\n`;

/** In the order in which they came. */
export const readNotes = (file: string): number[] =>
  existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean).map(Number) : [];
