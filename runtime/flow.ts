/** The reading side of a flow: takes messages from a vertex' buffers, and acknowledges each when what came of it is stored. */
import { VisibleError } from "../components/plan/visible-error.ts";
import { backoff, pause } from "../components/stores/backoff.ts";
import { orAborted } from "./abort.ts";
import { type FlowOptions, type FlowProcess, type Parts, startProcess, type Work } from "./flow-process.ts";
import { type Held, Reader } from "./flow-reader.ts";
import { type Carried, derivedId, type Message, type Outgoing, open, uncarry } from "./flow-wire.ts";
import type { Counter } from "./metrics.ts";
import { Recent } from "./recent.ts";
import { serve, type Worker } from "./worker.ts";

export type { Message, Outgoing } from "./flow-wire.ts";

export interface FlowContext {
  /** Aborts when the message's time is over, or this process' grace is; what the handler returns then is not used. */
  readonly signal: AbortSignal;
}

type Results = Outgoing | readonly Outgoing[] | undefined;

/**
 * Handles a message, and returns what is to be sent on: nothing, one message or several. A message whose handler throws, or
 * whose process dies, is handled again.
 */
export type FlowHandler<Value = unknown> = (
  message: Message<Value>,
  context: FlowContext,
  // biome-ignore lint/suspicious/noConfusingVoidType: a sink's handler returns nothing
) => Results | void | Promise<Results | void>;

export interface HandlerOptions extends FlowOptions {
  /** Milliseconds that a handler has for a message. @default 60000 */
  deadlineMs?: number;
}

/**
 * Runs a processor or a sink until `stop` or a signal: the vertex that RINGFENCE_FLOW describes.
 * @param handler several messages are handled at the same time, at most `limits.readBatchSize` of each partition
 * @throws VisibleError for what is missing or wrong, and when the topology is not as this vertex was told; StoreError when a
 *   store does not answer
 */
export function flow<Value = unknown>(handler: FlowHandler<Value>, options: HandlerOptions = {}): Promise<FlowProcess> {
  const { deadlineMs = 60_000 } = options;
  if (!(deadlineMs > 0)) {
    throw new VisibleError(`deadlineMs: found ${deadlineMs}; expected milliseconds, more than 0: correct it`);
  }
  return startProcess("handler", options, async (parts) => {
    if (parts.flow.kind === "source") {
      throw new VisibleError(`${parts.vertex}: it is a source, which nothing leads to: use produce(…)`);
    }
    const handling = new Handling(handler as FlowHandler, deadlineMs, parts);
    await handling.serve(options);
    return handling;
  });
}

/** How long a message is left alone after its handler failed. */
const AGAIN = { initialMs: 100, maxMs: 30_000 };

class Handling implements Work {
  readonly #handler: FlowHandler;
  readonly #parts: Parts;
  readonly #readers: Reader[];
  readonly #stopping = new AbortController();
  /** Aborts when the grace is over. */
  readonly #over = new AbortController();
  readonly #done: Counter;
  readonly #failed: Counter;
  readonly #recent = new Recent(performance.now());
  /** Messages that had been delivered before. */
  #again = 0;
  readonly #log: (line: string) => void;
  #server: Worker | undefined;

  constructor(handler: FlowHandler, deadlineMs: number, parts: Parts) {
    this.#handler = handler;
    this.#parts = parts;
    this.#log = parts.connection.log;
    const count = (result: string) =>
      parts.metrics.counter("ringfence_flow_messages_total", "Messages handled, by result.", { result });
    [this.#done, this.#failed] = [count("done"), count("failed")];
    const sends = parts.flow.out.length > 0;
    for (const [buffer, { ackWaitSeconds, dedupSeconds }] of parts.inlets) {
      // All buffers of a pipeline are kept alike, those that are written to as well.
      if (sends && dedupSeconds <= ackWaitSeconds) {
        this.#log(
          `buffer '${buffer}' delivers again after ${ackWaitSeconds} s and forgets ids after ${dedupSeconds} s: what a killed process had stored may be stored twice; set buffers.dedupWindowSeconds above ackWaitSeconds`,
        );
      }
    }
    this.#readers = [...parts.inlets].map(
      ([buffer, state]) =>
        new Reader(parts, buffer, state, {
          most: parts.flow.limits.readBatchSize,
          stopping: this.#stopping.signal,
          handle: (held) => this.#handle(held),
          deadlineMs,
        }),
    );
  }

  get inFlight(): number {
    return this.#readers.reduce((sum, { held }) => sum + held, this.#server?.inFlight ?? 0);
  }

  get figures(): Work["figures"] {
    const outcomes = { ok: this.#done.value, failed: this.#failed.value };
    return { outcomes, retries: this.#again, recent: this.#recent.told(performance.now()) };
  }

  /** Answers requests as well, when edges of that kind lead here. */
  async serve({ env, log, graceSeconds }: HandlerOptions): Promise<void> {
    const { flow, vertex } = this.#parts;
    if (!flow.serves) return;
    const answer = async (carried: Carried, { signal }: { signal: AbortSignal }) => {
      const message = { id: carried.id, deliveries: 1, ...uncarry(carried) };
      await this.#run(message, AbortSignal.any([signal, this.#over.signal]));
      return null;
    };
    this.#server = await serve(vertex, answer, {
      ...(env && { env }),
      ...(log && { log }),
      ...(graceSeconds !== undefined && { graceSeconds }),
      port: false,
      handleSignals: false,
    });
  }

  async drain(withinMs: number): Promise<number> {
    this.#stopping.abort();
    const grace = setTimeout(() => this.#over.abort(new Error("the grace is over")), withinMs);
    const served = this.#server?.stop() ?? true;
    this.#over.signal.addEventListener("abort", () => {
      for (const reader of this.#readers) reader.abort(this.#over.signal.reason as Error);
    });
    const unfinished = await Promise.all(this.#readers.map((reader) => reader.end()));
    clearTimeout(grace);
    return unfinished.reduce((sum, count) => sum + count, (await served) ? 0 : 1);
  }

  /** @returns whether it is done with */
  async #handle(held: Held): Promise<boolean> {
    const { id } = held;
    const { header, data, deliveries } = held.delivery;
    if (deliveries > 1) this.#again++;
    try {
      await this.#run({ id, deliveries, ...open(header, data) }, held.control.signal);
    } catch (error) {
      this.#failed.value++;
      // Of those that the end cut short there may be hundreds.
      if (!this.#over.signal.aborted)
        this.#log(`message '${id}' (delivery ${deliveries}): ${(error as Error).message}`);
      held.delivery.giveBack(this.#stopping.signal.aborted ? 0 : againAfter(deliveries));
      return false;
    } finally {
      const now = performance.now();
      this.#recent.observe(now, now - held.since);
    }
    this.#done.value++;
    // One that is not confirmed would come again, and a sink has no memory of it.
    const wait = backoff({ initialMs: 50, maxMs: 1_000 });
    while (!(await held.delivery.acknowledge())) {
      if (this.#over.signal.aborted) return false;
      await pause(wait(), this.#over.signal);
    }
    return true;
  }

  async #run(message: Message, signal: AbortSignal): Promise<void> {
    const results = await orAborted((async () => this.#handler(message, { signal }))(), signal);
    const all: readonly Outgoing[] = results === undefined ? [] : Array.isArray(results) ? results : [results];
    const { vertex, outbox } = this.#parts;
    const ready = all.map((one, index) => {
      const id = derivedId(vertex, message.id, index, all.length);
      return outbox.prepare({ ...one, key: one.key ?? message.key, id });
    });
    await Promise.all(ready.map((one) => outbox.send(one, this.#over.signal)));
  }
}

/** Grows with each delivery; no jitter, for messages fail one by one. */
const againAfter = (deliveries: number): number =>
  Math.min(AGAIN.initialMs * 2 ** Math.min(deliveries - 1, 20), AGAIN.maxMs);
