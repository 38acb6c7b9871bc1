/** What goes wrong between us and a server, told so that a person knows which server and what to do. */

import { VisibleError } from "../plan/visible-error.ts";

/** A server refused, or could not be reached. */
export class StoreError extends VisibleError {
  /** The call may still take effect: it was sent, and no answer came. */
  readonly inDoubt: boolean;
  /** Nobody answered, as opposed to an answer that refuses. */
  readonly unreachable: boolean;

  constructor(message: string, options: { inDoubt?: boolean; unreachable?: boolean; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.name = "StoreError";
    this.inDoubt = options.inDoubt ?? false;
    this.unreachable = options.unreachable ?? false;
  }
}

/** The longest that one call to a store may take, milliseconds. Well below a lock's lease (15 s), see docs/protocol.md. */
export const CALL_DEADLINE_MS = 5_000;

/**
 * Polls until `done` returns a value.
 * @param options.deadlineMs how long at most
 * @param options.late makes the error when time is up
 */
export async function until<T>(
  done: () => Promise<T | undefined>,
  options: { deadlineMs: number; everyMs?: number; late: () => Error | Promise<Error> },
): Promise<T> {
  const end = Date.now() + options.deadlineMs;
  for (;;) {
    const value = await done();
    if (value !== undefined) return value;
    if (Date.now() >= end) throw await options.late();
    await new Promise((resolve) => setTimeout(resolve, options.everyMs ?? 100));
  }
}
