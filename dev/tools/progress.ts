/** Takes one line of what is being done; each is a line of its own, so that a log reads like a terminal. */
export type Log = (line: string) => void;

export const toStderr: Log = (line) => void process.stderr.write(`tools: ${line}\n`);

/** Milliseconds between two signs of life of something long. */
const EVERY = 15_000;

/** Says at intervals how far a long step is and how long it has run, until the step has ended. */
export async function withProgress<T>(log: Log, describe: () => string, step: () => Promise<T>): Promise<T> {
  const started = Date.now();
  const timer = setInterval(() => log(`${describe()}, ${elapsed(started)} so far`), EVERY);
  try {
    return await step();
  } finally {
    clearInterval(timer);
  }
}

/** Time since `started` (milliseconds since the epoch) as `2m05s` or `7s`. */
export function elapsed(started: number): string {
  const seconds = Math.round((Date.now() - started) / 1000);
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${String(seconds % 60).padStart(2, "0")}s`;
}
