/**
 * A tenant's part of etcd: one role, bound to the tenant's physical prefix and nothing else, and a user that has it. A
 * user whose deletion was begun is never made again, for a call may come late: another one takes its place. A rotation is
 * another one beside it.
 */
import { randomBytes } from "node:crypto";
import { VisibleError } from "../plan/visible-error.ts";
import { Etcd } from "../stores/etcd.ts";
import type { Stores } from "./access.ts";
import type { Caller } from "./hold.ts";
import { isLive, type TenantRef, withClaim, withFormerClaim } from "./live-claim.ts";
import type { Claim } from "./registry.ts";
import { seal, unseal } from "./seal.ts";

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
  /** The user's role; its name is that of the tenant's first user. */
  role: string;
  /** Secret. */
  password: string;
}

export interface PrefixRequest {
  /** What an earlier request gave: its password is kept as long as its user is. */
  existing?: { username: string; password: string };
  /** Hand out another user; the earlier ones are good until they are retired. @default false */
  rotate?: boolean;
}

/** What `observePrefix` shows when nothing has drifted. */
export const expectedPrefix = ({ prefix, role }: Pick<OpenPrefix, "prefix" | "role">): PrefixView => ({
  permissions: [Etcd.boundTo(prefix)],
  roles: [role],
});

/**
 * Hands a user out, the slot's at first, or makes role and user right again: only what is wrong is changed, for each
 * change fails requests of all users.
 */
export async function openPrefix(
  stores: Stores,
  tenant: TenantRef,
  { existing, rotate = false }: PrefixRequest = {},
): Promise<OpenPrefix> {
  const { etcd } = stores;
  return withClaim(stores, tenant, (hold, seen) =>
    hold.operation(seen, {}, async ({ claim }) => {
      const { prefix, username: role } = claim.intents;
      const expected = expectedPrefix({ prefix, role });
      const kept = rotate ? undefined : claim.handedOut.username;
      const username = kept ?? `${role}.${randomBytes(4).toString("hex")}`;
      const password = (kept && passwordOf(stores, claim, existing)) ?? randomBytes(32).toString("base64url");
      if ((await etcd.permissionsOf(role)) === undefined) await hold.call(() => etcd.addRole(role));
      const granted = (await etcd.permissionsOf(role)) ?? [];
      for (const foreign of granted.filter((line) => !expected.permissions.includes(line))) {
        await hold.call(() => etcd.revokePermission(role, foreign));
      }
      if (!granted.some((line) => expected.permissions.includes(line)))
        await hold.call(() => etcd.grantPrefix(role, prefix));
      if ((await etcd.rolesOf(username)) === undefined) await hold.call(() => etcd.addUser(username, password));
      if (!(await etcd.accepts(username, password))) await hold.call(() => etcd.changePassword(username, password));
      const roles = (await etcd.rolesOf(username)) ?? [];
      for (const foreign of roles.filter((each) => each !== role))
        await hold.call(() => etcd.revokeRole(username, foreign));
      if (!roles.includes(role)) await hold.call(() => etcd.grantRole(username, role));
      // Those of a fence that was begun: nobody has their credentials but what was to be stopped.
      if (!claim.handedOut.username) await dropUsers(stores, role, (act) => hold.call(act), username);

      const view = await observePrefix(stores, { username, role });
      if (JSON.stringify(view) !== JSON.stringify(expected)) {
        throw new VisibleError(
          `${etcd.label}: user '${username}' reads back as ${JSON.stringify(view)}, not bound to its prefix alone: run again`,
        );
      }
      const made = { ...claim.made, etcd: true };
      return {
        result: { prefix, username, role, password, ...view },
        closing: {
          made,
          state: made.nats ? "active" : "creating",
          ...(!kept && { handedOut: { ...claim.handedOut, username }, password: seal(stores, password) }),
        },
      };
    }),
  );
}

/** The password of the user that is handed out; undefined when nobody can tell any more. */
function passwordOf(
  stores: Stores,
  { handedOut, password }: Claim,
  existing: PrefixRequest["existing"],
): string | undefined {
  if (existing?.username === handedOut.username) return existing?.password;
  return password && unseal(stores, password);
}

/** What etcd has now. */
export async function observePrefix(
  { etcd }: Stores,
  { username, role }: Pick<OpenPrefix, "username" | "role">,
): Promise<PrefixView> {
  return {
    permissions: (await etcd.permissionsOf(role)) ?? [],
    roles: (await etcd.rolesOf(username)) ?? [],
  };
}

/** Deletes the tenant's users: from that revision on no write of theirs ever lands. The rest is the claim's release. */
export async function fencePrefix(stores: Stores, tenant: TenantRef): Promise<void> {
  await withFormerClaim(stores, tenant, isLive, (hold, seen) => {
    const { made, handedOut, removed, intents } = seen.claim;
    const opening = {
      state: "creating",
      made: { ...made, etcd: false },
      handedOut: { ...handedOut, username: undefined },
      password: undefined,
    } as const;
    return hold.operation(seen, opening, async () => {
      const users = await dropUsers(stores, intents.username, (act) => hold.call(act));
      return { result: undefined, closing: { removed: { ...removed, users: (removed.users ?? 0) + users } } };
    });
  });
}

/** All users of a tenant, by its role. */
export async function usersOf({ etcd }: Stores, role: string): Promise<string[]> {
  return (await etcd.users()).filter((name) => roleOf(name) === role);
}

/** The role that a user of ours has. */
export const roleOf = (username: string): string => username.replace(/\.[0-9a-f]{8}$/, "");

/**
 * Removes the users of a tenant.
 * @param but one that stays
 * @returns how many there were
 */
export async function dropUsers(stores: Stores, role: string, call: Caller, but?: string): Promise<number> {
  const users = (await usersOf(stores, role)).filter((name) => name !== but);
  for (const name of users) await call(() => stores.etcd.deleteUser(name));
  return users.length;
}

/** Removes a role, if it is there. */
export async function dropRole({ etcd }: Stores, role: string, call: Caller): Promise<void> {
  if ((await etcd.permissionsOf(role)) !== undefined) await call(() => etcd.deleteRole(role));
}
