/** What sources, processors and sinks have in common: a start that waits for the topology, health and metrics, and an end. */
import type { Flowing } from "../components/plan/figures.ts";
import type { FlowBus } from "../components/stores/flow-bus.ts";
import { Client } from "./client.ts";
import { type Connection, type ConnectionOptions, openConnection } from "./connection.ts";
import { answerFigures } from "./figures.ts";
import { Outbox } from "./flow-outbox.ts";
import { type Inlets, type Place, readPlace, verified } from "./flow-topology.ts";
import { serveHealth } from "./health.ts";
import { Metrics } from "./metrics.ts";
import { secondsOf } from "./settings.ts";
import { endWithSignals } from "./signals.ts";

export interface FlowOptions extends ConnectionOptions {
  /** Seconds that a start waits for the topology to be as this vertex was told. @default 60 */
  startSeconds?: number;
  /** Seconds that messages have to be finished when it ends. @default RINGFENCE_GRACE_SECONDS, else 30 */
  graceSeconds?: number;
  /** Where `/live`, `/ready` and `/metrics` are; 0 takes any port, `false` serves none. @default 9090 */
  port?: number | false;
  /** The address for that port. @default RINGFENCE_BIND_ADDRESS, else "0.0.0.0" */
  host?: string;
  /** Ends, with `stop` and exit code 0, on SIGTERM and SIGINT. @default true */
  handleSignals?: boolean;
}

/** A vertex at work in this process. */
export interface FlowProcess {
  /** The port of `/live`, `/ready` and `/metrics`. */
  readonly port: number | undefined;
  /** Messages that are under way. */
  readonly inFlight: number;
  /**
   * Ends it: nothing more is read, what is under way is finished and stored.
   * @returns whether all of it was; what was not comes again
   */
  stop(): Promise<boolean>;
  /** Resolves at its end, with the reason when nobody asked for it. */
  readonly closed: Promise<Error | undefined>;
}

/** What a vertex' work is given. */
export interface Parts extends Place {
  connection: Connection;
  bus: FlowBus;
  outbox: Outbox;
  metrics: Metrics;
  inlets: Inlets;
  /** Ends the process' work, for it cannot go on. */
  fail: (error: Error) => void;
}

/** A vertex' work, begun. */
export interface Work {
  readonly inFlight: number;
  /** What became of its messages, what it sent on left out. */
  readonly figures: Pick<Flowing, "outcomes" | "retries" | "recent">;
  /** Takes nothing more, and finishes. @returns how many messages were not finished within so many milliseconds */
  drain(withinMs: number): Promise<number>;
}

/** @throws VisibleError for what is missing or wrong; StoreError when a store does not answer */
export async function startProcess(
  role: "source" | "handler",
  options: FlowOptions,
  begin: (parts: Parts) => Promise<Work>,
): Promise<FlowProcess> {
  const { env = process.env } = options;
  const place = readPlace(env);
  const startMs = secondsOf("startSeconds", options.startSeconds, undefined, 60) * 1000;
  const graceMs = secondsOf("graceSeconds", options.graceSeconds, env.RINGFENCE_GRACE_SECONDS, 30) * 1000;
  const connection = await openConnection(role, options);
  const running = new Running(place, connection, graceMs, options);
  try {
    await running.start(startMs, options, begin);
  } catch (error) {
    await running.end();
    throw error;
  }
  if (options.handleSignals ?? true) endWithSignals(running);
  return running;
}

class Running implements FlowProcess {
  port: number | undefined;
  readonly closed: Promise<Error | undefined>;
  readonly #place: Place;
  readonly #connection: Connection;
  readonly #graceMs: number;
  readonly #handleSignals: boolean;
  readonly #metrics: Metrics;
  #client: Promise<Client> | undefined;
  #state: "starting" | "ready" | "draining" = "starting";
  #work: Work | undefined;
  #health: { close(): void } | undefined;
  #stopped: Promise<boolean> | undefined;
  #failed: Error | undefined;

  constructor(place: Place, connection: Connection, graceMs: number, { handleSignals = true }: FlowOptions) {
    this.#place = place;
    this.#connection = connection;
    this.#graceMs = graceMs;
    this.#handleSignals = handleSignals;
    this.#metrics = new Metrics({ vertex: place.vertex });
    this.#metrics.gauge("ringfence_flow_ready", "1 when it is at work.", {}, () => (this.#unready() ? 0 : 1));
    this.#metrics.gauge("ringfence_flow_in_flight", "Messages under way.", {}, () => this.inFlight);
    this.closed = connection.bus.closed.then((error) => {
      if (error) this.#note(error);
      return this.#failed;
    });
  }

  get inFlight(): number {
    return this.#work?.inFlight ?? 0;
  }

  async start(
    startMs: number,
    { port = 9090, host, env = process.env }: FlowOptions,
    begin: (parts: Parts) => Promise<Work>,
  ): Promise<void> {
    if (port !== false) {
      const at = { host: host ?? env.RINGFENCE_BIND_ADDRESS ?? "0.0.0.0", port };
      const health = await serveHealth(
        {
          dead: () => this.#failed?.message,
          unready: () => this.#unready(),
          metrics: () => this.#metrics.text(),
        },
        at,
      );
      this.#health = health;
      this.port = health.port;
    }
    const [place, connection, metrics] = [this.#place, this.#connection, this.#metrics];
    const bus = connection.bus.flow();
    const inlets = await verified(connection, bus, place, startMs);
    const log = (line: string) => connection.log(`${place.vertex}: ${line}`);
    const outbox = new Outbox(place.flow, {
      bus,
      metrics,
      log,
      client: () => {
        this.#client ??= Client.open({ env });
        return this.#client;
      },
    });
    const fail = (error: Error) => {
      this.#note(error);
      if (this.#handleSignals) process.exitCode = 1;
      void this.stop();
    };
    const work = await begin({ ...place, connection: { ...connection, log }, bus, outbox, metrics, inlets, fail });
    this.#work = work;
    this.#state = "ready";
    answerFigures(connection, () => {
      const { outcomes, recent, retries } = work.figures;
      const { sent, retries: sentAgain } = outbox.figures;
      const { kind } = place.flow;
      const { inFlight } = this;
      return {
        flows: { kind, state: this.#state, inFlight, outcomes, recent, sent, retries: retries + sentAgain },
      };
    });
  }

  stop(): Promise<boolean> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async end(): Promise<void> {
    await this.#client?.then((client) => client.close()).catch(() => undefined);
    this.#health?.close();
    await this.#connection.close();
  }

  async #stop(): Promise<boolean> {
    this.#state = "draining";
    const unfinished = (await this.#work?.drain(this.#graceMs)) ?? 0;
    if (unfinished > 0) {
      this.#connection.log(
        `${this.#place.vertex}: ${unfinished} messages were not finished within the grace of ${this.#graceMs / 1000} s; they come again`,
      );
    }
    await this.#connection.bus.flush().catch(() => undefined);
    await this.end();
    return unfinished === 0 && !this.#failed;
  }

  #note(error: Error): void {
    if (this.#failed) return;
    this.#failed = error;
    this.#connection.log(`${this.#place.vertex}: ${error.message}`);
  }

  #unready(): string | undefined {
    if (this.#failed) return this.#failed.message;
    if (this.#state !== "ready") return this.#state;
    return this.#connection.bus.connected ? undefined : "no connection to NATS";
  }
}
