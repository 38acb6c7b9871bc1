/** Where the proxies ask what becomes of a write: recorded and let through, or struck by a fault. */

export type StoreName = "etcd" | "nats" | "kube-apiserver";

/** Before a write reaches its server, or after the server has answered it and before the client learns of that. */
export type Side = "before" | "after";

/** `pass` lets it on; `cut` breaks the connection that it came by. */
export type Verdict = "pass" | "cut";

/** One write of a process, named so that another run of the same act makes it again: `etcd Txn put claims #2`. */
export interface Point {
  store: StoreName;
  name: string;
}

interface Strike {
  name: string;
  side: Side;
  strike: () => Promise<Verdict>;
}

/** All that one process writes comes by here. */
export class Gate {
  /** Every write, in the order of their arrival. */
  readonly points: Point[] = [];
  #armed: Strike | undefined;
  readonly #seen = new Map<string, number>();

  /** Forgets what was recorded: another command's writes are numbered from 1 again. */
  begin(): void {
    this.points.length = 0;
    this.#seen.clear();
  }

  /** Notes a write; its number tells it from the same write made earlier. */
  record(store: StoreName, what: string): Point {
    const title = `${store} ${what}`;
    const number = (this.#seen.get(title) ?? 0) + 1;
    this.#seen.set(title, number);
    const point = { store, name: `${title} #${number}` };
    this.points.push(point);
    return point;
  }

  /** Has a fault strike one side of a write, once. */
  arm(name: string, side: Side, strike: () => Promise<Verdict>): void {
    this.#armed = { name, side, strike };
  }

  /** Asked by a proxy on either side of each write. */
  async judge(point: Point, side: Side): Promise<Verdict> {
    const armed = this.#armed;
    if (armed?.name !== point.name || armed.side !== side) return "pass";
    this.#armed = undefined;
    return armed.strike();
  }
}
