/**
 * etcd, as a tenant's own software needs it: a view of a prefix that never goes stale, and a key that lives as long as
 * its holder. Both ride out whatever etcd does, a restart, a compaction, a change of users, and say so.
 */
import type { Etcd3, IWatchResponse } from "etcd3";
import { StoreError } from "./errors.ts";
import { connect, type EtcdAccess } from "./etcd-connection.ts";
import { bytes, type Entry, entryOf, rangeEnd } from "./etcd-txn.ts";

export interface Lease {
  id: string;
  /** Seconds, as etcd granted it: it has a minimum of its own. */
  ttl: number;
}

/** A stream of etcd3, which types it no further. */
type Duplex<Answer> = {
  write(message: object): void;
  end(): void;
  cancel(): void;
  on(event: "data", listener: (answer: Answer) => void): void;
  on(event: "error" | "end", listener: (error?: Error) => void): void;
};

export class EtcdSession {
  /** Names the server in messages. */
  readonly label: string;
  readonly #client: Etcd3;

  private constructor(label: string, client: Etcd3) {
    this.label = label;
    this.#client = client;
  }

  /**
   * Nothing is sent before it is used, unless the way there is a port-forward.
   * @throws StoreError when there is no way there
   */
  static async open(access: EtcdAccess): Promise<EtcdSession> {
    const client = await connect(access, {
      "grpc.initial_reconnect_backoff_ms": 50,
      // A watch on a connection that died in silence would show nothing for ever. etcd refuses pings below 5 s.
      "grpc.keepalive_time_ms": 10_000,
      "grpc.keepalive_timeout_ms": 5_000,
    });
    return new EtcdSession(`etcd at ${access.endpoints.join(", ")}`, client);
  }

  close(): void {
    this.#client.close();
  }

  /** The keys below a prefix, and the revision at which that was so. */
  async list(prefix: string): Promise<{ entries: Entry[]; revision: string }> {
    const range = { key: bytes(prefix), range_end: rangeEnd(prefix) };
    const { kvs, header } = await this.#explained(this.#client.kv.range(range));
    return { entries: kvs.map(entryOf), revision: header.revision };
  }

  /** Begins to watch a prefix after a revision; the caller ends it. */
  async watch(prefix: string, after: string): Promise<Duplex<IWatchResponse>> {
    const stream = (await this.#explained(this.#client.watchClient.watch())) as unknown as Duplex<IWatchResponse>;
    const start_revision = String(BigInt(after) + 1n);
    stream.write({ create_request: { key: bytes(prefix), range_end: rangeEnd(prefix), start_revision } });
    return stream;
  }

  /** @param ttl seconds */
  async grantLease(ttl: number): Promise<Lease> {
    const granted = await this.#explained(this.#client.leaseClient.leaseGrant({ TTL: ttl }));
    return { id: granted.ID, ttl: Number(granted.TTL) };
  }

  /** Begins to keep leases alive, one message each time; the answer's `TTL` is 0 for one that is gone. */
  async keepAlive(): Promise<Duplex<{ ID: string; TTL: string }>> {
    return (await this.#explained(this.#client.leaseClient.leaseKeepAlive())) as unknown as Duplex<{
      ID: string;
      TTL: string;
    }>;
  }

  /** Whether a lease is there; asking renews the log-in as well, where a stream would go on with the old one. */
  async hasLease(id: string): Promise<boolean> {
    return Number((await this.#explained(this.#client.leaseClient.leaseTimeToLive({ ID: id }))).TTL) > 0;
  }

  async revokeLease(id: string): Promise<void> {
    await this.#explained(this.#client.leaseClient.leaseRevoke({ ID: id }));
  }

  async put(key: string, value: string, lease: string): Promise<void> {
    await this.#explained(this.#client.kv.put({ key: bytes(key), value: bytes(value), lease }));
  }

  async remove(key: string): Promise<void> {
    await this.#explained(this.#client.kv.deleteRange({ key: bytes(key) }));
  }

  #explained<T>(call: Promise<T>): Promise<T> {
    return call.catch((cause: Error) => {
      const message = cause.message.replace(/^\d+ /, "").replace(/\.? ?Resolution note: ?$/, "");
      throw new StoreError(`${this.label}: ${message}`, { cause });
    });
  }
}
