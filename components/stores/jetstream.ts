/**
 * JetStream, as the admin sees it inside a tenant's account: its buffers, each a stream with one durable consumer of its
 * name, and its buckets. Each writing method is one request, so that whoever calls it can look at its guards before each.
 */
import {
  AckPolicy,
  DeliverPolicy,
  DiscardPolicy,
  type JetStreamManager,
  type NatsConnection,
  type NatsError,
  nanos,
  ReplayPolicy,
  type RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "nats";
import type { BufferPlan } from "../plan/topology.ts";
import { CALL_DEADLINE_MS, StoreError } from "./errors.ts";
import { dial, labelOf, type NatsAccess } from "./nats.ts";

export type BufferConfig = BufferPlan["config"];

/** What a stream says of itself: which topology it is of, and which plan it was made by. */
export interface Mark {
  /** The topology's; 0 for a stream that does not say. */
  generation: number;
  digest: string;
}

/** A buffer as the server has it. */
export interface BufferView {
  config: BufferConfig;
  mark: Mark;
  /** Messages that were not delivered yet; all there are when there is no consumer. */
  pending: number;
  /** Messages that were delivered and not acknowledged. */
  ackPending: number;
  /** The sequence of the last message that ever came, read before the two above. */
  lastSequence: number;
  hasConsumer: boolean;
}

export interface BucketView {
  replicas: number;
  mark: Mark;
}

const GENERATION = "ringfence.dev/generation";
const DIGEST = "ringfence.dev/digest";

/** JetStream's numbers for what is not there: a stream, a consumer, a message. */
const ABSENT = { stream: 10059, consumer: 10014, message: 10037 };

export class JetStream {
  /** Names the server in messages. */
  readonly label: string;
  readonly #connection: NatsConnection;
  readonly #manager: JetStreamManager;

  private constructor(label: string, connection: NatsConnection, manager: JetStreamManager) {
    this.label = label;
    this.#connection = connection;
    this.#manager = manager;
  }

  /**
   * @param access of a user of the account
   * @throws StoreError
   */
  static async connect(access: NatsAccess): Promise<JetStream> {
    const connection = await dial(access);
    const manager = await connection.jetstreamManager({ checkAPI: false, timeout: CALL_DEADLINE_MS });
    return new JetStream(labelOf(access), connection, manager);
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }

  /** @returns undefined when there is no such stream */
  async buffer(name: string): Promise<BufferView | undefined> {
    // The stream first: what came after its last sequence was read, a second look tells.
    const info = await this.#found(ABSENT.stream, `read buffer '${name}'`, () => this.#manager.streams.info(name));
    if (!info) return undefined;
    const consumer = await this.#found(ABSENT.consumer, `read the consumer of buffer '${name}'`, () =>
      this.#manager.consumers.info(name, name),
    );
    const { config, state } = info;
    return {
      config: {
        retention: config.retention as BufferConfig["retention"],
        maxMessages: config.max_msgs,
        maxAgeSeconds: inSeconds(config.max_age),
        replicas: config.num_replicas,
        dedupWindowSeconds: inSeconds(config.duplicate_window),
        ackWaitSeconds: inSeconds(consumer?.config.ack_wait),
        maxAckPending: consumer?.config.max_ack_pending ?? 0,
      },
      mark: markOf(config.metadata),
      pending: consumer ? consumer.num_pending : state.messages,
      ackPending: consumer?.num_ack_pending ?? 0,
      lastSequence: state.last_seq,
      hasConsumer: consumer !== undefined,
    };
  }

  /** When the oldest message that is not acknowledged came; undefined when all are. */
  async oldestUnread(name: string): Promise<Date | undefined> {
    const consumer = await this.#found(ABSENT.consumer, `read the consumer of buffer '${name}'`, () =>
      this.#manager.consumers.info(name, name),
    );
    const seq = (consumer?.ack_floor.stream_seq ?? 0) + 1;
    // The next one of the subject, for some may be gone.
    const message = await this.#found(ABSENT.message, `read the oldest message of buffer '${name}'`, () =>
      this.#manager.streams.getMessage(name, { seq, next_by_subj: name } as { seq: number }),
    );
    return message?.time;
  }

  async createBuffer(name: string, config: BufferConfig, mark: Mark): Promise<void> {
    const stream = { name, subjects: [name], storage: StorageType.File, ...streamConfig(config, mark) };
    await this.#made(`make buffer '${name}'`, () => this.#manager.streams.add(stream));
  }

  /** What JetStream cannot change, a retention to or from `workqueue`, it refuses. */
  async updateBuffer(name: string, config: BufferConfig, mark: Mark): Promise<void> {
    await this.#made(`change buffer '${name}'`, () => this.#manager.streams.update(name, streamConfig(config, mark)));
  }

  async createConsumer(name: string, config: BufferConfig): Promise<void> {
    const consumer = {
      durable_name: name,
      name,
      ack_policy: AckPolicy.Explicit,
      deliver_policy: DeliverPolicy.All,
      replay_policy: ReplayPolicy.Instant,
      ...consumerConfig(config),
    };
    await this.#made(`make the consumer of buffer '${name}'`, () => this.#manager.consumers.add(name, consumer));
  }

  async updateConsumer(name: string, config: BufferConfig): Promise<void> {
    await this.#made(`change the consumer of buffer '${name}'`, () =>
      this.#manager.consumers.update(name, name, consumerConfig(config)),
    );
  }

  /** @returns undefined when there is no such bucket */
  async bucket(name: string): Promise<BucketView | undefined> {
    const info = await this.#found(ABSENT.stream, `read bucket '${name}'`, () =>
      this.#manager.streams.info(bucketStream(name)),
    );
    return info && { replicas: info.config.num_replicas, mark: markOf(info.config.metadata) };
  }

  /** Makes a key-value store that nats.js and the other clients of NATS take for one. */
  async createBucket(name: string, replicas: number, mark: Mark): Promise<void> {
    await this.#made(`make bucket '${name}'`, () =>
      this.#connection
        .jetstream({ timeout: CALL_DEADLINE_MS })
        .views.kv(`${name}_OT`, { replicas, metadata: metadataOf(mark) }),
    );
  }

  async updateBucket(name: string, replicas: number, mark: Mark): Promise<void> {
    const change = { num_replicas: replicas, metadata: metadataOf(mark) };
    await this.#made(`change bucket '${name}'`, () => this.#manager.streams.update(bucketStream(name), change));
  }

  /** One that is gone already is fine. */
  async deleteBuffer(name: string): Promise<void> {
    await this.#found(ABSENT.stream, `delete buffer '${name}'`, () => this.#manager.streams.delete(name));
  }

  /** One that is gone already is fine. */
  async deleteBucket(name: string): Promise<void> {
    await this.#found(ABSENT.stream, `delete bucket '${name}'`, () => this.#manager.streams.delete(bucketStream(name)));
  }

  /** @returns undefined when the server says that it is not there, and only then */
  async #found<T>(absent: number, what: string, ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await ask();
    } catch (cause) {
      if ((cause as NatsError).api_error?.err_code === absent) return undefined;
      throw this.#explain(cause, what);
    }
  }

  async #made(what: string, ask: () => Promise<unknown>): Promise<void> {
    await ask().catch((cause: unknown) => {
      throw this.#explain(cause, what);
    });
  }

  #explain(cause: unknown, what: string): StoreError {
    const { message, api_error, code } = cause as NatsError;
    if (api_error) {
      const advice =
        api_error.code === 503
          ? "look at JetStream's health and at the pipeline's jetStream, then run again"
          : "correct the pipeline's 'buffers' or 'jetStream', then run again";
      return new StoreError(`${this.label} refused to ${what} (${api_error.description}): ${advice}`, { cause });
    }
    return new StoreError(
      `${this.label} did not answer when asked to ${what} (${message || code}): check that JetStream is up, then run again`,
      { unreachable: true, inDoubt: true, cause },
    );
  }
}

/** The stream of a bucket's key-value store; buckets are named as NumaFlow names them. */
const bucketStream = (name: string) => `KV_${name}_OT`;

const metadataOf = ({ generation, digest }: Mark) => ({ [GENERATION]: String(generation), [DIGEST]: digest });

const markOf = (metadata: Record<string, string> = {}): Mark => ({
  generation: Number(metadata[GENERATION] ?? 0),
  digest: metadata[DIGEST] ?? "",
});

/** What of a stream may be changed. */
function streamConfig(config: BufferConfig, mark: Mark): Partial<StreamConfig> {
  return {
    retention: config.retention as RetentionPolicy,
    // By `limits` what was read stays, so a full stream has to let the oldest go; else nothing that is there was read.
    discard: config.retention === "limits" ? DiscardPolicy.Old : DiscardPolicy.New,
    max_msgs: config.maxMessages,
    max_age: nanos(config.maxAgeSeconds * 1000),
    num_replicas: config.replicas,
    duplicate_window: nanos(config.dedupWindowSeconds * 1000),
    metadata: metadataOf(mark),
  };
}

/** What of a consumer may be changed. */
const consumerConfig = ({ ackWaitSeconds, maxAckPending }: BufferConfig) => ({
  ack_wait: nanos(ackWaitSeconds * 1000),
  max_ack_pending: maxAckPending,
});

const inSeconds = (nanoseconds = 0): number => nanoseconds / 1e9;
