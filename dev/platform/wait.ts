import { setTimeout as sleep } from "node:timers/promises";

/** One line for whatever was thrown; `fetch` hides what it met in `cause`. */
export function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : "";
  return (error.message + cause).split("\n", 1)[0] ?? "";
}

/**
 * Tries until the attempt passes.
 * @param options.attempt throws for as long as the condition does not hold
 * @param options.within seconds
 * @param options.giveUp returns an error that makes further attempts pointless
 * @throws the error of `giveUp`, or after the deadline one that carries the last attempt's
 */
export async function until<T>(options: {
  what: string;
  attempt: () => Promise<T>;
  within: number;
  giveUp?: () => Error | undefined;
}): Promise<T> {
  const deadline = Date.now() + options.within * 1000;
  for (;;) {
    try {
      return await options.attempt();
    } catch (error) {
      const hopeless = options.giveUp?.();
      if (hopeless) throw hopeless;
      if (Date.now() > deadline) throw new Error(`${options.what}: not within ${options.within} s: ${reason(error)}`);
    }
    await sleep(50);
  }
}
