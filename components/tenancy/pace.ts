/**
 * How many keys one transaction of a purge may remove, so that neighbours hardly notice: etcd applies one request after
 * the other, so a neighbour waits for as long as one removal takes.
 */
import { setTimeout as sleep } from "node:timers/promises";

/** Keys in the first removal, and the bounds of the later ones. */
const FIRST = 500;
const LEAST = 100;
const MOST = 20_000;

/** Keys that are added to a size that neighbours did not notice. */
const STEP = 250;

/** A neighbour's read beside a removal may take this many times the slowest idle one, and this long in any case, milliseconds. */
const PATIENCE = 2;
const UNNOTICED_MS = 8;

/** Idle reads that the slowest is taken of, and after how many removals it is taken anew: others' load comes and goes. */
const SAMPLES = 20;
const LASTING = 40;

export interface Pace {
  /** Keys that the next removal may take. */
  readonly size: number;
  /** Makes a removal, and learns from it. */
  removing<T>(removal: () => Promise<T>): Promise<T>;
}

/**
 * Reads as a neighbour would, for as long as a removal takes. While the slowest of these reads is about as fast as the
 * slowest idle one, the size grows; else it is halved, and etcd gets a rest.
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
    if (this.#removals % LASTING === 2)
      this.#limitMs = Math.max(UNNOTICED_MS, PATIENCE * (await this.#slowest((reads) => reads < SAMPLES)));
    let removing = true;
    const removed = removal().finally(() => {
      removing = false;
    });
    const [result, slowest] = await Promise.all([removed, this.#slowest(() => removing)]);
    if (slowest <= this.#limitMs) {
      this.#size = Math.min(MOST, this.#size + STEP);
    } else {
      this.#size = Math.max(LEAST, Math.floor(this.#size / 2));
      await sleep(slowest);
    }
    return result;
  }

  /** Of the reads made one after the other while there are to be more, milliseconds. */
  async #slowest(more: (reads: number) => boolean): Promise<number> {
    let slowest = 0;
    for (let reads = 0; more(reads); reads++) {
      const begun = performance.now();
      await this.#read();
      slowest = Math.max(slowest, performance.now() - begun);
    }
    return slowest;
  }
}
