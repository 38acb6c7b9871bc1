/** Reads a buffer, and keeps what was read from being delivered to others while it is handled. */
import { backoff, pause } from "../components/stores/backoff.ts";
import type { BufferState } from "../components/stores/flow-bus.ts";
import type { Delivery, Inlet } from "../components/stores/flow-inlet.ts";
import type { Parts } from "./flow-process.ts";

/** A message under way. */
export interface Held {
  id: string;
  /** The latest one: it comes again when NATS has not heard of it for too long. */
  delivery: Delivery;
  since: number;
  kept: number;
  control: AbortController;
}

const LOOK_EVERY_MS = 250;

/** Reads as much as is handled. */
export class Reader {
  readonly #byId = new Map<string, Held>();
  readonly #inlet: Inlet;
  readonly #most: number;
  readonly #stopping: AbortSignal;
  readonly #handle: (held: Held) => Promise<boolean>;
  readonly #log: (line: string) => void;
  readonly #reading: Promise<void>;
  readonly #keeper: NodeJS.Timeout;
  #unfinished = 0;
  #changed: () => void = () => undefined;

  constructor(
    { bus, connection }: Parts,
    buffer: string,
    { ackWaitSeconds }: BufferState,
    options: {
      most: number;
      stopping: AbortSignal;
      deadlineMs: number;
      handle: (held: Held) => Promise<boolean>;
    },
  ) {
    this.#most = options.most;
    this.#stopping = options.stopping;
    this.#handle = options.handle;
    this.#log = connection.log;
    this.#inlet = bus.read(buffer, (delivery) => this.#take(delivery));
    connection.bus.onConnection(() => this.#inlet.interrupt());
    const keepMs = (ackWaitSeconds * 1000) / 3;
    this.#keeper = setInterval(
      () => {
        const now = performance.now();
        for (const one of this.#byId.values()) {
          if (now - one.since >= options.deadlineMs) {
            one.control.abort(new Error(`its handler took longer than ${options.deadlineMs} ms`));
          }
          if (now - one.kept >= keepMs) {
            one.kept = now;
            one.delivery.keep();
          }
        }
      },
      Math.min(LOOK_EVERY_MS, keepMs),
    );
    this.#reading = this.#read();
  }

  get held(): number {
    return this.#byId.size;
  }

  /** Ends what its handlers do. */
  abort(reason: Error): void {
    for (const { control } of this.#byId.values()) control.abort(reason);
  }

  /** After `stopping`. @returns how many of those that it had were not finished */
  async end(): Promise<number> {
    await this.#reading;
    while (this.#byId.size > 0)
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    clearInterval(this.#keeper);
    this.#inlet.close();
    return this.#unfinished;
  }

  async #read(): Promise<void> {
    const wait = backoff({ initialMs: 100, maxMs: 2_000 });
    let troubled = false;
    while (!this.#stopping.aborted) {
      const free = this.#most - this.#byId.size;
      // Half of them at a time, so that most requests bring many.
      if (free < this.#most / 2) {
        await new Promise<void>((resolve) => {
          this.#changed = resolve;
        });
        continue;
      }
      try {
        await this.#inlet.pull(free);
        troubled = false;
      } catch (error) {
        if (!troubled) this.#log(`${(error as Error).message}; reading again until it answers`);
        troubled = true;
        await pause(wait(), this.#stopping);
      }
    }
  }

  #take(delivery: Delivery): void {
    // Asked for before the end, and somebody else's now.
    if (this.#stopping.aborted) {
      delivery.giveBack();
      return;
    }
    const { id } = delivery;
    const known = this.#byId.get(id);
    if (known) {
      known.delivery = delivery;
      return;
    }
    const now = performance.now();
    const one: Held = { id, delivery, since: now, kept: now, control: new AbortController() };
    this.#byId.set(id, one);
    void this.#handle(one).then((done) => {
      this.#byId.delete(id);
      if (!done && this.#stopping.aborted) this.#unfinished++;
      this.#changed();
    });
  }
}
