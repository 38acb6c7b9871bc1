/** NATS, as a tenant's own software needs it: messages with one header, on a connection that comes back by itself. */
import { connect, credsAuthenticator, headers, type Msg, type NatsConnection, type PublishOptions } from "nats";
import { CALL_DEADLINE_MS, StoreError } from "./errors.ts";
import { FlowBus } from "./flow-bus.ts";
import { isRefusal, labelOf, type NatsAccess, wayTo } from "./nats.ts";

export interface BusAccess extends Omit<NatsAccess, "creds"> {
  /** Gives the text of a credentials file; asked at every connect, for a rotation writes a new one. */
  creds: () => string;
  /** How the connection is named in the server's lists. */
  name: string;
}

/** A message as it came. What it holds is decoded when it is asked for. */
export interface BusMessage {
  readonly subject: string;
  /** Where the sender waits; empty when nowhere. */
  readonly reply: string;
  readonly data: Uint8Array;
  /** The `Ringfence` header; empty when there is none. */
  readonly header: string;
  /** The server's own answer: nobody is subscribed, and nothing was delivered. */
  readonly nobody: boolean;
}

export interface Outgoing {
  reply?: string;
  header?: string;
}

const HEADER = "Ringfence";

export class Bus {
  /** Names the server in messages. */
  readonly label: string;
  /** Settles when the connection is closed for good: by `close`, or because the log-in is refused. */
  readonly closed: Promise<StoreError | undefined>;
  readonly #connection: NatsConnection;
  readonly #listeners = new Set<(connected: boolean) => void>();
  #connected = true;

  private constructor(label: string, connection: NatsConnection) {
    this.label = label;
    this.#connection = connection;
    this.closed = connection.closed().then((error) => {
      this.#tell(false);
      if (!error) return undefined;
      return new StoreError(`${label} closed the connection (${error.message}): check the credentials`, {
        cause: error,
      });
    });
    void this.#follow();
  }

  /** @throws StoreError */
  static async connect({ creds, name, ...where }: BusAccess): Promise<Bus> {
    const label = labelOf(where);
    try {
      const connection = await connect({
        ...(await wayTo(where)),
        name,
        authenticator: credsAuthenticator(() => new TextEncoder().encode(creds())),
        timeout: CALL_DEADLINE_MS,
        // A stack for each request, in case that it fails, is a quarter of what a request costs; our errors say what it was.
        noAsyncTraces: true,
        maxReconnectAttempts: -1,
        reconnectTimeWait: 100,
        reconnectJitter: 100,
        reconnectJitterTLS: 100,
        // A server that died in silence is noticed after two of them.
        pingInterval: 5_000,
      });
      return new Bus(label, connection);
    } catch (cause) {
      if (cause instanceof StoreError) throw cause;
      const message = where.forward?.trouble ?? (cause as Error).message;
      const refused = isRefusal(cause);
      throw new StoreError(
        refused
          ? `${label} refused the log-in: check the file that NATS_AUTH_CREDENTIALS_FILE names`
          : `${label} does not answer (${message}): check NATS_SERVER`,
        { unreachable: !refused, cause },
      );
    }
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** The most that one message may hold, bytes, its header included. */
  get maxPayload(): number {
    return this.#connection.info?.max_payload ?? 1024 * 1024;
  }

  /** @returns a function that ends it */
  onConnection(listener: (connected: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Without a connection it is lost, or sent when there is one again, as when one breaks right after.
   * @param subject nothing is sent to an empty one: to a sender who waits for no answer
   */
  publish(subject: string, data: Uint8Array, { reply, header }: Outgoing): void {
    // What nats.js throws where a message was heard would end its reading of all others.
    if (subject === "" || this.#connection.isClosed()) return;
    const options: PublishOptions = {};
    if (reply !== undefined) options.reply = reply;
    if (header !== undefined) {
      options.headers = headers();
      options.headers.append(HEADER, header);
    }
    this.#connection.publish(subject, data, options);
  }

  /** @returns a function that ends it, once every message that the server had sent was listened to */
  subscribe(subject: string, listener: (message: BusMessage) => void): () => Promise<void> {
    const subscription = this.#connection.subscribe(subject, {
      callback: (error, message) => {
        if (!error) listener(new Received(message));
      },
    });
    return () => subscription.drain();
  }

  /** What JetStream keeps for the account, through the same connection. */
  flow(): FlowBus {
    return new FlowBus(this.label, this.#connection);
  }

  /** Resolves when the server has everything that was published before. */
  async flush(): Promise<void> {
    await this.#connection.flush();
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }

  async #follow(): Promise<void> {
    for await (const { type } of this.#connection.status()) {
      if (type === "disconnect") this.#tell(false);
      else if (type === "reconnect") this.#tell(true);
    }
  }

  #tell(connected: boolean): void {
    if (connected === this.#connected) return;
    this.#connected = connected;
    for (const listener of this.#listeners) listener(connected);
  }
}

class Received implements BusMessage {
  readonly #message: Msg;

  constructor(message: Msg) {
    this.#message = message;
  }

  get subject() {
    return this.#message.subject;
  }

  get reply() {
    return this.#message.reply ?? "";
  }

  get data() {
    return this.#message.data;
  }

  get header() {
    return this.#message.headers?.get(HEADER) ?? "";
  }

  get nobody() {
    return this.#message.headers?.code === 503 && this.#message.data.length === 0;
  }
}
