/** JetStream, as a tenant's own software needs it: buffers that are read and written, and a note that outlives a process. */
import {
  headers,
  type JetStreamClient,
  type JetStreamManager,
  type KV,
  type NatsConnection,
  type NatsError,
} from "nats";
import { CALL_DEADLINE_MS, StoreError } from "./errors.ts";
import { type Delivery, HEADER, Inlet } from "./flow-inlet.ts";

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
