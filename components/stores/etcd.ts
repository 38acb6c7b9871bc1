/**
 * etcd, as the protocol needs it: guarded transactions, ranges, leases, users and roles.
 *
 * etcd3 was last released in 2023; it stays behind this module and etcd-connection.ts, which switches its retry policy
 * and circuit breaker off: after a few authentication changes by others the breaker would refuse everything for seconds.
 */
import { type Etcd3, EtcdAuthenticationFailedError, type IPermission } from "etcd3";
import { CALL_DEADLINE_MS, StoreError } from "./errors.ts";
import { connect, type EtcdAccess, explain, notSent, tlsTroubleOf } from "./etcd-connection.ts";
import {
  bytes,
  type Compare,
  type Entry,
  entryOf,
  type KeyHead,
  type Operation,
  rangeEnd,
  type Span,
} from "./etcd-txn.ts";

export type { EtcdAccess } from "./etcd-connection.ts";

/** What gRPC says of an answer beyond 4 MiB, which it does not take. */
const TOO_LARGE = "Received message larger than max";

/** A transaction's outcome; `read` holds what its get and list operations found, in their order. */
export interface TxnResult {
  succeeded: boolean;
  revision: string;
  read: Entry[][];
  /** How many keys its remove operations found. */
  removed: number;
}

/** The first keys of a span, and how many lie in it in all. */
export interface Page {
  keys: KeyHead[];
  count: number;
}

export class Etcd {
  /** Names the server in messages. */
  readonly label: string;
  readonly #access: EtcdAccess;
  #client: Promise<Etcd3> | undefined;
  #closed = false;

  constructor(access: EtcdAccess) {
    this.label = `etcd at ${access.endpoints.join(", ")}`;
    this.#access = access;
  }

  close(): void {
    this.#closed = true;
    this.#client?.then((client) => client.close()).catch(() => undefined);
  }

  /** The client, made when it is first needed: a port-forward is not there before. */
  #opened(): Promise<Etcd3> {
    if (this.#closed) throw new StoreError(`${this.label}: closed`);
    this.#client ??= connect(this.#access).catch((error) => {
      this.#client = undefined;
      throw error;
    });
    return this.#client;
  }

  /** @throws StoreError when etcd has authentication switched off: every tenant could then read everything. */
  async requireAuthentication(): Promise<void> {
    // With authentication off the log-in itself is refused, before the status is told.
    await this.#call((client) => client.auth.authStatus());
  }

  async get(key: string): Promise<Entry | undefined> {
    const { kvs } = await this.#call((client) => client.kv.range({ key: bytes(key) }));
    return kvs.map(entryOf)[0];
  }

  /** The keys that begin with the prefix, in order. */
  async list(prefix: string, options: { limit?: number; keysOnly?: boolean } = {}): Promise<Entry[]> {
    const range = {
      key: bytes(prefix),
      range_end: rangeEnd(prefix),
      limit: options.limit ?? 0,
      keys_only: options.keysOnly ?? false,
    };
    if (prefix === "") range.key = Buffer.from([0]);
    const { kvs } = await this.#call((client) => client.kv.range(range));
    return kvs.map(entryOf);
  }

  /** The keys that begin with the prefix, page by page: each request and each answer is bounded. */
  async *pages(prefix: string, options: { limit: number; keysOnly?: boolean }): AsyncGenerator<Entry[]> {
    let from = bytes(prefix);
    for (;;) {
      const { kvs, more } = await this.#call((client) =>
        client.kv.range({
          key: from,
          range_end: rangeEnd(prefix),
          limit: options.limit,
          keys_only: options.keysOnly ?? false,
        }),
      );
      const last = kvs.at(-1);
      if (!last) return;
      yield kvs.map(entryOf);
      if (!more) return;
      from = Buffer.concat([last.key, Buffer.from([0])]);
    }
  }

  /** The distinct `<prefix><segment>/` that have keys; each costs one request, however many keys lie below it. */
  async children(prefix: string): Promise<string[]> {
    const found: string[] = [];
    const end = rangeEnd(prefix);
    let from: Buffer = prefix === "" ? Buffer.from([0]) : bytes(prefix);
    for (;;) {
      const range = { key: from, range_end: end, limit: 1, keys_only: true };
      const { kvs } = await this.#call((client) => client.kv.range(range));
      const [entry] = kvs.map(entryOf);
      if (!entry) return found;
      const slash = entry.key.indexOf("/", prefix.length);
      const child = slash < 0 ? undefined : entry.key.slice(0, slash + 1);
      if (child) found.push(child);
      // A key right below the prefix has no segment of its own.
      from = child ? rangeEnd(child) : Buffer.concat([bytes(entry.key), Buffer.from([0])]);
    }
  }

  /** The store's revision now. */
  async revision(): Promise<string> {
    const { header } = await this.#call((client) => client.kv.range({ key: bytes("/"), count_only: true }));
    return header.revision;
  }

  async count(prefix: string): Promise<number> {
    const { count } = await this.#call((client) =>
      client.kv.range({ key: bytes(prefix), range_end: rangeEnd(prefix), count_only: true }),
    );
    return Number(count);
  }

  /**
   * The first keys of a span, without their values. etcd goes through all of the span to count it, deleted keys
   * included, and whoever writes waits: 0.2 s for a million.
   * @returns undefined when so many do not fit into one answer
   */
  async page({ from, end }: Span, limit: number): Promise<Page | undefined> {
    return this.#call((client) => client.kv.range({ key: from, range_end: end, limit, keys_only: true })).then(
      ({ kvs, count }) => ({
        keys: kvs.map(({ key, mod_revision, lease }) => ({ key, modRevision: mod_revision, lease })),
        count: Number(count),
      }),
      ignore(TOO_LARGE),
    );
  }

  /** One transaction: `success` when every condition holds, else `failure`. */
  async txn(compare: Compare[], success: Operation[], failure: Operation[] = []): Promise<TxnResult> {
    const { succeeded, header, responses } = await this.#call((client) => client.kv.txn({ compare, success, failure }));
    const read = responses.flatMap(({ response_range }) => (response_range ? [response_range.kvs.map(entryOf)] : []));
    const removed = responses.reduce((sum, answer) => sum + Number(answer.response_delete_range?.deleted ?? 0), 0);
    return { succeeded, revision: header.revision, read, removed };
  }

  /** @param ttl seconds */
  async grantLease(ttl: number): Promise<string> {
    return (await this.#call((client) => client.leaseClient.leaseGrant({ TTL: ttl }))).ID;
  }

  /** Revokes a lease, and with it removes its keys; one that is gone already is fine. */
  async revokeLease(id: string): Promise<void> {
    await this.#call((client) => client.leaseClient.leaseRevoke({ ID: id })).catch(ignore("lease not found"));
  }

  /** The keys that a lease holds, or why there is no telling. */
  async leasedKeys(id: string): Promise<Buffer[] | "gone" | "too many"> {
    return this.#call((client) => client.leaseClient.leaseTimeToLive({ ID: id, keys: true })).then(
      ({ TTL, keys }) => (TTL === "-1" ? "gone" : keys),
      (error: Error) => ignore(TOO_LARGE)(error) ?? "too many",
    );
  }

  /**
   * Keeps a lease alive until the returned function is called, across a restart of the server as well; a lease that is
   * lost shows in the guarded transactions.
   */
  keepAlive(id: string, everyMs: number): () => void {
    let stream: ReturnType<Etcd3["leaseClient"]["leaseKeepAlive"]> | undefined;
    const open = async () => {
      const opened = await (await this.#opened()).leaseClient.leaseKeepAlive();
      opened.on("error", () => {
        stream = undefined;
      });
      opened.on("data", () => undefined);
      return opened;
    };
    const beat = async () => {
      try {
        stream ??= open();
        (await stream).write({ ID: id });
      } catch {
        stream = undefined;
      }
    };
    const timer = setInterval(beat, everyMs);
    timer.unref();
    return () => {
      clearInterval(timer);
      stream?.then((opened) => opened.end()).catch(() => undefined);
    };
  }

  async users(): Promise<string[]> {
    return (await this.#call((client) => client.auth.userList())).users;
  }

  async roles(): Promise<string[]> {
    return (await this.#call((client) => client.auth.roleList())).roles;
  }

  /** The roles that a user has; undefined when there is no such user. */
  async rolesOf(user: string): Promise<string[] | undefined> {
    return this.#call((client) => client.auth.userGet({ name: user })).then(
      (found) => found.roles,
      ignore("user name not found"),
    );
  }

  /** A role's permissions as lines such as `readwrite /a/ /a0`; undefined when there is no such role. */
  async permissionsOf(role: string): Promise<string[] | undefined> {
    return this.#call((client) => client.auth.roleGet({ role })).then(
      (found) => (found.perm as unknown as IPermission[]).map(permissionLine),
      ignore("role name not found"),
    );
  }

  /** What `permissionsOf` shows for a role bound to one prefix. */
  static boundTo(prefix: string): string {
    return permissionLine(prefixPermission(prefix));
  }

  async addRole(role: string): Promise<void> {
    await this.#call((client) => client.auth.roleAdd({ name: role })).catch(ignore("role name already exists"));
  }

  async grantPrefix(role: string, prefix: string): Promise<void> {
    await this.#call((client) => client.auth.roleGrantPermission({ name: role, perm: prefixPermission(prefix) }));
  }

  /** Takes a permission away again, named as `permissionsOf` shows it. */
  async revokePermission(role: string, line: string): Promise<void> {
    const [, key, end] = line.split(" ").map((part) => Buffer.from(decodeURIComponent(part), "latin1")) as [
      Buffer,
      Buffer,
      Buffer?,
    ];
    await this.#call((client) =>
      client.auth.roleRevokePermission({ role, key: key as never, ...(end?.length && { range_end: end as never }) }),
    ).catch(ignore("permission is not granted"));
  }

  /** Adds a user; one that is there already keeps its password. */
  async addUser(user: string, password: string): Promise<void> {
    await this.#call((client) => client.auth.userAdd({ name: user, password })).catch(
      ignore("user name already exists"),
    );
  }

  async changePassword(user: string, password: string): Promise<void> {
    await this.#call((client) => client.auth.userChangePassword({ name: user, password }));
  }

  /** Whether somebody may log in so: asking changes nothing, where setting the same password again is a change. */
  async accepts(user: string, password: string): Promise<boolean> {
    return this.#call(async (client) => {
      try {
        await client.auth.authenticate({ name: user, password });
        return true;
      } catch (error) {
        if (error instanceof EtcdAuthenticationFailedError) return false;
        throw error;
      }
    });
  }

  async grantRole(user: string, role: string): Promise<void> {
    await this.#call((client) => client.auth.userGrantRole({ user, role }));
  }

  async revokeRole(user: string, role: string): Promise<void> {
    await this.#call((client) => client.auth.userRevokeRole({ name: user, role })).catch(ignore("role is not granted"));
  }

  async deleteUser(user: string): Promise<void> {
    await this.#call((client) => client.auth.userDelete({ name: user })).catch(ignore("user name not found"));
  }

  async deleteRole(role: string): Promise<void> {
    await this.#call((client) => client.auth.roleDelete({ role })).catch(ignore("role name not found"));
  }

  /**
   * One call with its deadline. Without a connection nothing was sent: it is made again for as long as a restart takes.
   */
  async #call<T>(call: (client: Etcd3) => Promise<T>): Promise<T> {
    const begun = Date.now();
    for (let attempt = 0; ; attempt++) {
      try {
        return await call(await this.#opened());
      } catch (error) {
        if (error instanceof StoreError) throw error;
        const { message } = error as Error;
        const again = notSent(message) && Date.now() < begun + CALL_DEADLINE_MS;
        const trouble = attempt === 0 || !again ? await tlsTroubleOf(error as Error, this.#access) : undefined;
        if (trouble && (trouble.certain || !again)) {
          const options = { unreachable: true, inDoubt: !notSent(message), cause: error };
          throw new StoreError(`${this.label}: ${trouble.cause}`, options);
        }
        if (!again) throw explain(error as Error, this.label, this.#access);
        await new Promise((resolve) => setTimeout(resolve, 10 + Math.random() * 90));
      }
    }
  }
}

const prefixPermission = (prefix: string): IPermission => ({
  permType: "Readwrite",
  key: bytes(prefix),
  range_end: rangeEnd(prefix),
});

/** Keys are any bytes; latin1 and percent-encoding keep them on one line and reversible. */
const shownKey = (key: Buffer) => encodeURI(key.toString("latin1"));

const permissionLine = ({ permType, key, range_end }: IPermission): string =>
  [String(permType).toLowerCase(), shownKey(key), ...(range_end?.length ? [shownKey(range_end)] : [])].join(" ");

const ignore =
  (text: string) =>
  (error: Error): undefined => {
    if (!error.message.includes(text)) throw error;
  };
