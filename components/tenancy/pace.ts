/**
 * How many keys one transaction of a purge may remove, so that neighbours hardly notice: etcd applies one request after
 * the other, so a neighbour waits for as long as one removal takes.
 */

/** Keys in the first removal, and the bounds of the later ones. */
const FIRST = 500;
const LEAST = 100;
const MOST = 20_000;

/** How much is added to a size that neighbours did not notice. */
const STEP = 250;

/** A neighbour's read beside a removal may take this many times an idle one, and this long in any case, milliseconds. */
const PATIENCE = 2;
const UNNOTICED_MS = 5;

/** Reads for an idle one's median. */
const SAMPLES = 9;

export interface Pace {
  /** Keys that the next removal may take. */
  readonly size: number;
  /** Makes a removal, and learns from it. */
  removing<T>(removal: () => Promise<T>): Promise<T>;
}

/**
 * Adds to the size as long as a read that is made side by side with a removal is about as fast as an idle one, and
 * halves it when not.
 * @param read made as a neighbour makes one: it waits for what etcd has begun to apply
 */
export class NeighbourlyPace implements Pace {
  readonly #read: () => Promise<unknown>;
  #size = FIRST;
  #limitMs: number | undefined;

  constructor(read: () => Promise<unknown>) {
    this.#read = read;
  }

  get size(): number {
    return this.#size;
  }

  async removing<T>(removal: () => Promise<T>): Promise<T> {
    this.#limitMs ??= Math.max(UNNOTICED_MS, PATIENCE * (await this.#idle()));
    const removed = removal();
    const [result, took] = await Promise.all([removed, this.#time()]);
    this.#size = took <= this.#limitMs ? Math.min(MOST, this.#size + STEP) : Math.max(LEAST, this.#size >> 1);
    return result;
  }

  async #idle(): Promise<number> {
    const samples: number[] = [];
    while (samples.length < SAMPLES) samples.push(await this.#time());
    return samples.sort((a, b) => a - b)[SAMPLES >> 1] as number;
  }

  async #time(): Promise<number> {
    const begun = performance.now();
    await this.#read();
    return performance.now() - begun;
  }
}
