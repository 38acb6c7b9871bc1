/** JetStream, as a tenant's own software needs it: buffers that are read and written, and a note that outlives a process. */
import {
  createInbox,
  headers,
  type JetStreamClient,
  type JetStreamManager,
  type KV,
  type Msg,
  type NatsConnection,
  type NatsError,
  type Subscription,
} from "nats";
import { CALL_DEADLINE_MS, StoreError } from "./errors.ts";

/** A buffer as the server has it: a stream whose only durable consumer has its name. */
export interface BufferState {
  metadata: Readonly<Record<string, string>>;
  /** Seconds in which a second message of one id is taken for the first one. */
  dedupSeconds: number;
  /** Seconds after which a message that nobody has said anything about is delivered again. */
  ackWaitSeconds: number;
}

/** What a message is besides its data. */
export interface Envelope {
  /** Of this message, however often it is sent: a buffer keeps one of each within its window. */
  id: string;
  /** What its writer says of it, in one line. */
  header: string;
}

const HEADER = "Ringfence";
const ID = "Nats-Msg-Id";

/** What headers take of a message, at most, bytes: keys are bounded by it. */
const HEADER_ROOM = 1024;

/** JetStream's numbers for what is not there. */
const STREAM_NOT_FOUND = 10059;
const CONSUMER_NOT_FOUND = 10014;

const NANOSECONDS = 1e9;

export class FlowBus {
  /** Names the server in messages. */
  readonly label: string;
  readonly #connection: NatsConnection;
  readonly #stream: JetStreamClient;
  #manager: Promise<JetStreamManager> | undefined;
  readonly #notes = new Map<string, KV>();

  constructor(label: string, connection: NatsConnection) {
    this.label = label;
    this.#connection = connection;
    this.#stream = connection.jetstream({ timeout: CALL_DEADLINE_MS });
  }

  /** The most that a message may hold, bytes, without its header. */
  get largest(): number {
    return (this.#connection.info?.max_payload ?? 1024 * 1024) - HEADER_ROOM;
  }

  /** @returns undefined when the stream, or its consumer, is not there */
  async buffer(name: string): Promise<BufferState | undefined> {
    try {
      const manager = await this.#managed();
      const { config } = await manager.streams.info(name);
      const consumer = await manager.consumers.info(name, name);
      return {
        metadata: config.metadata ?? {},
        dedupSeconds: config.duplicate_window / NANOSECONDS,
        ackWaitSeconds: (consumer.config.ack_wait ?? 0) / NANOSECONDS,
      };
    } catch (cause) {
      const found = (cause as NatsError).api_error?.err_code;
      if (found === STREAM_NOT_FOUND || found === CONSUMER_NOT_FOUND) return undefined;
      throw this.#explained(cause, `buffer '${name}'`);
    }
  }

  /** Messages of a buffer that nobody has acknowledged yet. */
  async unread(name: string): Promise<number> {
    try {
      const { num_pending, num_ack_pending } = await (await this.#managed()).consumers.info(name, name);
      return num_pending + num_ack_pending;
    } catch (cause) {
      throw this.#explained(cause, `buffer '${name}'`);
    }
  }

  /**
   * Resolves when the message is stored.
   * @returns the place of the buffer's newest message, and whether this one was there already
   * @throws StoreError; the message may have been stored all the same
   */
  async store(
    name: string,
    data: Uint8Array,
    { id, header }: Envelope,
  ): Promise<{ sequence: number; duplicate: boolean }> {
    const said = headers();
    said.append(HEADER, header);
    try {
      const { seq, duplicate } = await this.#stream.publish(name, data, { msgID: id, headers: said });
      return { sequence: seq, duplicate };
    } catch (cause) {
      throw this.#explained(cause, `buffer '${name}'`);
    }
  }

  /** Begins to read a buffer; nothing comes before it is asked for. */
  read(name: string, take: (delivery: Delivery) => void): Inlet {
    return new Inlet(this.#connection, name, take, (cause) => this.#explained(cause, `buffer '${name}'`));
  }

  /** @returns undefined when nothing was noted under that key of the bucket */
  async note(bucket: string, key: string): Promise<string | undefined> {
    try {
      const entry = await (await this.#bucket(bucket)).get(key);
      return entry?.operation === "PUT" ? entry.string() : undefined;
    } catch (cause) {
      throw this.#explained(cause, `bucket '${bucket}'`);
    }
  }

  async writeNote(bucket: string, key: string, text: string): Promise<void> {
    try {
      await (await this.#bucket(bucket)).put(key, text);
    } catch (cause) {
      throw this.#explained(cause, `bucket '${bucket}'`);
    }
  }

  async #bucket(name: string): Promise<KV> {
    const open = this.#notes.get(name) ?? (await this.#stream.views.kv(name, { bindOnly: true }));
    this.#notes.set(name, open);
    return open;
  }

  #managed(): Promise<JetStreamManager> {
    this.#manager ??= this.#connection.jetstreamManager({ checkAPI: false, timeout: CALL_DEADLINE_MS });
    return this.#manager;
  }

  #explained(cause: unknown, what: string): StoreError {
    if (cause instanceof StoreError) return cause;
    const { message, api_error } = cause as NatsError;
    return new StoreError(`${this.label}, ${what}: ${message}`, {
      inDoubt: api_error === undefined,
      unreachable: api_error === undefined,
      cause,
    });
  }
}

/** Codes by which a server says that a request for messages is over, and nothing is wrong. */
const OVER = [404, 408];

/** How long the server waits for messages to come, and how much longer we wait for the server, milliseconds. */
const WAIT_MS = 1_000;

interface Pull {
  reply: string;
  left: number;
  end: (error?: StoreError) => void;
}

/**
 * The reading end of a buffer. Its subscription lives as long as it does: nats.js' own `fetch` has one for each request, and
 * what comes when that has just been given up, on a busy machine, is nobody's until its acknowledgement was waited for.
 */
export class Inlet {
  readonly #connection: NatsConnection;
  readonly #subject: string;
  readonly #inbox = createInbox();
  readonly #explained: (cause: unknown) => StoreError;
  readonly #subscription: Subscription;
  #pull: Pull | undefined;
  #pulls = 0;

  constructor(
    connection: NatsConnection,
    name: string,
    take: (delivery: Delivery) => void,
    explained: (cause: unknown) => StoreError,
  ) {
    this.#connection = connection;
    this.#subject = `$JS.API.CONSUMER.MSG.NEXT.${name}.${name}`;
    this.#explained = explained;
    this.#subscription = connection.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => {
        if (error) this.#pull?.end(explained(error));
        else if (message.subject.startsWith(this.#inbox)) this.#said(message);
        else {
          take(new Delivery(name, message, connection));
          if (this.#pull && --this.#pull.left === 0) this.#pull.end();
        }
      },
    });
  }

  /**
   * Asks for messages; one such request at a time. Resolves when so many have come, or no more will.
   * @throws StoreError
   */
  pull(most: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const reply = `${this.#inbox}.${++this.#pulls}`;
      const late = setTimeout(
        () => this.#pull?.end(this.#explained(new Error("no answer"))),
        WAIT_MS + CALL_DEADLINE_MS,
      );
      this.#pull = {
        reply,
        left: most,
        end: (error) => {
          clearTimeout(late);
          this.#pull = undefined;
          if (error) reject(error);
          else resolve();
        },
      };
      this.#connection.publish(this.#subject, JSON.stringify({ batch: most, expires: WAIT_MS * 1e6 }), { reply });
    });
  }

  /** Ends the request that is under way: the server that had it is gone. */
  interrupt(): void {
    this.#pull?.end();
  }

  close(): void {
    this.#subscription.unsubscribe();
  }

  #said({ subject, headers }: Msg): void {
    if (subject !== this.#pull?.reply || !headers) return;
    if (OVER.includes(headers.code)) this.#pull.end();
    else this.#pull.end(this.#explained(new Error(headers.description || `it answers with ${headers.code}`)));
  }
}

/** A message as a buffer delivered it; it comes again until it is acknowledged. */
export class Delivery {
  readonly #connection: NatsConnection;
  readonly #message: Msg;
  readonly #buffer: string;

  constructor(buffer: string, message: Msg, connection: NatsConnection) {
    this.#buffer = buffer;
    this.#message = message;
    this.#connection = connection;
  }

  /** The same at each delivery. What somebody published without an id is named by its place and time. */
  get id(): string {
    const { sequence, time } = this.#place();
    return this.#message.headers?.get(ID) || `${this.#buffer}:${sequence}:${time}`;
  }

  /** What its writer says of it; empty when somebody else wrote it. */
  get header(): string {
    return this.#message.headers?.get(HEADER) ?? "";
  }

  get data(): Uint8Array {
    return this.#message.data;
  }

  /** How often it was delivered, this time included. */
  get deliveries(): number {
    return this.#place().deliveries;
  }

  /** Says that it is done with. May be called again. @returns whether the server has confirmed it */
  async acknowledge(): Promise<boolean> {
    try {
      await this.#connection.request(this.#reply, "+ACK", { timeout: CALL_DEADLINE_MS });
      return true;
    } catch {
      return false;
    }
  }

  /** Gives it back, to be delivered again after so many milliseconds. */
  giveBack(afterMs = 0): void {
    this.#say(afterMs > 0 ? `-NAK ${JSON.stringify({ delay: afterMs * 1e6 })}` : "-NAK");
  }

  /** Says that somebody is at work on it, which begins the wait for its acknowledgement anew. */
  keep(): void {
    this.#say("+WPI");
  }

  get #reply(): string {
    return this.#message.reply ?? "";
  }

  #say(word: string): void {
    if (!this.#connection.isClosed()) this.#connection.publish(this.#reply, word);
  }

  /** `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<sequence>.<of the consumer>.<time>.<pending>…` */
  #place(): { deliveries: number; sequence: string; time: string } {
    const words = this.#reply.split(".");
    const [deliveries, sequence = "", , time = ""] = words.slice(words.length > 9 ? 6 : 4);
    return { deliveries: Number(deliveries), sequence, time };
  }
}
