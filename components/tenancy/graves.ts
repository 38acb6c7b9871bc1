/**
 * Graves: notes of released tenants whose last calls may still be on their way, because a runner was killed or a call
 * got no answer. When no call can be left, whatever came back is removed, and the grave with it.
 */
import { CALL_DEADLINE_MS } from "../stores/errors.ts";
import { type Operation, op, when } from "../stores/etcd-txn.ts";
import type { Stores } from "./access.ts";
import { CREATING_TTL, dropAccount, fence } from "./account.ts";
import { dropNamespace } from "./namespace.ts";
import { dropRole, dropUsers } from "./prefix.ts";
import { purge } from "./purge.ts";
import { type Grave, keys } from "./registry.ts";

/** Longer than any call can be in doubt, and than the JWT that a late push may bring back; milliseconds. */
const QUIET_MS = CREATING_TTL * 1000 + 4 * CALL_DEADLINE_MS;

/** Digs a grave: part of the transaction that removes the record of what is buried. */
export function bury(generation: string, buried: Omit<Grave, "notBefore">): Operation {
  const grave: Grave = { ...buried, notBefore: Date.now() + QUIET_MS };
  return op.put(keys.grave(generation), JSON.stringify(grave));
}

/** All graves, by generation. */
export async function listGraves({
  etcd,
}: Stores): Promise<Array<Grave & { generation: string; modRevision: string }>> {
  const entries = await etcd.list(keys.graves);
  return entries.map(({ key, value, modRevision }) => ({
    ...(JSON.parse(value) as Grave),
    generation: key.slice(keys.graves.length),
    modRevision,
  }));
}

/** Removes what came back to graves whose time is over, then the graves. @returns how many */
export async function reap(stores: Stores): Promise<number> {
  const due = (await listGraves(stores)).filter(({ notBefore }) => notBefore <= Date.now());
  for (const { generation, modRevision, ...grave } of due) {
    await removeReturned(stores, grave, generation);
    await stores.etcd.txn([when.unchanged(keys.grave(generation), modRevision)], [op.remove(keys.grave(generation))]);
  }
  return due.length;
}

async function removeReturned(stores: Stores, grave: Grave, generation: string): Promise<void> {
  const { username, accounts, prefix, namespace } = grave;
  const call = (act: () => Promise<void>) => act();
  if (namespace) await dropNamespace(stores, namespace, generation, call);
  await dropUsers(stores, username, call);
  await dropRole(stores, username, call);
  await purge(stores, [prefix], {
    call,
    removed: { keys: 0, leases: 0 },
    remove: async (operation) => (await stores.etcd.txn([], [operation])).removed,
  });
  for (const account of accounts) {
    await fence(stores, account, call);
    await dropAccount(stores, account, call);
  }
}
