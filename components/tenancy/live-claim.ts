/** Acting on a tenant that is claimed, and on what a claim may have left. */
import { VisibleError } from "../plan/visible-error.ts";
import type { Etcd } from "../stores/etcd.ts";
import type { Stores } from "./access.ts";
import { type Hold, withTenant } from "./hold.ts";
import { type Claim, type HeldClaim, holder, keys, readClaim } from "./registry.ts";
import { enterRun } from "./run.ts";

/** A part of a tenant says whose it is with these. */
export interface TenantRef {
  owner: string;
  logicalName: string;
  generation: string;
}

/** Acts on a tenant's claim, which has to be there, ours, of this generation and not being released. */
export async function withClaim<T>(
  stores: Stores,
  tenant: TenantRef,
  work: (hold: Hold, seen: HeldClaim) => Promise<T>,
): Promise<T> {
  const epoch = await enterRun(stores, tenant.owner, "create");
  return withTenant(stores, { ledger: tenant.owner, epoch }, tenant.logicalName, async (hold) =>
    work(hold, requireLive(tenant, await hold.claim())),
  );
}

/** Not being released. */
export const isLive = ({ state }: Claim): boolean => state !== "releasing";

/**
 * Acts on what a claim may have left; nothing is done when it is gone, or another generation's.
 * @param wanted what else has to hold of the claim, also once it is held
 * @returns undefined when nothing was done
 */
export async function withFormerClaim<T>(
  stores: Stores,
  tenant: TenantRef,
  wanted: (claim: Claim) => boolean,
  work: (hold: Hold, seen: HeldClaim) => Promise<T>,
): Promise<T | undefined> {
  const matches = (seen: HeldClaim | undefined): seen is HeldClaim => isOf(tenant, seen) && wanted(seen.claim);
  if (!matches(await readClaim(stores.etcd, tenant.logicalName))) return undefined;
  const epoch = await enterRun(stores, tenant.owner, "release");
  return withTenant(stores, { ledger: tenant.owner, epoch }, tenant.logicalName, async (hold) => {
    const seen = await hold.claim();
    return matches(seen) ? work(hold, seen) : undefined;
  });
}

/**
 * The claim of a tenant that Pulumi's state holds; undefined when it has to be made anew: its release was begun, or
 * ended, by a run that was killed before Pulumi noted it.
 * @throws VisibleError when the registry has no such claim and knows of no release: etcd may have been restored from a backup
 */
export async function standing({ etcd }: Stores, tenant: TenantRef): Promise<Claim | undefined> {
  const seen = await readClaim(etcd, tenant.logicalName);
  if (isOf(tenant, seen)) return isLive(seen.claim) ? seen.claim : undefined;
  if (await wasReleased(etcd, tenant)) return undefined;
  throw notLive(tenant, seen);
}

/** Whether the registry knows that a generation was released; it forgets after a while. */
export async function wasReleased(etcd: Etcd, { owner, generation }: TenantRef): Promise<boolean> {
  return (await etcd.get(keys.releasedGeneration(owner, generation))) !== undefined;
}

/** The claim that a tenant has or had, whatever its state; undefined when the registry has none of its generation. */
export async function formerClaim({ etcd }: Stores, tenant: TenantRef): Promise<Claim | undefined> {
  const seen = await readClaim(etcd, tenant.logicalName);
  return isOf(tenant, seen) ? seen.claim : undefined;
}

/** @throws VisibleError that says what the registry has instead */
function requireLive(tenant: TenantRef, seen: HeldClaim | undefined): HeldClaim {
  if (isOf(tenant, seen) && isLive(seen.claim)) return seen;
  throw notLive(tenant, seen);
}

const isOf = ({ owner, generation }: TenantRef, seen: HeldClaim | undefined): seen is HeldClaim =>
  seen?.claim.owner === owner && seen.claim.generation === generation;

/** The way out when state has what the registry lacks. */
export const RESTORED =
  "etcd was restored from a backup, or is another one, and nothing is made anew by itself: put back what the registry lacks " +
  "by 'pulumi stack export --file state.json' and 'ringfence adopt --from-state state.json', then run again";

function notLive({ logicalName, generation, owner }: TenantRef, seen: HeldClaim | undefined): VisibleError {
  const found = !seen
    ? "no claim of it"
    : seen.claim.owner !== owner
      ? `a claim by ${holder(seen.claim)}`
      : seen.claim.generation !== generation
        ? `generation ${seen.claim.generation}`
        : "a release of it under way";
  const way = seen
    ? "If etcd was restored from a backup, restore the newer one; otherwise destroy this pipeline and bring it up again"
    : RESTORED;
  return new VisibleError(`tenant '${logicalName}', generation ${generation}: the registry has ${found}. ${way}`);
}
