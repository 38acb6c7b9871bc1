/** The writing side of a flow: a source, which goes on where it was when its process ended. */
import { VisibleError } from "../components/plan/visible-error.ts";
import { orAborted } from "./abort.ts";
import type { Ready } from "./flow-outbox.ts";
import { type FlowOptions, type FlowProcess, type Parts, startProcess, type Work } from "./flow-process.ts";
import { type Outgoing, sourceId } from "./flow-wire.ts";
import type { Counter } from "./metrics.ts";
import { Recent } from "./recent.ts";

/** A message that enters the pipeline. */
export interface Produced extends Outgoing {
  /** Of this message and no other of this source: what is sent twice under one id, within the buffers' window, is stored once. */
  id: string;
}

export interface SourceContext {
  /**
   * The id of the last message that is known to be stored, with all before it; undefined at the first start. What follows it
   * may have been stored as well: say it again, under the same ids. Of one process: with several replicas, it is whoever wrote
   * last.
   */
  readonly after: string | undefined;
  /** Aborts when the source shall end: when the pipeline is paused, or its pod exchanged. */
  readonly signal: AbortSignal;
}

/** Gives the messages. It is asked for the next one when there is room for it. */
export type Source = (context: SourceContext) => AsyncIterable<Produced> | Iterable<Produced>;

/**
 * Runs a source until `stop` or a signal: the vertex that RINGFENCE_FLOW describes. A source that has nothing more to say may
 * end; one that throws ends the process.
 * @throws VisibleError for what is missing or wrong, and when the topology is not as this vertex was told; StoreError when a
 *   store does not answer
 */
export function produce(source: Source, options: FlowOptions = {}): Promise<FlowProcess> {
  return startProcess("source", options, async (parts) => {
    if (parts.flow.kind !== "source") {
      throw new VisibleError(`${parts.vertex}: it is a ${parts.flow.kind}, which messages lead to: use flow(…)`);
    }
    const position = await Position.open(parts);
    return new Producing(source, position, parts);
  });
}

class Producing implements Work {
  readonly #parts: Parts;
  readonly #position: Position;
  readonly #stopping = new AbortController();
  /** Aborts when the grace is over. */
  readonly #over = new AbortController();
  readonly #said: Counter;
  readonly #recent = new Recent(performance.now());
  readonly #run: Promise<void>;
  #unfinished = 0;
  #inFlight = 0;
  #changed: () => void = () => undefined;

  constructor(source: Source, position: Position, parts: Parts) {
    this.#parts = parts;
    this.#position = position;
    this.#said = parts.metrics.counter("ringfence_flow_messages_total", "Messages said, by result.", {
      result: "done",
    });
    // When whoever makes this has it.
    this.#run = new Promise(setImmediate).then(() => this.#produce(source)).catch((error: Error) => parts.fail(error));
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get figures(): Work["figures"] {
    return { outcomes: { ok: this.#said.value }, retries: 0, recent: this.#recent.told(performance.now()) };
  }

  async drain(withinMs: number): Promise<number> {
    this.#stopping.abort();
    const grace = setTimeout(() => this.#over.abort(new Error("the grace is over")), withinMs);
    await this.#run;
    while (this.#inFlight > 0) await this.#change();
    clearTimeout(grace);
    await this.#position.close();
    return this.#unfinished;
  }

  async #produce(source: Source): Promise<void> {
    const { signal } = this.#stopping;
    const said = source({ after: this.#position.stored, signal });
    const messages = Symbol.asyncIterator in said ? said[Symbol.asyncIterator]() : said[Symbol.iterator]();
    const most = this.#parts.flow.limits.readBatchSize;
    try {
      while (!signal.aborted) {
        const next = await orAborted(Promise.resolve(messages.next()), signal);
        if (next.done) return;
        this.#send(next.value);
        while (this.#inFlight >= most) await this.#change();
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      // It may wait for something of its own, which nobody waits for.
      void Promise.resolve(messages.return?.()).catch(() => undefined);
    }
  }

  #send(message: Produced): void {
    const { vertex, outbox } = this.#parts;
    if (typeof message.id !== "string" || message.id === "") {
      throw new VisibleError(`id: found ${JSON.stringify(message.id)}; expected a text: name each message`);
    }
    let ready: Ready;
    try {
      ready = outbox.prepare({ ...message, id: sourceId(vertex, message.id) });
    } catch (cause) {
      throw new VisibleError(`message '${message.id}': ${(cause as Error).message}`, { cause });
    }
    const stored = this.#position.begin(message.id);
    this.#inFlight++;
    const begun = performance.now();
    outbox
      .send(ready, this.#over.signal)
      .then(
        () => {
          stored();
          this.#said.value++;
          const now = performance.now();
          this.#recent.observe(now, now - begun);
        },
        () => {
          this.#unfinished++;
        },
      )
      .finally(() => {
        this.#inFlight--;
        this.#changed();
      });
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#changed = resolve;
    });
  }
}

/** Where the notes are kept, and how often one is written, milliseconds. */
const KEY = "position";
const WRITE_EVERY_MS = 1_000;

/** How far a source has come without a gap, noted in its bucket. */
class Position {
  stored: string | undefined;
  readonly #parts: Parts;
  readonly #bucket: string | undefined;
  readonly #open: Array<{ id: string; stored: boolean }> = [];
  readonly #timer: NodeJS.Timeout;
  #written: string | undefined;
  #writing: Promise<void> = Promise.resolve();
  #troubled = false;

  private constructor(parts: Parts, bucket: string | undefined, stored: string | undefined) {
    this.#parts = parts;
    this.#bucket = bucket;
    this.stored = stored;
    this.#written = stored;
    this.#timer = setInterval(() => this.#write(), WRITE_EVERY_MS);
  }

  static async open(parts: Parts): Promise<Position> {
    const name = `${parts.vertex}_SOURCE`;
    // A source that sends requests only has no bucket, and no place to go on from.
    const bucket = parts.flow.bucketNames.includes(name) ? `${name}_OT` : undefined;
    return new Position(parts, bucket, bucket === undefined ? undefined : await parts.bus.note(bucket, KEY));
  }

  /** @returns what to call when it is stored */
  begin(id: string): () => void {
    const one = { id, stored: false };
    this.#open.push(one);
    return () => {
      one.stored = true;
      let count = 0;
      while (this.#open[count]?.stored) count++;
      if (count > 0) this.stored = this.#open.splice(0, count).at(-1)?.id;
    };
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#write();
    await this.#writing;
  }

  #write(): void {
    const { stored } = this;
    if (this.#bucket === undefined || stored === undefined || stored === this.#written) return;
    const bucket = this.#bucket;
    this.#writing = this.#writing
      .then(() => this.#parts.bus.writeNote(bucket, KEY, stored))
      .then(
        () => {
          this.#written = stored;
          this.#troubled = false;
        },
        (error: Error) => {
          if (!this.#troubled) this.#parts.connection.log(`${error.message}; its position is not noted`);
          this.#troubled = true;
        },
      );
  }
}
