/** Acting on a tenant that is claimed, and on what a claim may have left. */
import { VisibleError } from "../plan/visible-error.ts";
import type { Stores } from "./access.ts";
import { type Hold, withTenant } from "./hold.ts";
import { type HeldClaim, holder, keys, readClaim } from "./registry.ts";
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

/** Acts on what a claim may have left: nothing is done when it is released, being released, or another generation's. */
export async function withFormerClaim(
  stores: Stores,
  tenant: TenantRef,
  work: (hold: Hold, seen: HeldClaim) => Promise<void>,
): Promise<void> {
  const live = (seen: HeldClaim | undefined): seen is HeldClaim =>
    seen?.claim.owner === tenant.owner &&
    seen.claim.generation === tenant.generation &&
    seen.claim.state !== "releasing";
  if (!live(await readClaim(stores.etcd, tenant.logicalName))) return;
  const epoch = await enterRun(stores, tenant.owner, "release");
  await withTenant(stores, { ledger: tenant.owner, epoch }, tenant.logicalName, async (hold) => {
    const seen = await hold.claim();
    if (live(seen)) await work(hold, seen);
  });
}

/**
 * Whether a tenant that Pulumi's state holds has to be made anew: its release was begun, or ended, by a run that was
 * killed before Pulumi noted it.
 * @throws Error when the registry has no such claim and knows of no release: etcd may have been restored from a backup
 */
export async function isReleased({ etcd }: Stores, tenant: TenantRef): Promise<boolean> {
  const seen = await readClaim(etcd, tenant.logicalName);
  const ours = seen?.claim.owner === tenant.owner && seen.claim.generation === tenant.generation;
  if (ours) return seen.claim.state === "releasing";
  if (await etcd.get(keys.releasedGeneration(tenant.owner, tenant.generation))) return true;
  requireLive(tenant, seen);
  return false;
}

/** @throws Error that says what the registry has instead */
export function requireLive(tenant: TenantRef, seen: HeldClaim | undefined): HeldClaim {
  const { logicalName, generation, owner } = tenant;
  if (seen?.claim.owner === owner && seen.claim.generation === generation && seen.claim.state !== "releasing")
    return seen;
  const found = !seen
    ? "no claim of it"
    : seen.claim.owner !== owner
      ? `a claim by ${holder(seen.claim.recorded)}`
      : seen.claim.generation !== generation
        ? `generation ${seen.claim.generation}`
        : "a release of it under way";
  throw new VisibleError(
    `tenant '${logicalName}', generation ${generation}: the registry has ${found}. ` +
      "If etcd was restored from a backup, restore the newer one; otherwise destroy this pipeline and bring it up again",
  );
}
