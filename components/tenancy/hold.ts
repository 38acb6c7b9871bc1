/** Holding a tenant: the lock under which one runner at a time acts on a claim, and the guards of all that it writes. */
import { randomUUID } from "node:crypto";
import { CALL_DEADLINE_MS, StoreError, until } from "../stores/errors.ts";
import type { TxnResult } from "../stores/etcd.ts";
import { type Compare, type Operation, op, when } from "../stores/etcd-txn.ts";
import type { Stores } from "./access.ts";
import { type Claim, type HeldClaim, keys, readClaim } from "./registry.ts";
import { type Runner, Superseded, stillRunning } from "./run.ts";

/** Seconds. Three times a call's deadline, so that a holder that still answers for a call has not lost its lock. */
const LOCK_TTL = (3 * CALL_DEADLINE_MS) / 1000;

/** How long to wait for another holder, milliseconds: a dead one's lease has run out by then, and a release of some size done. */
const LOCK_WAIT_MS = 120_000;

interface LockRecord {
  holder: string;
  owner: string;
  run: string;
}

/** Makes a write that etcd cannot guard, after a look at whatever guards it; `Hold.call` is one. */
export type Caller = (act: () => Promise<void>) => Promise<void>;

/** This process' own queue for each tenant: its resources are created side by side. */
const queues = new Map<string, Promise<unknown>>();

/** Runs `work` while holding the tenant of that name. */
export async function withTenant<T>(
  stores: Stores,
  runner: Runner,
  logicalName: string,
  work: (hold: Hold) => Promise<T>,
): Promise<T> {
  const queue = `${stores.etcd.label} ${logicalName}`;
  const turn = (queues.get(queue) ?? Promise.resolve()).then(async () => {
    const hold = await Hold.take(stores, runner, logicalName);
    try {
      return await work(hold);
    } finally {
      await hold.letGo();
    }
  });
  const settled = turn.catch(() => undefined);
  queues.set(queue, settled);
  try {
    return await turn;
  } finally {
    if (queues.get(queue) === settled) queues.delete(queue);
  }
}

export class Hold {
  readonly logicalName: string;
  readonly #stores: Stores;
  readonly #runner: Runner;
  /** The lock's mod revision: changes when somebody else takes it. */
  readonly #token: string;
  readonly #lease: string;
  readonly #stopKeepAlive: () => void;

  private constructor(
    stores: Stores,
    runner: Runner,
    logicalName: string,
    lock: { token: string; lease: string; stopKeepAlive: () => void },
  ) {
    this.#stores = stores;
    this.#runner = runner;
    this.logicalName = logicalName;
    this.#token = lock.token;
    this.#lease = lock.lease;
    this.#stopKeepAlive = lock.stopKeepAlive;
  }

  static async take(stores: Stores, runner: Runner, logicalName: string): Promise<Hold> {
    const { etcd } = stores;
    const key = keys.lock(logicalName);
    const record: LockRecord = { holder: randomUUID(), owner: runner.ledger, run: runner.epoch };
    const lease = await etcd.grantLease(LOCK_TTL);
    const stopKeepAlive = etcd.keepAlive(lease, (LOCK_TTL * 1000) / 3);
    let seen: LockRecord | undefined;
    try {
      const token = await until(
        async () => {
          const entry = await etcd.get(key);
          seen = entry && (JSON.parse(entry.value) as LockRecord);
          // An older run of the same stack is dead or a zombie: its lock is taken at once. Anybody else's lease has to run out.
          const ours = seen?.owner === runner.ledger;
          if (seen && ours && BigInt(seen.run) > BigInt(runner.epoch)) throw new Superseded(logicalName);
          const older = seen && ours && BigInt(seen.run) < BigInt(runner.epoch);
          if (entry && !older) return undefined;
          const free = entry ? when.unchanged(key, entry.modRevision) : when.absent(key);
          const taken = await etcd.txn(
            [free, stillRunning(runner.ledger, runner.epoch)],
            [op.put(key, JSON.stringify(record), lease)],
            [op.get(keys.stack(runner.ledger))],
          );
          if (taken.succeeded) return taken.revision;
          if (taken.read[0]?.[0]?.modRevision !== runner.epoch) throw new Superseded(logicalName);
          return undefined;
        },
        {
          deadlineMs: LOCK_WAIT_MS,
          late: () =>
            new StoreError(
              `${logicalName} is being worked on by ledger ${seen?.owner}, for more than ${LOCK_WAIT_MS / 1000} s: wait for that run to end, then run again`,
            ),
        },
      );
      return new Hold(stores, runner, logicalName, { token, lease, stopKeepAlive });
    } catch (error) {
      stopKeepAlive();
      await etcd.revokeLease(lease).catch(() => undefined);
      throw error;
    }
  }

  /** Gives the lock back; if that fails its lease does it. */
  async letGo(): Promise<void> {
    this.#stopKeepAlive();
    await this.#stores.etcd.revokeLease(this.#lease).catch(() => undefined);
  }

  /** What every transaction of this holder compares. */
  #guards(): Compare[] {
    return [
      when.unchanged(keys.lock(this.logicalName), this.#token),
      stillRunning(this.#runner.ledger, this.#runner.epoch),
    ];
  }

  /** @throws Superseded when the lock or the run is not ours any more */
  async look(): Promise<void> {
    const { succeeded } = await this.#stores.etcd.txn(this.#guards(), []);
    if (!succeeded) throw new Superseded(this.logicalName);
  }

  /** A guarded transaction: an outcome of `succeeded: false` is about `compare`, for a lost guard throws. */
  async txn(compare: Compare[], success: Operation[], failure: Operation[] = []): Promise<TxnResult> {
    const result = await this.#stores.etcd.txn([...this.#guards(), ...compare], success, failure);
    if (!result.succeeded) await this.look();
    return result;
  }

  /**
   * A guarded transaction that has to succeed.
   * @throws Superseded when what it compares has changed
   */
  async write(compare: Compare[], success: Operation[]): Promise<TxnResult> {
    const result = await this.txn(compare, success);
    if (!result.succeeded) throw new Superseded(this.logicalName);
    return result;
  }

  /** A call that etcd cannot guard: made right after a look at the lock. */
  async call<T>(act: () => Promise<T>): Promise<T> {
    await this.look();
    return act();
  }

  claim(): Promise<HeldClaim | undefined> {
    return readClaim(this.#stores.etcd, this.logicalName);
  }

  /** Replaces the claim that was read before. */
  async rewrite(seen: HeldClaim, change: Partial<Claim>): Promise<HeldClaim> {
    const claim = { ...seen.claim, ...change };
    const key = keys.claim(this.logicalName);
    const { revision } = await this.write(
      [when.unchanged(key, seen.modRevision)],
      [op.put(key, JSON.stringify(claim))],
    );
    return { ...seen, claim, modRevision: revision };
  }

  /** Opens an operation on the claim: whoever finds it open when it takes the claim next marks it suspect. */
  open(seen: HeldClaim, change: Partial<Claim>): Promise<HeldClaim> {
    return this.rewrite(seen, { ...change, open: true, suspect: seen.claim.suspect || seen.claim.open });
  }

  /**
   * Runs what an opened operation does. When it fails for certain the operation is closed, with `reached` in the claim;
   * when a call was left in doubt, or we are killed or superseded, it stays open.
   */
  async carryOut<T>(opened: HeldClaim, reached: () => Partial<Claim>, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (isCertain(error)) await this.rewrite(opened, { ...reached(), open: false }).catch(() => undefined);
      throw error;
    }
  }

  /** One operation on the claim: opened before `work`'s calls, closed after them with what `work` returns for the claim. */
  async operation<T>(
    seen: HeldClaim,
    opening: Partial<Claim>,
    work: (held: HeldClaim) => Promise<{ result: T; closing: Partial<Claim> }>,
  ): Promise<T> {
    const opened = await this.open(seen, opening);
    return this.carryOut(
      opened,
      () => ({}),
      async () => {
        const { result, closing } = await work(opened);
        await this.rewrite(opened, { ...closing, open: false });
        return result;
      },
    );
  }
}

/** Whether nothing of what failed so can still take effect: no call was left in doubt, and nobody else has taken over. */
export const isCertain = (error: unknown): boolean =>
  !(error instanceof Superseded) && !(error instanceof StoreError && error.inDoubt);
