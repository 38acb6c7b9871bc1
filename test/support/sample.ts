/** Samples of matrices: drawn by a seed that suites print in their titles, and that RINGFENCE_TEST_SEED repeats. */
import { randomInt } from "node:crypto";
import fc from "fast-check";

export const seed = Number(process.env.RINGFENCE_TEST_SEED ?? randomInt(2 ** 31));

/** For a suite's title. */
export const seedText = `seed ${seed}; RINGFENCE_TEST_SEED repeats it`;

/** All of them, in an order that the seed decides. */
export function shuffled<T>(items: readonly T[]): T[] {
  const everything = { minLength: items.length, maxLength: items.length };
  return fc.sample(fc.shuffledSubarray([...items], everything), { seed, numRuns: 1 })[0] ?? [];
}

/** Some of them, in their own order. */
export function sampled<T>(items: readonly T[], count: number): T[] {
  const chosen = new Set(shuffled(items).slice(0, count));
  return items.filter((item) => chosen.has(item));
}

/** @returns a filter that lets pass whatever has an aspect that nothing before it had */
export function novel<T>(aspectsOf: (each: T) => string[]): (each: T) => boolean {
  const seen = new Set<string>();
  return (each) => aspectsOf(each).filter((aspect) => !seen.has(aspect) && seen.add(aspect)).length > 0;
}
