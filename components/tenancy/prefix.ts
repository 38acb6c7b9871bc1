/** A tenant's part of etcd: one role and one user, bound to the tenant's physical prefix and nothing else. */
import { randomBytes } from "node:crypto";
import { VisibleError } from "../plan/visible-error.ts";
import { Etcd } from "../stores/etcd.ts";
import type { Stores } from "./access.ts";
import type { Caller } from "./hold.ts";
import { isLive, type TenantRef, withClaim, withFormerClaim } from "./live-claim.ts";
import type { Intents } from "./registry.ts";
import { unseal } from "./seal.ts";

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
export const expectedPrefix = ({ prefix, username }: Pick<Intents, "prefix" | "username">): PrefixView => ({
  permissions: [Etcd.boundTo(prefix)],
  roles: [username],
});

/**
 * Hands the slot's user out, or makes role and user right again: only what is wrong is changed, for each change fails
 * requests of all users.
 * @param existing the user's password, when it is to be kept
 */
export async function openPrefix(stores: Stores, tenant: TenantRef, existing?: string): Promise<OpenPrefix> {
  const { etcd } = stores;
  return withClaim(stores, tenant, (hold, seen) =>
    hold.operation(seen, {}, async ({ claim }) => {
      const { prefix, username } = claim.intents;
      const expected = expectedPrefix(claim.intents);
      const slots = claim.password && unseal(stores, claim.password);
      const password = existing ?? slots ?? randomBytes(32).toString("base64url");
      if ((await etcd.permissionsOf(username)) === undefined) await hold.call(() => etcd.addRole(username));
      const granted = (await etcd.permissionsOf(username)) ?? [];
      for (const foreign of granted.filter((line) => !expected.permissions.includes(line))) {
        await hold.call(() => etcd.revokePermission(username, foreign));
      }
      if (!granted.some((line) => expected.permissions.includes(line)))
        await hold.call(() => etcd.grantPrefix(username, prefix));
      if ((await etcd.rolesOf(username)) === undefined) await hold.call(() => etcd.addUser(username, password));
      if (!(await etcd.accepts(username, password))) await hold.call(() => etcd.changePassword(username, password));
      const roles = (await etcd.rolesOf(username)) ?? [];
      for (const foreign of roles.filter((role) => role !== username))
        await hold.call(() => etcd.revokeRole(username, foreign));
      if (!roles.includes(username)) await hold.call(() => etcd.grantRole(username, username));

      const view = await observePrefix(stores, username);
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
export async function observePrefix({ etcd }: Stores, username: string): Promise<PrefixView> {
  return {
    permissions: (await etcd.permissionsOf(username)) ?? [],
    roles: (await etcd.rolesOf(username)) ?? [],
  };
}

/** Deletes the user: from that revision on no write of its ever lands. The rest is the claim's release. */
export async function fencePrefix(stores: Stores, tenant: TenantRef): Promise<void> {
  await withFormerClaim(stores, tenant, isLive, (hold, seen) =>
    hold.operation(seen, { state: "creating", made: { ...seen.claim.made, etcd: false } }, async () => {
      await hold.call(() => stores.etcd.deleteUser(seen.claim.intents.username));
      // A user that is made again gets another password: the old one may be why.
      return { result: undefined, closing: { removed: { ...seen.claim.removed, users: 1 }, password: undefined } };
    }),
  );
}

/** Removes a user. @returns whether it was there */
export async function dropUser({ etcd }: Stores, username: string, call: Caller): Promise<boolean> {
  if ((await etcd.rolesOf(username)) === undefined) return false;
  await call(() => etcd.deleteUser(username));
  return true;
}

/** Removes a role, if it is there. */
export async function dropRole({ etcd }: Stores, role: string, call: Caller): Promise<void> {
  if ((await etcd.permissionsOf(role)) !== undefined) await call(() => etcd.deleteRole(role));
}
