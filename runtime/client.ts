/** The asking side: finds instances, chooses one, and tries again where that is honest. */
import type { Asked } from "../components/plan/figures.ts";
import { Call } from "./call.ts";
import { type Connection, type ConnectionOptions, openConnection } from "./connection.ts";
import { Directory } from "./directory.ts";
import { RequestError } from "./errors.ts";
import { Mailbox } from "./exchange.ts";
import { answerFigures } from "./figures.ts";
import { type Counter, type Histogram, Metrics } from "./metrics.ts";
import type { RequestOptions } from "./options.ts";
import { Recent } from "./recent.ts";
import { requireEndpoint } from "./registration.ts";
import { Window } from "./window.ts";
import { decode, encode, HEADER_ROOM, tagOf } from "./wire.ts";

export interface ClientOptions extends ConnectionOptions {
  /**
   * Milliseconds between two health checks of an instance, and for its answer: one that hangs is ejected after two to
   * three of them. @default 1000
   */
  healthIntervalMs?: number;
}

/** What is known of an instance. */
export interface InstanceStatus {
  id: string;
  rollout: string;
  /** When it began to register, milliseconds since 1970. */
  started: number;
  /** Found in etcd; one whose lease was lost answers without it. */
  registered: boolean;
  state: "ready" | "draining" | "dead" | "unheard" | "ejected";
  /** Requests of this client that it has not answered. */
  inFlight: number;
}

const OUTCOMES = ["ok", "unavailable", "outcome-unknown", "failed", "invalid", "aborted"] as const;
type Outcome = (typeof OUTCOMES)[number];

const outcomeOf = (error: unknown): Outcome => (error instanceof RequestError ? error.code : "aborted");

/** Parts of a streamed reply that may wait for their reader: at most 32 MiB, by NATS' default bound of a message. */
const UNREAD = 32;

interface Endpoint {
  name: string;
  directory: Directory;
  inFlight: number;
  retries: Counter;
  seconds: Histogram;
  recent: Recent;
  outcomes: Record<Outcome, Counter>;
}

export class Client {
  /** Resolves at its end: at `close`, or when NATS lets it in no more. */
  readonly closed: Promise<void>;
  readonly #connection: Connection;
  readonly #mailbox: Mailbox;
  readonly #metrics = new Metrics();
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #calls = new Map<number, Call>();
  readonly #healthIntervalMs: number;
  readonly #stopAnswering: () => Promise<void>;
  #number = 0;
  /** Why no request can be sent any more. */
  #ended: string | undefined;

  private constructor(connection: Connection, { healthIntervalMs = 1_000 }: ClientOptions) {
    this.#connection = connection;
    this.#mailbox = new Mailbox(connection.bus);
    this.#healthIntervalMs = healthIntervalMs;
    this.#metrics.gauge("ringfence_client_in_flight", "Requests waited for.", {}, () => this.#calls.size);
    this.#stopAnswering = answerFigures(connection, () => ({ asks: [...this.#endpoints.values()].map(figuresOf) }));
    // What was under way when the connection broke may be lost, in either direction.
    connection.bus.onConnection((connected) => {
      for (const { directory } of this.#endpoints.values()) directory.reconsider();
      if (connected) for (const call of this.#calls.values()) call.look();
    });
    this.closed = connection.bus.closed.then((error) => {
      if (!error) return;
      this.#ended = error.message;
      connection.log(`${error.message}; no request of this client can be sent any more`);
    });
  }

  /** @throws VisibleError for what is missing in the environment; StoreError when NATS does not answer */
  static async open(options: ClientOptions = {}): Promise<Client> {
    return new Client(await openConnection("client", options), options);
  }

  /** Of a connection that is its own from now on: from outside of the cluster, the way there is not in the environment. @internal */
  static over(connection: Connection): Client {
    return new Client(connection, {});
  }

  /**
   * Sends a request to one of the endpoint's instances.
   * @param body a value that JSON can write, or bytes
   * @returns the handler's reply, JSON or bytes as it gave it
   * @throws RequestError
   */
  async request<Answer = unknown>(endpoint: string, body: unknown, options: RequestOptions = {}): Promise<Answer> {
    const call = this.#call(endpoint, body, options);
    let outcome: Outcome = "aborted";
    try {
      const reply = await call.next();
      if (reply.kind !== "value") {
        throw new RequestError(`request to '${endpoint}': it is answered with a stream: use stream('${endpoint}', …)`, {
          code: "failed",
          endpoint,
        });
      }
      outcome = "ok";
      call.answered();
      return decode(reply.data, reply.tag) as Answer;
    } catch (error) {
      outcome = outcomeOf(error);
      throw error;
    } finally {
      this.#end(call, outcome);
    }
  }

  /**
   * Sends a request whose reply comes in parts. It ends without an error only when every part has come; leaving the loop
   * tells the handler that nobody waits. The handler waits for a caller that reads slowly: 32 parts may be unread.
   * @throws RequestError, also between two parts
   */
  async *stream<Chunk = unknown>(
    endpoint: string,
    body: unknown,
    options: RequestOptions = {},
  ): AsyncGenerator<Chunk, void> {
    const call = this.#call(endpoint, body, options, new Window(UNREAD));
    let outcome: Outcome = "aborted";
    try {
      for (;;) {
        const reply = await call.next();
        if (reply.kind === "end") break;
        yield decode(reply.data, reply.tag) as Chunk;
        if (reply.kind === "value") break;
      }
      outcome = "ok";
      call.answered();
    } catch (error) {
      outcome = outcomeOf(error);
      throw error;
    } finally {
      this.#end(call, outcome);
    }
  }

  /** The instances of an endpoint, as this client knows them; the first look at an endpoint begins to watch it. */
  instances(endpoint: string): InstanceStatus[] {
    const now = performance.now();
    return this.#endpoint(endpoint).directory.instances.map(
      ({ id, rollout, started, registered, state, waiting, ejectedUntil }) => ({
        id,
        rollout,
        started,
        registered,
        state: state === "ready" && ejectedUntil > now ? "ejected" : state,
        inFlight: waiting.size,
      }),
    );
  }

  /** Prometheus text. */
  metrics(): string {
    return this.#metrics.text();
  }

  /** Ends it; requests that wait are aborted. */
  async close(): Promise<void> {
    this.#ended ??= "this client is closed";
    for (const { directory } of this.#endpoints.values()) directory.close();
    for (const call of this.#calls.values()) call.abandon();
    await this.#stopAnswering().catch(() => undefined);
    await this.#mailbox.close().catch(() => undefined);
    await this.#connection.close();
  }

  #endpoint(endpoint: string): Endpoint {
    const known = this.#endpoints.get(endpoint);
    if (known) return known;
    requireEndpoint(endpoint);
    const metrics = this.#metrics;
    const made: Endpoint = {
      name: endpoint,
      inFlight: 0,
      recent: new Recent(performance.now()),
      directory: new Directory(endpoint, {
        connection: this.#connection,
        mailbox: this.#mailbox,
        metrics,
        options: { healthIntervalMs: this.#healthIntervalMs },
      }),
      retries: metrics.counter("ringfence_client_retries_total", "Requests sent to another instance.", { endpoint }),
      seconds: metrics.histogram("ringfence_client_request_seconds", "From a request to its last part.", { endpoint }),
      outcomes: Object.fromEntries(
        OUTCOMES.map((outcome) => [
          outcome,
          metrics.counter("ringfence_client_requests_total", "Requests by what became of them.", { endpoint, outcome }),
        ]),
      ) as Endpoint["outcomes"],
    };
    this.#endpoints.set(endpoint, made);
    return made;
  }

  #call(endpoint: string, body: unknown, options: RequestOptions, window?: Window): Call {
    if (this.#ended !== undefined)
      throw new RequestError(`request to '${endpoint}': ${this.#ended}`, { code: "unavailable", endpoint });
    const found = this.#endpoint(endpoint);
    const { directory, retries } = found;
    const invalid = (why: string, cause?: unknown) =>
      new RequestError(`request to '${endpoint}': ${why}`, { code: "invalid", endpoint, cause });
    const { bus } = this.#connection;
    let data: Uint8Array;
    try {
      data = encode(body);
    } catch (cause) {
      throw invalid(`its body has no JSON form (${(cause as Error).message})`, cause);
    }
    const most = bus.maxPayload - HEADER_ROOM;
    if (data.length > most)
      throw invalid(`its body has ${data.length} bytes, and NATS takes ${most} at once: split it`);
    directory.budget.earn(found.inFlight + 1);
    const number = this.#number++;
    const call = new Call({
      endpoint,
      number,
      settled: this.#settled,
      body: data,
      tag: tagOf(body),
      directory,
      mailbox: this.#mailbox,
      bus,
      retries,
      options,
      ...(window !== undefined && { window }),
    });
    this.#calls.set(number, call);
    found.inFlight++;
    return call;
  }

  /** The oldest that is waited for comes first. */
  readonly #settled = (): number => this.#calls.keys().next().value ?? this.#number;

  #end(call: Call, outcome: Outcome): void {
    call.close();
    this.#calls.delete(call.number);
    const of = this.#endpoints.get(call.endpoint) as Endpoint;
    const now = performance.now();
    of.inFlight--;
    of.outcomes[outcome].value++;
    of.seconds.observe((now - call.begun) / 1000);
    of.recent.observe(now, now - call.begun);
  }
}

function figuresOf({ name, inFlight, retries, outcomes, directory, recent }: Endpoint): Asked {
  return {
    endpoint: name,
    inFlight,
    outcomes: Object.fromEntries(OUTCOMES.map((outcome) => [outcome, outcomes[outcome].value])),
    retries: retries.value,
    recent: recent.told(performance.now()),
    instances: directory.usable,
  };
}
