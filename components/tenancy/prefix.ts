/** A tenant's part of etcd: one role and one user, bound to the tenant's physical prefix and nothing else. */
import { randomBytes } from "node:crypto";
import { VisibleError } from "../plan/visible-error.ts";
import { Etcd } from "../stores/etcd.ts";
import { type Operation, op } from "../stores/etcd-txn.ts";
import type { Stores } from "./access.ts";
import type { Caller } from "./hold.ts";
import { isLive, type TenantRef, withClaim, withFormerClaim } from "./live-claim.ts";
import { intents } from "./registry.ts";

/** Keys per transaction: a range delete stalls every other writer for as long as it takes; 1,000 keys cost a neighbour's put about 60 ms at p99 (measured). */
const PURGE_BATCH = 1000;

/** What etcd has for a tenant; drift shows here. */
export interface PrefixView {
  /** The role's permissions, as `readwrite <from> <to>`. */
  permissions: string[];
  /** The user's roles. */
  roles: string[];
}

export interface OpenPrefix extends PrefixView {
  prefix: string;
  username: string;
  /** Secret. */
  password: string;
}

/** What `observePrefix` shows when nothing has drifted. */
export function expectedPrefix({ logicalName, generation }: TenantRef): PrefixView {
  const { prefix, username } = intents(logicalName, generation);
  return { permissions: [Etcd.boundTo(prefix)], roles: [username] };
}

/**
 * Makes role and user, or makes them right again.
 * @param password the user's, when it is to be kept; a new random one otherwise
 */
export async function openPrefix(
  stores: Stores,
  tenant: TenantRef,
  password = randomBytes(32).toString("base64url"),
): Promise<OpenPrefix> {
  const { etcd } = stores;
  const { prefix, username } = intents(tenant.logicalName, tenant.generation);
  const expected = expectedPrefix(tenant);
  return withClaim(stores, tenant, (hold, seen) =>
    hold.operation(seen, {}, async ({ claim }) => {
      await hold.call(() => etcd.addRole(username));
      const granted = (await etcd.permissionsOf(username)) ?? [];
      for (const foreign of granted.filter((line) => !expected.permissions.includes(line))) {
        await hold.call(() => etcd.revokePermission(username, foreign));
      }
      if (!granted.some((line) => expected.permissions.includes(line)))
        await hold.call(() => etcd.grantPrefix(username, prefix));
      await hold.call(() => etcd.setUser(username, password));
      const roles = (await etcd.rolesOf(username)) ?? [];
      for (const foreign of roles.filter((role) => role !== username))
        await hold.call(() => etcd.revokeRole(username, foreign));
      if (!roles.includes(username)) await hold.call(() => etcd.grantRole(username, username));

      const view = await observePrefix(stores, tenant);
      if (JSON.stringify(view) !== JSON.stringify(expected)) {
        throw new VisibleError(
          `${etcd.label}: user '${username}' reads back as ${JSON.stringify(view)}, not bound to its prefix alone: run again`,
        );
      }
      const made = { ...claim.made, etcd: true };
      return {
        result: { prefix, username, password, ...view },
        closing: { made, state: made.nats ? "active" : "creating" },
      };
    }),
  );
}

/** What etcd has now. */
export async function observePrefix({ etcd }: Stores, { logicalName, generation }: TenantRef): Promise<PrefixView> {
  const { username } = intents(logicalName, generation);
  return {
    permissions: (await etcd.permissionsOf(username)) ?? [],
    roles: (await etcd.rolesOf(username)) ?? [],
  };
}

/** Deletes the user: from that revision on no write of its ever lands. The rest is the claim's release. */
export async function fencePrefix(stores: Stores, tenant: TenantRef): Promise<void> {
  const { username } = intents(tenant.logicalName, tenant.generation);
  await withFormerClaim(stores, tenant, isLive, (hold, seen) =>
    hold.operation(seen, { state: "creating", made: { ...seen.claim.made, etcd: false } }, async () => {
      await hold.call(() => stores.etcd.deleteUser(username));
      return { result: undefined, closing: { removed: { ...seen.claim.removed, users: 1 } } };
    }),
  );
}

/** Removes a user and its role, whichever are there. */
export async function dropUser(
  { etcd }: Stores,
  username: string,
  call: Caller,
): Promise<{ users: number; roles: number }> {
  const dropped = { users: 0, roles: 0 };
  if ((await etcd.rolesOf(username)) !== undefined) {
    await call(() => etcd.deleteUser(username));
    dropped.users++;
  }
  if ((await etcd.permissionsOf(username)) !== undefined) {
    await call(() => etcd.deleteRole(username));
    dropped.roles++;
  }
  return dropped;
}

/**
 * Removes all keys below a prefix, in bounded ranges.
 * @param remove makes the transaction with the operation, which removes that many keys
 */
export async function dropKeys(
  { etcd }: Stores,
  prefix: string,
  remove: (span: Operation, count: number) => Promise<void>,
): Promise<void> {
  for (;;) {
    const batch = await etcd.list(prefix, { limit: PURGE_BATCH, keysOnly: true });
    const [first, last] = [batch[0], batch.at(-1)];
    if (!first || !last) return;
    await remove(op.removeSpan(first.key, last.key), batch.length);
  }
}
