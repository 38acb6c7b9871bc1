/** How far a worker may be ahead of the reader of its stream. */

export class Window {
  readonly #parts: number;
  #upTo = 0;

  /** @param parts that may wait unread */
  constructor(parts: number) {
    this.#parts = parts;
  }

  /** @returns the parts that may come, from the first on, to whoever is asked for those after `read` */
  open(read: number): number {
    this.#upTo = read + this.#parts;
    return this.#upTo;
  }

  /**
   * To be called for every part that is read.
   * @returns a number when the worker is to hear of it: once half of those that may come is read, so that it never waits
   *   for a reader that keeps up
   */
  read(read: number): number | undefined {
    return this.#upTo - read > this.#parts / 2 ? undefined : this.open(read);
  }
}
