/** How much may be tried again, so that retries never become the load that they answer. */

/** Each request pays for this share of a retry. */
const SHARE = 0.2;

/** So many retries a second are paid for by time alone: a client that asks seldom has them when it needs them. */
const PER_SECOND = 2;

/** Retries that a client may be ahead of what is paid for. */
const AHEAD = 20;

/**
 * A retry budget: over time, at most a share of the requests, and a few a second, are sent again. One that has more under
 * way than it may be ahead may be ahead by as many: whoever dies takes all that it had with it.
 */
export class RetryBudget {
  readonly #now: () => number;
  #ahead = 0;
  #most = AHEAD;
  #counted: number;

  /** @param now milliseconds */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#counted = now();
  }

  /**
   * For each new request.
   * @param underWay requests that are not answered yet, this one included
   */
  earn(underWay: number): void {
    this.#most = Math.max(AHEAD, underWay);
    if (this.#ahead > 0) this.#ahead = Math.max(0, this.#ahead - SHARE);
  }

  /** @returns whether one more may be sent again */
  spend(): boolean {
    const now = this.#now();
    this.#ahead = Math.max(0, this.#ahead - ((now - this.#counted) / 1000) * PER_SECOND);
    this.#counted = now;
    if (this.#ahead + 1 > this.#most) return false;
    this.#ahead++;
    return true;
  }
}
