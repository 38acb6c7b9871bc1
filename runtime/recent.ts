/** How the requests of the last ten seconds went. Counting one costs an addition; nothing runs when none come. */
import { type Recently, STEPS, stepOf, type Times } from "../components/plan/figures.ts";

const SECONDS = 10;

export class Recent {
  readonly #counts = Array.from({ length: SECONDS }, () => new Uint32Array(STEPS));
  readonly #begun: number;
  #second: number;

  /** @param now milliseconds, here and below: of one clock that only goes on */
  constructor(now: number) {
    this.#begun = now;
    this.#second = Math.floor(now / 1000);
  }

  observe(now: number, tookMs: number): void {
    this.#advance(now);
    const counts = this.#counts[this.#second % SECONDS] as Uint32Array;
    const step = stepOf(tookMs);
    counts[step] = (counts[step] as number) + 1;
  }

  told(now: number): Recently {
    this.#advance(now);
    const times: Times = {};
    for (const counts of this.#counts)
      counts.forEach((count, step) => {
        if (count > 0) times[step] = (times[step] ?? 0) + count;
      });
    // The oldest second was cleared when this one began.
    const most = SECONDS - 1 + (now % 1000) / 1000;
    return { seconds: Math.min(most, (now - this.#begun) / 1000), times };
  }

  /** Forgets what is too old. */
  #advance(now: number): void {
    const second = Math.floor(now / 1000);
    if (second === this.#second) return;
    for (let at = Math.max(this.#second + 1, second - SECONDS + 1); at <= second; at++)
      (this.#counts[at % SECONDS] as Uint32Array).fill(0);
    this.#second = second;
  }
}
