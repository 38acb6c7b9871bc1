/**
 * How many keys one transaction of a purge may remove, so that neighbours hardly notice: etcd applies one request after
 * the other, so a neighbour waits for as long as one removal takes.
 */
import { setTimeout as sleep } from "node:timers/promises";

/** Keys in the first removal, and the bounds of the later ones. */
const FIRST = 300;
const LEAST = 100;
const MOST = 5_000;

/** Keys that are added to a size that was fast enough, and what becomes of one that was not. */
const STEP = 20;
const SHRINK = 0.7;

/** A removal may take this many times an idle read, and this long in any case, milliseconds. */
const PATIENCE = 3;
const UNNOTICED_MS = 4;

/** One that takes this many times what it may is a stall of etcd, which gets a rest. */
const STALLED = 4;

/** Idle reads for a median, and after how many removals it is taken anew: others' load comes and goes. */
const SAMPLES = 7;
const LASTING = 40;

export interface Pace {
  /** Keys that the next removal may take. */
  readonly size: number;
  /** Makes a removal, and learns from it. */
  removing<T>(removal: () => Promise<T>): Promise<T>;
}

/**
 * While a removal takes not much longer than an idle read, the size grows; else it shrinks. Reads beside the removals would
 * tell what neighbours see, and be one more neighbour: measured, they cost everybody more than they taught.
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
    const begun = performance.now();
    const result = await removal();
    const took = performance.now() - begun;
    if (took <= this.#limitMs) {
      this.#size = Math.min(MOST, this.#size + STEP);
    } else {
      this.#size = Math.max(LEAST, Math.floor(this.#size * SHRINK));
      if (took > STALLED * this.#limitMs) await sleep(took);
    }
    return result;
  }

  async #learnIdle(): Promise<void> {
    const times: number[] = [];
    while (times.length < SAMPLES) {
      const begun = performance.now();
      await this.#read();
      times.push(performance.now() - begun);
    }
    times.sort((a, b) => a - b);
    this.#limitMs = Math.max(UNNOTICED_MS, PATIENCE * (times[SAMPLES >> 1] as number));
  }
}
