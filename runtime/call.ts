/**
 * One request, until it is answered or there is no honest way on. Three rules decide:
 * what was certainly not run goes elsewhere; what may have been run goes elsewhere only when it is idempotent and nothing
 * of its reply has come; else the same instance is asked again, which runs a request once, until it answers or is gone.
 */
import { backoff, pause } from "../components/stores/backoff.ts";
import type { Bus } from "../components/stores/nats-bus.ts";
import type { Instance } from "./balance.ts";
import type { Directory } from "./directory.ts";
import { type Attempt, type RequestError, type RequestErrorCode, requestError } from "./errors.ts";
import type { Exchange, Heard, Mailbox } from "./exchange.ts";
import type { Counter } from "./metrics.ts";
import type { RequestOptions } from "./options.ts";
import type { Window } from "./window.ts";
import { type Tag, type ToClient, write } from "./wire.ts";

export interface CallArgs {
  endpoint: string;
  number: number;
  /** The lowest number that this client still waits for. */
  settled: () => number;
  body: Uint8Array;
  tag: Tag;
  directory: Directory;
  mailbox: Mailbox;
  bus: Bus;
  retries: Counter;
  options: RequestOptions;
  /** Of a stream's parts. @default all may come */
  window?: Window;
}

export type Reply = Extract<ToClient, { kind: "value" | "chunk" | "end" }>;

/** Waits before one more try, milliseconds. */
const BACKOFF = { initialMs: 20, maxMs: 1_000 };

export class Call {
  /** Its number among those of its client. */
  readonly number: number;
  readonly endpoint: string;
  readonly #args: CallArgs;
  readonly begun = performance.now();
  readonly #limits: Required<Omit<RequestOptions, "signal" | "onAnswered">>;
  readonly #attempts: Attempt[] = [];
  #tried: Set<Instance> | undefined;
  #wait: (() => number) | undefined;
  #instance: Instance | undefined;
  #exchange: Exchange | undefined;
  /** Instances that it was sent to. */
  #instances = 0;
  /** Times that it was sent to the present one. */
  #sent = 0;
  /** An instance that was left may have run it. */
  #mayHaveRun = false;
  /** Frames of the reply that have come. */
  #received = 0;
  #ended = false;
  #abandoned = false;
  #onAbort: (() => void) | undefined;

  constructor(args: CallArgs) {
    const { deadlineMs = 30_000, attemptTimeoutMs = 5_000, maxAttempts = 5, idempotent = false, signal } = args.options;
    this.number = args.number;
    this.endpoint = args.endpoint;
    this.#args = args;
    this.#limits = { deadlineMs, attemptTimeoutMs, maxAttempts, idempotent };
    this.#onAbort = signal && (() => this.#exchange?.look());
    if (this.#onAbort) signal?.addEventListener("abort", this.#onAbort);
  }

  /**
   * The next part of the reply.
   * @throws RequestError
   */
  async next(): Promise<Reply> {
    for (;;) {
      const exchange = this.#exchange ?? (await this.#begin());
      const patience = Math.min(this.#limits.attemptTimeoutMs, this.#left());
      const heard = await exchange.next(patience);
      const reply = heard.kind === "value" ? this.#accept(heard) : await this.#judge(heard, patience);
      if (reply) return reply;
    }
  }

  /** Looks again at once: something happened to the instance or to the connection. */
  look(): void {
    this.#exchange?.look();
  }

  /** The client is closed: whoever waits gets an error. */
  abandon(): void {
    this.#abandoned = true;
    this.look();
  }

  /** To be called before `close` when the whole reply has come. */
  answered(): void {
    const instance = this.#instance?.id;
    if (instance !== undefined) this.#args.options.onAnswered?.([...this.#attempts, { instance, outcome: "answered" }]);
  }

  /** To be called in the end, however it ended. A handler that still works for it hears that nobody waits. */
  close(): void {
    const { bus, mailbox, number, options } = this.#args;
    if (this.#onAbort) options.signal?.removeEventListener("abort", this.#onAbort);
    if (this.#instance && !this.#ended && bus.connected)
      bus.publish(this.#instance.subject, EMPTY, { header: write.cancel(mailbox.client, number) });
    this.#leave();
  }

  /** What is to be done about all that is no plain reply. */
  async #judge(heard: Heard, waitedMs: number): Promise<Reply | undefined> {
    const instance = this.#instance as Instance;
    const { directory, bus } = this.#args;
    switch (heard.kind) {
      case "chunk":
        // A part may come twice after it was asked for again; one that is missing is asked for.
        if (heard.index === this.#received) return this.#accept(heard);
        if (heard.index > this.#received) await this.#askAgain("left out a part of its reply");
        return undefined;
      case "end":
        if (heard.chunks === this.#received) return this.#accept(heard);
        await this.#askAgain("left out the end of its reply");
        return undefined;
      case "failed": {
        this.#ended = true;
        directory.answered(instance);
        const cause = Object.assign(new Error(heard.message), { name: heard.name });
        throw this.#error("failed", `the handler of ${instance.id} threw ${heard.name}: ${heard.message}`, cause);
      }
      case "refused":
        if (this.#received > 0) throw this.#cut(`${instance.id} refused to go on (${heard.why})`);
        directory.turnedAway(instance, "draining");
        await this.#elsewhere(`refused it (${heard.why})`, false);
        return undefined;
      case "interrupted":
        // A worker counts the deadline, too.
        this.#requireTime();
        directory.turnedAway(instance, "draining");
        return this.#doubted("ended before its handler did", `${instance.id} ended before its handler did`);
      case "forgotten":
        throw this.#cut(`${instance.id} keeps its reply no more`);
      case "nobody":
        directory.turnedAway(instance, "dead");
        // The server's answer to the first message says that it was not delivered; to a later one, nothing of the first.
        if (this.#sent === 1) await this.#elsewhere("no responders", false);
        else if (this.#movable || !instance.registered)
          await this.#doubted("no responders any more", `${instance.id} is gone`);
        else await this.#askAgain("no responders for now");
        return undefined;
      case "silence": {
        const outcome = `no answer within ${Math.round(waitedMs)} ms`;
        if (waitedMs === this.#limits.attemptTimeoutMs && bus.connected) directory.unanswered(instance);
        if (this.#left() === 0) this.#note(outcome);
        else if (this.#movable && bus.connected) await this.#elsewhere(outcome, true);
        else await this.#askAgain(outcome);
        this.#requireTime();
        return undefined;
      }
      case "look":
        this.#requireTime();
        if (instance.state === "dead" && this.#movable) await this.#elsewhere("failed its health checks", true);
        else await this.#askAgain("no answer before its connection or ours changed");
        return undefined;
      default:
        // It runs: what is left is to wait.
        return undefined;
    }
  }

  /** Whether it may be sent elsewhere although it may have been run. */
  get #movable(): boolean {
    return this.#limits.idempotent && this.#received === 0;
  }

  async #doubted(outcome: string, told: string): Promise<undefined> {
    if (!this.#movable) {
      this.#note(outcome);
      throw this.#cut(told);
    }
    await this.#elsewhere(outcome, true);
  }

  #accept(reply: Reply): Reply {
    const { directory, window, bus, mailbox, number } = this.#args;
    const instance = this.#instance as Instance;
    directory.answered(instance);
    this.#received++;
    this.#ended = reply.kind !== "chunk";
    const upTo = this.#ended ? undefined : window?.read(this.#received);
    const { client } = mailbox;
    if (upTo) bus.publish(instance.subject, EMPTY, { header: write.more(client, number, this.#received, upTo) });
    return reply;
  }

  /** Sends it to an instance, as soon as there is one. */
  async #begin(): Promise<Exchange> {
    const { directory, bus, options } = this.#args;
    for (;;) {
      this.#requireTime();
      const instance = bus.connected ? directory.choose(this.#tried) : undefined;
      if (instance) {
        this.#instance = instance;
        this.#instances++;
        this.#sent = 0;
        instance.waiting.add(this);
        return this.#send(instance);
      }
      await directory.change(this.#left(), options.signal);
    }
  }

  #send(instance: Instance): Exchange {
    const { mailbox, number, settled, tag, body, window } = this.#args;
    const leftMs = Math.ceil(this.#left());
    const from = this.#received;
    const { client } = mailbox;
    const run = { client, number, settled: settled(), leftMs, from, tag, upTo: window?.open(from) };
    this.#sent++;
    this.#exchange = mailbox.send(instance.subject, write.run(run), body);
    return this.#exchange;
  }

  /** The same instance runs it at most once, however often it hears of it. */
  async #askAgain(outcome: string): Promise<void> {
    const { bus, directory, options } = this.#args;
    this.#note(outcome);
    this.#exchange?.close();
    await this.#pause();
    while (!bus.connected && this.#left() > 0 && !options.signal?.aborted)
      await directory.change(this.#left(), options.signal);
    this.#requireTime();
    this.#send(this.#instance as Instance);
  }

  /** @param mayHaveRun the instance that is left may have run it */
  async #elsewhere(outcome: string, mayHaveRun: boolean): Promise<void> {
    const { directory, retries } = this.#args;
    this.#note(outcome);
    this.#mayHaveRun ||= mayHaveRun;
    this.#tried = (this.#tried ?? new Set()).add(this.#instance as Instance);
    this.#leave();
    if (this.#instances >= this.#limits.maxAttempts)
      throw this.#error(this.#unanswered, `no answer from ${this.#instances} instances, the most that are asked`);
    if (!directory.budget.spend())
      throw this.#error(this.#unanswered, "the retry budget is spent, for too many requests were sent again already");
    retries.value++;
    await this.#pause();
  }

  #leave(): void {
    this.#exchange?.close();
    this.#exchange = undefined;
    this.#instance?.waiting.delete(this);
    this.#instance = undefined;
  }

  #pause(): Promise<void> {
    this.#wait ??= backoff(BACKOFF);
    return pause(Math.min(this.#wait(), this.#left()), this.#args.options.signal);
  }

  #left(): number {
    // A timer that is set to more goes off at once, and a deadline may be infinite.
    return Math.min(Math.max(0, this.begun + this.#limits.deadlineMs - performance.now()), 2 ** 31 - 1);
  }

  #requireTime(): void {
    if (this.#abandoned) throw this.#error("aborted", "its client was closed");
    if (this.#args.options.signal?.aborted) throw this.#error("aborted", "the caller's signal was aborted");
    if (this.#left() > 0) return;
    const cut = this.#received > 0 ? `, ${this.#received} parts of its reply have come` : "";
    throw this.#error(this.#unanswered, `no answer within its deadline of ${this.#limits.deadlineMs} ms${cut}`);
  }

  get #unanswered(): RequestErrorCode {
    return this.#mayHaveRun || this.#instance ? "outcome-unknown" : "unavailable";
  }

  #cut(why: string): RequestError {
    this.#ended = true;
    return this.#error(
      "outcome-unknown",
      this.#received > 0 ? `${why} after ${this.#received} parts of its reply` : why,
    );
  }

  #note(outcome: string): void {
    this.#attempts.push({ instance: (this.#instance as Instance).id, outcome });
  }

  #error(code: RequestErrorCode, why: string, cause?: unknown): RequestError {
    const { endpoint, directory } = this.#args;
    return requestError(why, { code, endpoint, attempts: this.#attempts, summary: directory.summary, cause });
  }
}

const EMPTY = new Uint8Array(0);
