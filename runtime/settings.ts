/** Settings that come from an option, else from the environment that the vertex was given, else have a default. */
import { VisibleError } from "../components/plan/visible-error.ts";

/** @throws VisibleError */
export function secondsOf(
  name: string,
  option: number | undefined,
  variable: string | undefined,
  fallback: number,
): number {
  const value = option ?? (variable ? Number(variable) : fallback);
  if (Number.isFinite(value) && value >= 0) return value;
  throw new VisibleError(`${name}: found ${option ?? `'${variable}'`}; expected seconds, 0 or more: correct it`);
}

/** @throws VisibleError */
export function integerOf(
  name: string,
  option: number | undefined,
  variable: string | undefined,
  { least, fallback }: { least: number; fallback: number },
): number {
  const value = option ?? (variable ? Number(variable) : fallback);
  if (Number.isInteger(value) && value >= least) return value;
  throw new VisibleError(
    `${name}: found ${option ?? `'${variable}'`}; expected a whole number from ${least} on: correct it`,
  );
}
