/** Where a vertex sends on: into the buffers of the next vertices, not faster than those read them; or as requests. */
import type { Flowing } from "../components/plan/figures.ts";
import { VisibleError } from "../components/plan/visible-error.ts";
import { backoff, pause } from "../components/stores/backoff.ts";
import type { FlowBus } from "../components/stores/flow-bus.ts";
import { orAborted } from "./abort.ts";
import type { Client } from "./client.ts";
import type { VertexFlow } from "./flow-topology.ts";
import { carry, type Parcel, partitionOf, type Sealed, seal } from "./flow-wire.ts";
import type { Counter, Metrics } from "./metrics.ts";
import { Recent } from "./recent.ts";

/** Between two looks at a buffer that is full, milliseconds. */
const LOOKS = { initialMs: 20, maxMs: 500 };

/** Between two tries to store. */
const TRIES = { initialMs: 50, maxMs: 2_000 };

interface Edge {
  to: string;
  stored: Counter;
  duplicates: Counter;
  rooms: Room[];
  /** All messages of a key go to one partition, and those without one, too. */
  keyed: boolean;
}

/** A message that can be sent. */
export interface Ready extends Sealed {
  key: string | undefined;
  edges: Edge[];
}

/** What a header may hold of a key, characters. */
const LONGEST_HEADER = 512;

export class Outbox {
  readonly #bus: FlowBus;
  readonly #edges: Edge[];
  readonly #client: () => Promise<Client>;
  readonly #log: (line: string) => void;
  readonly #again: Counter;
  readonly #sent = new Recent(performance.now());
  #troubled = false;

  /** @param client opened when the first request is sent */
  constructor(
    { out, limits }: VertexFlow,
    {
      bus,
      client,
      metrics,
      log,
    }: { bus: FlowBus; client: () => Promise<Client>; metrics: Metrics; log: (line: string) => void },
  ) {
    this.#bus = bus;
    this.#client = client;
    this.#log = log;
    const most = Math.floor((limits.bufferMaxLength * limits.bufferUsageLimit) / 100);
    this.#edges = out.map(({ to, edge, buffers, keyed = false }) => ({
      to,
      keyed,
      stored: metrics.counter("ringfence_flow_sent_total", "Messages that the next vertex has.", { to }),
      duplicates: metrics.counter("ringfence_flow_duplicates_total", "Of those, the ones that it had already.", { to }),
      rooms: edge === "stream" ? buffers.map((buffer) => new Room(bus, buffer, Math.max(1, most))) : [],
    }));
    this.#again = metrics.counter("ringfence_flow_retries_total", "Times that a message was sent again.");
    metrics.gauge("ringfence_flow_waiting", "Messages that wait for room in a buffer.", {}, () =>
      this.#edges.flatMap(({ rooms }) => rooms).reduce((sum, { waiting }) => sum + waiting, 0),
    );
  }

  /** What the next vertices have got, and how often it was sent again. */
  get figures(): Pick<Flowing, "sent" | "retries"> {
    return { sent: this.#sent.told(performance.now()), retries: this.#again.value };
  }

  /** @throws VisibleError for what cannot be sent; TypeError for what JSON cannot write */
  prepare(parcel: Parcel): Ready {
    const { to } = parcel;
    const named = to === undefined ? undefined : [to].flat();
    const known = this.#edges.map((edge) => edge.to);
    const stranger = named?.find((vertex) => !known.includes(vertex));
    if (stranger !== undefined) {
      throw new VisibleError(`to: found '${stranger}'; expected one of ${known.join(", ") || "none"}: correct it`);
    }
    const sealed = seal(parcel);
    const { data, envelope } = sealed;
    if (data.length > this.#bus.largest) {
      const most = this.#bus.largest;
      throw new VisibleError(`value: found ${data.length} bytes; NATS takes ${most}: send a reference to it instead`);
    }
    if (envelope.header.length > LONGEST_HEADER) {
      throw new VisibleError(
        `key: found ${parcel.key?.length} characters; expected ${LONGEST_HEADER} at most, escaped: use a digest of it`,
      );
    }
    return { ...sealed, key: parcel.key, edges: this.#edges.filter((edge) => named?.includes(edge.to) ?? true) };
  }

  /**
   * Resolves when every next vertex has it, however long that takes; each has it once, whoever sends it again.
   * @throws the signal's reason
   */
  async send(ready: Ready, signal: AbortSignal): Promise<void> {
    const sent = await Promise.allSettled(ready.edges.map((edge) => this.#through(edge, ready, signal)));
    for (const one of sent) if (one.status === "rejected") throw one.reason;
  }

  async #through(edge: Edge, ready: Ready, signal: AbortSignal): Promise<void> {
    const wait = backoff(TRIES);
    const begun = performance.now();
    for (;;) {
      signal.throwIfAborted();
      try {
        if (await this.#try(edge, ready, signal)) edge.duplicates.value++;
        edge.stored.value++;
        const now = performance.now();
        this.#sent.observe(now, now - begun);
        this.#troubled = false;
        return;
      } catch (error) {
        signal.throwIfAborted();
        if (!this.#troubled)
          this.#log(`to '${edge.to}': ${(error as Error).message}; sending it again until it is taken`);
        this.#troubled = true;
        this.#again.value++;
      }
      await pause(wait(), signal);
    }
  }

  /** @returns whether it had it already */
  async #try({ to, rooms, keyed }: Edge, ready: Ready, signal: AbortSignal): Promise<boolean> {
    if (rooms.length === 0) {
      // Its handler's own effects aside, what it sends on is stored once, whichever instance is asked.
      await (await this.#client()).request(to, carry(ready), { idempotent: true, signal });
      return false;
    }
    const { key, data, envelope } = ready;
    const decides = key ?? (keyed ? "" : envelope.id);
    const room = rooms[partitionOf(decides, rooms.length)] as Room;
    return room.store(() => this.#bus.store(room.buffer, data, envelope), signal);
  }
}

/**
 * How much more a buffer takes. Every stored message tells how long the buffer has become, whoever wrote to it, so that
 * only one that seems full has to be looked at, and many writers go beyond the limit by what they have under way, no more.
 */
class Room {
  readonly buffer: string;
  waiting = 0;
  readonly #bus: FlowBus;
  readonly #most: number;
  /** Messages that were unread at the last look, and the buffer's newest place then. */
  #unread = 0;
  #placeThen = 0;
  #place = 0;
  /** Of our own: since the last look, and under way. */
  #since = 0;
  #underWay = 0;
  #looking: Promise<void> | undefined;

  constructor(bus: FlowBus, buffer: string, most: number) {
    this.#bus = bus;
    this.buffer = buffer;
    this.#most = most;
    // Nothing is known of it yet.
    this.#unread = most;
  }

  /** @returns whether it was there already */
  async store(store: () => Promise<{ sequence: number; duplicate: boolean }>, signal: AbortSignal): Promise<boolean> {
    await this.#enter(signal);
    try {
      const { sequence, duplicate } = await store();
      // A duplicate is answered with the place of the first one.
      this.#place = Math.max(this.#place, sequence);
      return duplicate;
    } finally {
      this.#underWay--;
    }
  }

  async #enter(signal: AbortSignal): Promise<void> {
    this.waiting++;
    try {
      while (!this.#free) {
        this.#looking ??= this.#lookUntilFree();
        await orAborted(this.#looking, signal);
      }
    } finally {
      this.waiting--;
    }
    this.#since++;
    this.#underWay++;
  }

  /** One for all who wait. */
  async #lookUntilFree(): Promise<void> {
    const wait = backoff(LOOKS);
    try {
      await this.#look();
      while (!this.#free && this.waiting > 0) {
        await pause(wait());
        await this.#look();
      }
    } finally {
      this.#looking = undefined;
    }
  }

  get #free(): boolean {
    return this.#unread + Math.max(this.#place - this.#placeThen, this.#since) < this.#most;
  }

  async #look(): Promise<void> {
    const place = this.#place;
    this.#unread = await this.#bus.unread(this.buffer);
    this.#placeThen = place;
    // Whether these were counted is not known.
    this.#since = this.#underWay;
  }
}
