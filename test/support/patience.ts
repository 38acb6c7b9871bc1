/**
 * How long an act takes of the time in which this process is let run: a machine that stands still for a while is no fault of
 * the act's. Where time is what is asserted, for all else there are deadlines.
 */
const TICK_MS = 100;

/** @returns what the act gives, and how many milliseconds it took */
export async function timed<T>(act: Promise<T>): Promise<{ result: T; ms: number }> {
  let ticks = 0;
  // Ticks that are missed do not come later.
  const timer = setInterval(() => ticks++, TICK_MS);
  try {
    return { result: await act, ms: ticks * TICK_MS };
  } finally {
    clearInterval(timer);
  }
}
