/** Why a request was not answered, told so that the caller knows whether it may send it again. */

/**
 * - `unavailable`: it was not run, and will not be: send it again.
 * - `outcome-unknown`: it may have been run: look before you send it again, or mark it `idempotent`.
 * - `failed`: the handler threw; it was run.
 * - `invalid`: it cannot be sent: it has no JSON form, or is too large.
 * - `aborted`: the caller's signal; it may have been run.
 */
export type RequestErrorCode = "unavailable" | "outcome-unknown" | "failed" | "invalid" | "aborted";

/** One instance that was asked, and what came of it. */
export interface Attempt {
  instance: string;
  outcome: string;
}

export class RequestError extends Error {
  readonly code: RequestErrorCode;
  readonly endpoint: string;
  /** In the order in which they were made. */
  readonly attempts: readonly Attempt[];

  constructor(
    message: string,
    details: { code: RequestErrorCode; endpoint: string; attempts?: readonly Attempt[]; cause?: unknown },
  ) {
    super(message, { cause: details.cause });
    this.name = "RequestError";
    this.code = details.code;
    this.endpoint = details.endpoint;
    this.attempts = details.attempts ?? [];
  }
}

/** `3 attempts: a1 no responders (twice), b2 refused it (draining)`. */
export function told(attempts: readonly Attempt[]): string {
  if (attempts.length === 0) return "nobody was asked";
  const parts: Array<{ text: string; times: number }> = [];
  for (const { instance, outcome } of attempts) {
    const text = `${instance} ${outcome}`;
    const last = parts.at(-1);
    if (last?.text === text) last.times++;
    else parts.push({ text, times: 1 });
  }
  const list = parts.map(({ text, times }) => (times > 1 ? `${text} (${times} times)` : text)).join(", ");
  return `${attempts.length === 1 ? "1 attempt" : `${attempts.length} attempts`}: ${list}`;
}

const ADVICE: Record<Exclude<RequestErrorCode, "failed">, string> = {
  unavailable: "it was not run: send it again",
  "outcome-unknown": "it may have been run: mark it idempotent if it may be run twice",
  aborted: "it may have been run",
  invalid: "correct it",
};

/**
 * @param why what ended it
 * @param details.summary of the instances that are known
 */
export function requestError(
  why: string,
  {
    summary,
    ...details
  }: { code: RequestErrorCode; endpoint: string; attempts: readonly Attempt[]; summary: string; cause?: unknown },
): RequestError {
  const { code, endpoint, attempts } = details;
  const context = code === "failed" ? "" : `; ${told(attempts)}; ${summary}; ${ADVICE[code]}`;
  return new RequestError(`request to '${endpoint}': ${why}${context}`, details);
}
