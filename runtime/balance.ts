/** Which instance a request goes to. */

/** An instance as a client sees it. */
export interface Instance {
  readonly id: string;
  readonly subject: string;
  readonly rollout: string;
  /** Milliseconds since 1970. */
  readonly started: number;
  /** Its key is there. One whose lease was lost answers without it, and is a last resort. */
  registered: boolean;
  /**
   * `dead`: no answer to health checks, or nobody is subscribed. `unheard`: this client's connection was away, and so may
   * the instance's be; it has not answered since.
   */
  state: "ready" | "draining" | "dead" | "unheard";
  /** Requests of this client that it has not answered; each can be told to look again. */
  readonly waiting: Set<{ look(): void }>;
  /** Requests in a row that were not answered in time. */
  unanswered: number;
  /** How often in a row it was ejected. */
  ejections: number;
  /** Ejected until then, by `performance.now`. */
  ejectedUntil: number;
  /** When it was last heard of, by `performance.now`. */
  heard: number;
}

/** An older rollout counts as this much busier while a newer one is there. */
const OLDER_WEIGHT = 2;

export class Balancer {
  #candidates: Instance[] = [];
  /** undefined while all are of one rollout. */
  #newest: string | undefined;

  /** How many may be chosen. */
  get size(): number {
    return this.#candidates.length;
  }

  /** Takes what is there now; to be called after every change of it. */
  update(instances: Iterable<Instance>, now: number): void {
    const usable = [...instances].filter(({ state, ejectedUntil }) => state === "ready" && ejectedUntil <= now);
    const registered = usable.filter((instance) => instance.registered);
    this.#candidates = registered.length > 0 ? registered : usable;
    this.#newest = newestOf(this.#candidates);
  }

  /**
   * The less busy of two chosen at random, by this client's requests in flight ("power of two choices").
   * @param tried chosen again only when there is no other
   */
  choose(tried?: ReadonlySet<Instance>): Instance | undefined {
    const untried = tried?.size ? this.#candidates.filter((instance) => !tried.has(instance)) : this.#candidates;
    const from = untried.length > 0 ? untried : this.#candidates;
    const { length } = from;
    if (length < 2) return from[0];
    const first = Math.floor(Math.random() * length);
    const other = (first + 1 + Math.floor(Math.random() * (length - 1))) % length;
    const [a, b] = [from[first] as Instance, from[other] as Instance];
    return this.#cost(b) < this.#cost(a) ? b : a;
  }

  #cost({ waiting, rollout }: Instance): number {
    const older = this.#newest !== undefined && rollout !== this.#newest;
    return (waiting.size + 1) * (older ? OLDER_WEIGHT : 1);
  }
}

/** The rollout whose first instance started last; undefined when there is only one. */
function newestOf(instances: readonly Instance[]): string | undefined {
  const begun = new Map<string, number>();
  for (const { rollout, started } of instances) begun.set(rollout, Math.min(started, begun.get(rollout) ?? started));
  if (begun.size < 2) return undefined;
  return [...begun].reduce((newest, one) => (one[1] > newest[1] ? one : newest))[0];
}
