/**
 * Slots: etcd users and roles, each bound to a prefix that was never used, made ahead in bulk. Every change of a user or
 * role makes etcd fail what is in flight for everybody; changes that are made at once cost about as much as one.
 *
 * A slot is `making` until its parts are read back, then `ready`, gone when a claim takes it, and `burnt` from the release
 * (which deletes the user only) until its role is dropped with the next batch.
 */
import { randomBytes, randomInt } from "node:crypto";
import { physicalPrefix, userName } from "../plan/names.ts";
import { StoreError } from "../stores/errors.ts";
import { Etcd } from "../stores/etcd.ts";
import { type Operation, op, when } from "../stores/etcd-txn.ts";
import type { Stores } from "./access.ts";
import { bury } from "./graves.ts";
import { type Hold, withTenant } from "./hold.ts";
import { keys } from "./registry.ts";
import type { Runner } from "./run.ts";
import { seal } from "./seal.ts";

/** Slots in a batch. The claim that makes one waits for it: each user costs etcd a bcrypt, 60-300 ms at its default cost. */
const BATCH = 16;

/** Burnt roles dropped with a batch: twice as many as are made, so that a backlog melts; within one transaction's 128 operations. */
const DROPPED = 2 * BATCH;

/** No tenant's name begins with an underscore. */
const LOCK = "_slots";

type SlotRecord =
  | {
      state: "making" | "ready";
      /** Sealed. */
      password: string;
    }
  | { state: "burnt"; role: string };

/** A slot that a claim may take, in a transaction that compares the revision. */
export interface Slot {
  generation: string;
  /** Sealed. */
  password: string;
  modRevision: string;
}

/**
 * A slot that is free, of a new batch when there is none.
 * @param taken generations that other stores have already: a registry that came from a backup may call them free
 */
export async function freeSlot(stores: Stores, runner: Runner, taken: ReadonlySet<string>): Promise<Slot> {
  const free = async () => (await readySlots(stores)).filter(({ generation }) => !taken.has(generation));
  for (;;) {
    const ready = await free();
    // Any of them: whoever asks at the same moment takes another one.
    const slot = ready[randomInt(Math.max(ready.length, 1))];
    if (slot) return slot;
    await withTenant(stores, runner, LOCK, async (hold) => {
      if ((await free()).length === 0) await makeBatch(stores, hold);
    });
  }
}

/** The operation that leaves a role for the next batch to drop. */
export const burn = (generation: string, role: string): Operation =>
  op.put(keys.slot(generation), JSON.stringify({ state: "burnt", role } satisfies SlotRecord));

/** The etcd users and roles that slots account for. */
export async function slotUsers(stores: Stores): Promise<Set<string>> {
  const slots = await listSlots(stores);
  return new Set(
    slots.map(({ generation, record }) => (record.state === "burnt" ? record.role : userName(generation))),
  );
}

async function readySlots(stores: Stores): Promise<Slot[]> {
  return (await listSlots(stores)).flatMap(({ generation, record, modRevision }) =>
    record.state === "ready" ? [{ generation, password: record.password, modRevision }] : [],
  );
}

async function listSlots({ etcd }: Stores) {
  return (await etcd.list(keys.slots)).map(({ key, value, modRevision }) => ({
    generation: key.slice(keys.slots.length),
    record: JSON.parse(value) as SlotRecord,
    modRevision,
  }));
}

/**
 * Users one after the other, for each costs etcd a bcrypt: side by side they would take every core from whoever asks for
 * anything, and what waits is what the changes make fail. Then the changes that cost nothing, in two bursts, each made
 * side by side after one look at the lock: no call of one is left when the next begins.
 */
async function makeBatch(stores: Stores, hold: Hold): Promise<void> {
  const { etcd } = stores;
  const slots = await listSlots(stores);
  // Their maker was killed: what is there of them goes, and what a call of that one may bring yet, with the grave.
  const unfinished = slots.filter(({ record }) => record.state === "making");
  for (const { generation, modRevision } of unfinished) await buryUnfinished(hold, generation, modRevision);
  const roles = slots.flatMap(({ record }) => (record.state === "burnt" ? [record.role] : [])).slice(0, DROPPED);
  const dropped = slots.filter(({ record }) => record.state === "burnt" && roles.includes(record.role));
  const fresh = Array.from({ length: BATCH }, () => ({
    generation: randomBytes(12).toString("hex"),
    password: randomBytes(32).toString("base64url"),
  }));
  const sealed = fresh.map(({ generation, password }) => ({ generation, password: seal(stores, password) }));
  const put = (state: "making" | "ready") =>
    sealed.map(({ generation, password }) =>
      op.put(keys.slot(generation), JSON.stringify({ state, password } satisfies SlotRecord)),
    );

  await hold.txn([], put("making"));
  for (const { generation, password } of fresh) {
    await hold.call(() => etcd.addUser(userName(generation), password));
  }
  const names = fresh.map(({ generation }) => userName(generation));
  await together(hold, [
    ...roles.map((role) => () => etcd.deleteRole(role)),
    ...unfinished.flatMap(({ generation }) => [
      () => etcd.deleteUser(userName(generation)),
      () => etcd.deleteRole(userName(generation)),
    ]),
    ...names.map((name) => () => etcd.addRole(name)),
  ]);
  await together(hold, [
    ...fresh.map(
      ({ generation }) =>
        () =>
          etcd.grantPrefix(userName(generation), physicalPrefix(generation)),
    ),
    ...names.map((name) => () => etcd.grantRole(name, name)),
  ]);
  await Promise.all(fresh.map(({ generation }) => requireBound(etcd, generation)));
  await hold.txn([], [...put("ready"), ...dropped.map(({ generation }) => op.remove(keys.slot(generation)))]);
}

async function buryUnfinished(hold: Hold, generation: string, modRevision: string): Promise<void> {
  const key = keys.slot(generation);
  await hold.txn(
    [when.unchanged(key, modRevision)],
    [
      op.remove(key),
      bury(generation, {
        logicalName: LOCK,
        accounts: [],
        prefix: physicalPrefix(generation),
        username: userName(generation),
      }),
    ],
  );
}

/** Makes calls side by side and waits for all of them, also when one fails. */
async function together(hold: Hold, calls: Array<() => Promise<void>>): Promise<void> {
  const failed = (await hold.call(() => Promise.allSettled(calls.map((call) => call())))).find(
    ({ status }) => status === "rejected",
  );
  if (failed) throw (failed as PromiseRejectedResult).reason;
}

async function requireBound(etcd: Etcd, generation: string): Promise<void> {
  const name = userName(generation);
  const found = JSON.stringify([await etcd.rolesOf(name), await etcd.permissionsOf(name)]);
  const wanted = JSON.stringify([[name], [Etcd.boundTo(physicalPrefix(generation))]]);
  if (found !== wanted)
    throw new StoreError(`${etcd.label}: the new user '${name}' reads back as ${found}, not ${wanted}: run again`);
}
