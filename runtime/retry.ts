/** How much may be tried again, so that retries never become the load that they answer. */

/** Each request earns this share of a retry. */
const SHARE = 0.2;

/** So many retries a second are earned by time alone: a client that asks seldom has them when it needs them. */
const PER_SECOND = 2;

/** Retries that a client may spend before it has earned any, and the most that it saves up. */
const SAVINGS = 20;

/** A retry budget: over time, at most a share of the requests, and a few a second, are sent again. */
export class RetryBudget {
  readonly #now: () => number;
  #tokens = SAVINGS;
  #counted: number;

  /** @param now milliseconds */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#counted = now();
  }

  /** For each new request. */
  earn(): void {
    if (this.#tokens < SAVINGS) this.#tokens += SHARE;
  }

  /** @returns whether one more may be sent again */
  spend(): boolean {
    const now = this.#now();
    this.#tokens = Math.min(SAVINGS, this.#tokens + ((now - this.#counted) / 1000) * PER_SECOND);
    this.#counted = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
