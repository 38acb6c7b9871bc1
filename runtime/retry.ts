/** How much may be tried again, so that retries never become the load that they answer. */

/** Each request earns this share of a retry. */
const SHARE = 0.2;

/** Retries that a client may spend before it has earned any, and the most that it saves up. */
const SAVINGS = 20;

/** A retry budget: over time, at most a share of the requests are sent again. */
export class RetryBudget {
  #tokens = SAVINGS;

  /** For each new request. */
  earn(): void {
    if (this.#tokens < SAVINGS) this.#tokens += SHARE;
  }

  /** @returns whether one more may be sent again */
  spend(): boolean {
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
