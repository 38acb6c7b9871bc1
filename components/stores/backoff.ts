/** How long to wait before one more try: exponential, with full jitter, so that those who failed together do not come back together. */
import { ExponentialBackoff, fullJitterGenerator } from "cockatiel";

/** Milliseconds. */
export interface BackoffOptions {
  /** The first wait is below this. */
  initialMs: number;
  /** No wait is longer. */
  maxMs: number;
}

/** @returns a function that gives each next wait, milliseconds */
export function backoff({ initialMs, maxMs }: BackoffOptions): () => number {
  const factory = new ExponentialBackoff({ generator: fullJitterGenerator, initialDelay: initialMs, maxDelay: maxMs });
  let current: ReturnType<typeof factory.next> | undefined;
  return () => {
    current = current ? current.next(undefined) : factory.next();
    return current.duration;
  };
}

/** Waits, at most until the signal. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
}
