/** What the benchmarks' figures are made of, and where they go. */
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";

/** @param share 0 to 1 */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** Of three digits: the machine does not give more. */
export const rounded = (value: number): number => Number(value.toPrecision(3));

/** What of the machine the figures depend on. */
export const machine = () => ({ cores: cpus().length, loadBefore: loadavg().map(rounded) });

/** Writes `bench/results/<name>.json` and its picture. */
export function saveResults(name: string, result: object, picture: string): void {
  const directory = new URL("results/", import.meta.url);
  mkdirSync(directory, { recursive: true });
  writeFileSync(new URL(`${name}.json`, directory), `${JSON.stringify(result, null, 2)}\n`);
  writeFileSync(new URL(`${name}.svg`, directory), picture);
}
