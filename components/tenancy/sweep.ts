/** Releasing what no stack holds any more, by the code of every release. Who holds what is for the caller to find out. */
import { VisibleError } from "../plan/visible-error.ts";
import type { Stores } from "./access.ts";
import { withTenant } from "./hold.ts";
import type { Receipt } from "./receipt.ts";
import { EXTERNAL, type HeldClaim, listClaims } from "./registry.ts";
import { releaseHeld } from "./release.ts";
import { closeRun, forgetLedger, OUTSIDER } from "./run.ts";

export interface SweepOptions {
  /** The stack's state lacks the ledger too: with its last claim, the ledger's record goes. @default false */
  ledgerGone?: boolean;
}

/**
 * Releases a claim that is still as it was read, before its stack's state was.
 * @throws VisibleError when it is another's by now, changed, or registered from outside
 */
export async function sweepClaim(
  stores: Stores,
  seen: HeldClaim,
  { ledgerGone = false }: SweepOptions = {},
): Promise<Receipt> {
  const { logicalName, claim, modRevision } = seen;
  if (claim.owner === EXTERNAL)
    throw new VisibleError(
      `tenant '${logicalName}' stands for a deployment from outside, which no sweep takes: take it over by a Tenant with 'adopt: true', then destroy that`,
    );
  const receipt = await withTenant(stores, OUTSIDER, logicalName, async (hold) => {
    const now = await hold.claim();
    if (now?.modRevision !== modRevision)
      throw new VisibleError(`tenant '${logicalName}': its claim has changed since it was looked at: run again`);
    return releaseHeld(stores, hold, now);
  });
  if (ledgerGone && (await listClaims(stores.etcd, claim.owner)).length === 0)
    await forgetLedger(stores, claim.owner, await closeRun(stores, claim.owner));
  return receipt;
}
