/**
 * How many keys one transaction of a purge may remove, so that neighbours hardly notice: etcd applies one request after
 * the other, so a neighbour waits for as long as one removal takes.
 */
import { setTimeout as sleep } from "node:timers/promises";

/** Keys in the first removal, and the bounds of the later ones. */
const FIRST = 300;
const LEAST = 100;
const MOST = 5_000;

/** Keys that are added to a size that neighbours did not notice. */
const STEP = 50;

/** The slowest read beside a removal may take this many times an idle one, and this long in any case, milliseconds. */
const PATIENCE = 3;
const UNNOTICED_MS = 4;

/** Idle reads for a median, and after how many removals it is taken anew: others' load comes and goes. */
const SAMPLES = 15;
const LASTING = 40;

export interface Pace {
  /** Keys that the next removal may take. */
  readonly size: number;
  /** Makes a removal, and learns from it. */
  removing<T>(removal: () => Promise<T>): Promise<T>;
}

/**
 * Reads as a neighbour would, for as long as a removal takes. While the slowest of these reads is not much slower than an
 * idle one, the size grows; else it is halved, and etcd gets a rest.
 * @param read has to wait for what etcd is about to apply
 */
export class NeighbourlyPace implements Pace {
  readonly #read: () => Promise<unknown>;
  #size = FIRST;
  #limitMs = 0;
  #removals = 0;

  constructor(read: () => Promise<unknown>) {
    this.#read = read;
  }

  get size(): number {
    return this.#size;
  }

  async removing<T>(removal: () => Promise<T>): Promise<T> {
    // Most purges have one removal, from which there is nothing to learn.
    if (this.#removals++ === 0) return removal();
    if (this.#removals % LASTING === 2) await this.#learnIdle();
    let removing = true;
    const removed = removal().finally(() => {
      removing = false;
    });
    const [result, times] = await Promise.all([removed, this.#times(() => removing)]);
    const slowest = Math.max(...times);
    if (slowest <= this.#limitMs) {
      this.#size = Math.min(MOST, this.#size + STEP);
    } else {
      this.#size = Math.max(LEAST, Math.floor(this.#size / 2));
      await sleep(slowest);
    }
    return result;
  }

  async #learnIdle(): Promise<void> {
    const times = (await this.#times((reads) => reads < SAMPLES)).sort((a, b) => a - b);
    this.#limitMs = Math.max(UNNOTICED_MS, PATIENCE * (times[SAMPLES >> 1] as number));
  }

  /** Of the reads made one after the other while there are to be more, milliseconds. */
  async #times(more: (reads: number) => boolean): Promise<number[]> {
    const times: number[] = [];
    while (more(times.length)) {
      const begun = performance.now();
      await this.#read();
      times.push(performance.now() - begun);
    }
    return times;
  }
}
