/** The serving side: an instance of an endpoint, from its registration to its end without a lost request. */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { HeldKey } from "../components/stores/etcd-held.ts";
import { Answering, type Handler } from "./answering.ts";
import { type Connection, type ConnectionOptions, openConnection } from "./connection.ts";
import { answerFigures } from "./figures.ts";
import { serveHealth } from "./health.ts";
import { type Counter, Metrics } from "./metrics.ts";
import { instancesOf, type Registration, requireEndpoint, subjectOf } from "./registration.ts";
import { integerOf, secondsOf } from "./settings.ts";
import { endWithSignals } from "./signals.ts";

export interface ServeOptions extends ConnectionOptions {
  /**
   * Seconds after which an instance that died is no longer registered; etcd may grant more (by default at least 2).
   * @default RINGFENCE_LEASE_TTL, else 10
   */
  leaseTtl?: number;
  /**
   * Seconds in which a worker that ends goes on serving clients that have not yet heard of it.
   * @default RINGFENCE_PROPAGATION_SECONDS, else 5
   */
  propagationSeconds?: number;
  /** Seconds that requests have to finish after that. @default RINGFENCE_GRACE_SECONDS, else 30 */
  graceSeconds?: number;
  /** Where `/live`, `/ready` and `/metrics` are; 0 takes any port, `false` serves none. @default 9090 */
  port?: number | false;
  /** The address for that port. @default RINGFENCE_BIND_ADDRESS, else "0.0.0.0" */
  host?: string;
  /** Which rollout of the vertex this is; clients prefer the newest. @default RINGFENCE_ROLLOUT, else none */
  rollout?: string;
  /** Bytes of replies kept for callers that ask again. @default 64 MiB */
  replyCacheBytes?: number;
  /** Ends, with `stop` and exit code 0, on SIGTERM and SIGINT. @default true */
  handleSignals?: boolean;
}

export interface Worker {
  /** Names this instance, for as long as the process lives. */
  readonly instance: string;
  /** The port of `/live`, `/ready` and `/metrics`. */
  readonly port: number | undefined;
  /** Requests that are being handled now. */
  readonly inFlight: number;
  /**
   * Ends it: unready, unregistered, serving on for the propagation, refusing, finishing, gone.
   * @returns whether every request was finished
   */
  stop(): Promise<boolean>;
  /** Resolves at its end, with the reason when nobody asked for it. */
  readonly closed: Promise<Error | undefined>;
}

const MIB = 2 ** 20;

/** How long a start waits for etcd, milliseconds. */
const START_MS = 10_000;

/**
 * Serves an endpoint of this pipeline until `stop` or a signal.
 * @param endpoint up to 63 letters, digits, `-` and `_`
 * @throws VisibleError for what is missing or wrong; StoreError when a store does not answer
 */
export async function serve<Body = unknown>(
  endpoint: string,
  handler: Handler<Body>,
  options: ServeOptions = {},
): Promise<Worker> {
  requireEndpoint(endpoint);
  const { env = process.env } = options;
  const settings = {
    leaseTtl: integerOf("leaseTtl", options.leaseTtl, env.RINGFENCE_LEASE_TTL, { least: 1, fallback: 10 }),
    propagation: secondsOf("propagationSeconds", options.propagationSeconds, env.RINGFENCE_PROPAGATION_SECONDS, 5),
    grace: secondsOf("graceSeconds", options.graceSeconds, env.RINGFENCE_GRACE_SECONDS, 30),
  };
  const connection = await openConnection("worker", options);
  const instance = new Instance(endpoint, handler as Handler, connection, settings, options);
  try {
    await instance.start(options);
  } catch (error) {
    await instance.abandon();
    throw error;
  }
  if (options.handleSignals ?? true) endWithSignals(instance);
  return instance;
}

interface Settings {
  leaseTtl: number;
  propagation: number;
  grace: number;
}

class Instance implements Worker {
  readonly instance = randomBytes(6).toString("hex");
  port: number | undefined;
  readonly closed: Promise<Error | undefined>;
  readonly #endpoint: string;
  readonly #connection: Connection;
  readonly #settings: Settings;
  readonly #rollout: string;
  readonly #metrics: Metrics;
  readonly #answering: Answering;
  readonly #leasesLost: Counter;
  #state: "starting" | "ready" | "draining" = "starting";
  #held: HeldKey | undefined;
  #health: { close(): void } | undefined;
  #unsubscribe: (() => Promise<void>) | undefined;
  #stopped: Promise<boolean> | undefined;
  #dead: string | undefined;

  constructor(endpoint: string, handler: Handler, connection: Connection, settings: Settings, options: ServeOptions) {
    const { env = process.env } = options;
    this.#endpoint = endpoint;
    this.#connection = connection;
    this.#settings = settings;
    this.#rollout = options.rollout ?? env.RINGFENCE_ROLLOUT ?? "";
    this.#metrics = new Metrics({ endpoint });
    this.#answering = new Answering(connection.bus, handler, this.#metrics, options.replyCacheBytes ?? 64 * MIB);
    this.#metrics.gauge("ringfence_worker_ready", "1 when requests may come.", {}, () => (this.#unready() ? 0 : 1));
    this.#leasesLost = this.#metrics.counter(
      "ringfence_worker_leases_lost_total",
      "Leases that were lost; each time the instance was registered anew.",
    );
    this.closed = connection.bus.closed.then((error) => {
      this.#dead = error?.message;
      if (error) connection.log(`${endpoint} ${this.instance}: ${error.message}; no request reaches it any more`);
      return error;
    });
  }

  get inFlight(): number {
    return this.#answering.inFlight;
  }

  async start({ port = 9090, env = process.env, host = env.RINGFENCE_BIND_ADDRESS ?? "0.0.0.0" }: ServeOptions) {
    const { bus, etcd, prefix, log } = this.#connection;
    const { instance: id } = this;
    const subject = subjectOf(this.#endpoint, id);
    this.#unsubscribe = bus.subscribe(subject, (message) => this.#answering.take(message));
    answerFigures(this.#connection, () => ({
      serves: {
        endpoint: this.#endpoint,
        instance: id,
        rollout: this.#rollout,
        state: this.#state,
        ...this.#answering.figures,
      },
    }));
    if (port !== false) {
      const health = await serveHealth(
        { dead: () => this.#dead, unready: () => this.#unready(), metrics: () => this.#metrics.text() },
        { host, port },
      );
      this.#health = health;
      this.port = health.port;
    }
    // Whoever finds the key may send at once.
    await bus.flush();
    const registration = (): Registration => ({
      id,
      subject,
      rollout: this.#rollout,
      started: Date.now(),
      host: this.#connection.host,
    });
    this.#held = await HeldKey.hold(
      etcd,
      {
        key: instancesOf(prefix, this.#endpoint) + id,
        value: () => JSON.stringify(registration()),
        ttl: this.#settings.leaseTtl,
        withinMs: START_MS,
      },
      {
        restored: (awayMs) => {
          this.#leasesLost.value++;
          log(`${this.#endpoint} ${id}: its lease was lost after ${(awayMs / 1000).toFixed(1)} s; registered again`);
        },
        trouble: (message) => log(`${this.#endpoint} ${id}: its lease cannot be kept alive (${message}); serving on`),
      },
    );
    this.#state = "ready";
  }

  stop(): Promise<boolean> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  /** After a start that failed. */
  async abandon(): Promise<void> {
    this.#answering.interrupt();
    await this.#end();
  }

  async #stop(): Promise<boolean> {
    const { bus, log } = this.#connection;
    const { propagation, grace } = this.#settings;
    const name = `${this.#endpoint} ${this.instance}`;
    this.#state = "draining";
    this.#answering.state = "draining";
    await this.#held
      ?.remove()
      .catch((error: Error) => log(`${name}: still registered until its lease ends (${error.message})`));
    await sleep(propagation * 1000);
    this.#answering.refuse();
    const finished = await this.#answering.finish(grace * 1000);
    if (!finished) log(`${name}: ${this.inFlight} requests were not finished within the grace of ${grace} s`);
    this.#answering.interrupt();
    // What the server has sent is refused, and what comes later meets nobody: no request is lost in between.
    await this.#unsubscribe?.().catch(() => undefined);
    await bus.flush().catch(() => undefined);
    await this.#end();
    return finished;
  }

  async #end(): Promise<void> {
    await this.#held?.release();
    this.#health?.close();
    await this.#connection.close();
  }

  #unready(): string | undefined {
    if (this.#state !== "ready") return this.#state;
    return this.#connection.bus.connected ? undefined : "no connection to NATS";
  }
}
