/** How a worker treats what is sent to it: runs each request once, answers as often as it is asked, refuses when it ends. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Served } from "../components/plan/figures.ts";
import type { Bus, BusMessage } from "../components/stores/nats-bus.ts";
import { type Frame, type Job, Jobs } from "./jobs.ts";
import type { Metrics } from "./metrics.ts";
import { Recent } from "./recent.ts";
import { decode, encode, HEADER_ROOM, type Run, readToWorker, type ToWorker, tagOf, write } from "./wire.ts";

/** What a handler is told of a request besides its body. */
export interface RequestContext {
  /** Of this request, however often it was sent. */
  readonly id: string;
  /** When the caller stops waiting, milliseconds since 1970. */
  readonly deadline: number;
  /** Aborts when nobody waits any more: the caller left, its deadline is over, or this worker's grace is. */
  readonly signal: AbortSignal;
}

/**
 * Answers a request: with a value that JSON can write, with bytes (`Uint8Array`), or with an async iterable of either,
 * which is a streamed reply. What it throws reaches the caller as `failed`.
 */
export type Handler<Body = unknown> = (body: Body, context: RequestContext) => unknown;

type More = Extract<ToWorker, { kind: "more" }>;

const EMPTY = new Uint8Array(0);

/** Of what a handler threw, characters. */
const LONGEST_MESSAGE = 4_000;

export class Answering {
  /** What a health check is told; whoever is draining answers requests all the same. */
  state: "ready" | "draining" = "ready";
  readonly #bus: Bus;
  readonly #handler: Handler;
  readonly #jobs: Jobs;
  readonly #running = new Set<Job>();
  readonly #count: ReturnType<typeof countersOf>;
  readonly #recent = new Recent(performance.now());
  readonly #sweeper: NodeJS.Timeout;
  #refusing = false;
  #idle: (() => void) | undefined;

  /** @param keptBytes of replies that are kept for callers that ask again */
  constructor(bus: Bus, handler: Handler, metrics: Metrics, keptBytes: number) {
    this.#bus = bus;
    this.#handler = handler;
    this.#jobs = new Jobs(keptBytes);
    this.#count = countersOf(metrics);
    metrics.gauge("ringfence_worker_in_flight", "Requests being handled.", {}, () => this.#running.size);
    metrics.gauge(
      "ringfence_worker_kept_reply_bytes",
      "Replies kept for callers that ask again.",
      {},
      () => this.#jobs.bytes,
    );
    this.#sweeper = setInterval(() => this.#jobs.sweep(), 1_000);
    this.#sweeper.unref();
  }

  get inFlight(): number {
    return this.#running.size;
  }

  get figures(): Pick<Served, "inFlight" | "outcomes" | "retries" | "recent"> {
    const { ok, failed, interrupted, refused, repeated } = this.#count;
    return {
      inFlight: this.inFlight,
      outcomes: { ok: ok.value, failed: failed.value, interrupted: interrupted.value, refused: refused.value },
      retries: repeated.value,
      recent: this.#recent.told(performance.now()),
    };
  }

  /** From now on, what was not begun is refused. */
  refuse(): void {
    this.#refusing = true;
  }

  /** @returns whether nothing runs any more */
  async finish(withinMs: number): Promise<boolean> {
    if (this.#running.size === 0) return true;
    const late = new AbortController();
    const idle = new Promise<boolean>((resolve) => {
      this.#idle = () => resolve(true);
    });
    const over = sleep(withinMs, false, { signal: late.signal }).catch(() => false);
    const finished = await Promise.race([idle, over]);
    late.abort();
    return finished;
  }

  /** Tells the callers of what still runs that it will not be finished. */
  interrupt(): void {
    clearInterval(this.#sweeper);
    for (const job of this.#running) {
      job.abort("this worker's grace is over");
      this.#last(job, { header: write.interrupted, data: EMPTY }, "interrupted");
    }
  }

  take(message: BusMessage): void {
    const said = readToWorker(message.header);
    switch (said.kind) {
      case "run":
        this.#ask(said, message);
        break;
      case "more":
        this.#more(said);
        break;
      case "ping":
        this.#bus.publish(message.reply, EMPTY, { header: write.pong(this.state) });
        break;
      case "cancel":
        this.#jobs.get(said.client, said.number)?.abort("the caller waits no more");
        break;
      default:
        if (message.reply) this.#refuse(message.reply, `it speaks another version ('${message.header}')`);
    }
  }

  #ask(run: Run, { reply, data }: BusMessage): void {
    const known = this.#jobs.find(run);
    // A message that was long under way: its caller has its answer, or has given up.
    if (known === "settled") return;
    if (known) this.#again(known, run, reply);
    // The worker that had begun it is not this one.
    else if (run.from > 0) this.#send(reply, { header: write.forgotten, data: EMPTY });
    else if (this.#refusing) this.#refuse(reply, "it ends");
    else {
      const job = this.#jobs.add(run, reply);
      this.#running.add(job);
      void this.#run(job, run, data);
    }
  }

  /** The caller asks again: it gets what there is since, and the rest as it comes. */
  #again(job: Job, { from, upTo }: Run, reply: string): void {
    this.#count.repeated.value++;
    job.replyTo = reply;
    if (upTo !== undefined) job.takes(upTo);
    const missing = job.frames.slice(Math.max(from - job.first, 0));
    if (from < job.first) this.#send(reply, { header: write.forgotten, data: EMPTY });
    else if (missing.length === 0) this.#send(reply, { header: write.running, data: EMPTY });
    else for (const frame of missing) this.#send(reply, frame);
  }

  #more({ client, number, from, upTo }: More): void {
    const job = this.#jobs.get(client, number);
    if (!job) return;
    this.#jobs.arrived(job, from);
    job.takes(upTo);
  }

  #refuse(reply: string, why: string): void {
    this.#count.refused.value++;
    this.#send(reply, { header: write.refused, data: encode(why) });
  }

  async #run(job: Job, { tag }: Run, data: Uint8Array): Promise<void> {
    try {
      const reply = this.#handler(decode(data, tag), job);
      const value = isPromise(reply) ? await reply : reply;
      if (isStream(value)) await this.#stream(job, value);
      else this.#last(job, { header: write.value(tagOf(value)), data: this.#fitting(value) }, "ok");
    } catch (error) {
      this.#last(job, { header: write.failed, data: encode(toldOf(error)) }, "failed");
    }
  }

  async #stream(job: Job, chunks: AsyncIterable<unknown>): Promise<void> {
    let index = 0;
    for await (const chunk of chunks) {
      await job.room(index);
      // Nobody waits any more; leaving the loop ends the generator.
      if (job.aborted) return this.#last(job, { header: write.interrupted, data: EMPTY }, "interrupted");
      this.#emit(job, { header: write.chunk(index++, tagOf(chunk)), data: this.#fitting(chunk) });
    }
    this.#last(job, { header: write.end(index), data: EMPTY }, "ok");
  }

  #fitting(value: unknown): Uint8Array {
    const data = encode(value);
    const most = this.#bus.maxPayload - HEADER_ROOM;
    if (data.length > most)
      throw new RangeError(`the reply has ${data.length} bytes, and NATS takes ${most} at once: stream it in parts`);
    return data;
  }

  #last(job: Job, frame: Frame, outcome: "ok" | "failed" | "interrupted"): void {
    if (job.done) return;
    this.#emit(job, frame);
    this.#jobs.finish(job);
    this.#running.delete(job);
    this.#count[outcome].value++;
    const now = performance.now();
    this.#count.seconds.observe((now - job.begun) / 1000);
    this.#recent.observe(now, now - job.begun);
    if (this.#running.size === 0) this.#idle?.();
  }

  #emit(job: Job, frame: Frame): void {
    this.#jobs.keep(job, frame);
    this.#send(job.replyTo, frame);
  }

  #send(to: string, { header, data }: Frame): void {
    this.#bus.publish(to, data, header === undefined ? {} : { header });
  }
}

/** Whatever a handler threw: a value that has no text must not end the worker. */
function toldOf(error: unknown): { name: string; message: string } {
  try {
    const { name, message } = error instanceof Error ? error : { name: "Error", message: error };
    return { name: String(name), message: String(message).slice(0, LONGEST_MESSAGE) };
  } catch {
    return { name: "Error", message: "it threw a value that has no text" };
  }
}

const isPromise = (value: unknown): value is Promise<unknown> =>
  typeof (value as Promise<unknown> | undefined)?.then === "function";

const isStream = (value: unknown): value is AsyncIterable<unknown> =>
  typeof value === "object" && value !== null && Symbol.asyncIterator in value;

function countersOf(metrics: Metrics) {
  const requests = (outcome: string) =>
    metrics.counter("ringfence_worker_requests_total", "Requests by what became of them.", { outcome });
  return {
    ok: requests("ok"),
    failed: requests("failed"),
    interrupted: requests("interrupted"),
    refused: requests("refused"),
    repeated: metrics.counter("ringfence_worker_repeated_total", "Times that a caller asked for a reply again."),
    seconds: metrics.histogram("ringfence_worker_request_seconds", "From a request's arrival to its last frame."),
  };
}
