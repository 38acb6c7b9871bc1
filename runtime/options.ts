import type { Attempt } from "./errors.ts";

/** What a caller may ask for. */
export interface RequestOptions {
  /**
   * Running it twice is as good as once, so that it may be sent to another instance after one may have run it.
   * @default false
   */
  idempotent?: boolean;
  /** Milliseconds after which the caller stops waiting, whatever was tried. @default 30000 */
  deadlineMs?: number;
  /**
   * Milliseconds that an instance may be silent: after that it is asked again, or, for an idempotent request of whose
   * reply nothing has come, another one is. @default 5000
   */
  attemptTimeoutMs?: number;
  /** Instances that are asked, at most. @default 5 */
  maxAttempts?: number;
  /** Ends the request from the caller's side; the handler hears of it. */
  signal?: AbortSignal;
  /** Hears who was asked of a request that was answered: the last one answered it. */
  onAnswered?: (attempts: readonly Attempt[]) => void;
}
