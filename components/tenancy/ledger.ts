/** The ledger: a stack's random owner id. Deleted last, it releases whatever Pulumi's state never learnt of. */
import { randomUUID } from "node:crypto";
import type { Stores } from "./access.ts";
import { withTenant } from "./hold.ts";
import type { Receipt } from "./receipt.ts";
import { listClaims } from "./registry.ts";
import { releaseHeld } from "./release.ts";
import { closeRun, forgetLedger, ledgerState, openLedger } from "./run.ts";

/** Records a new ledger. @returns its id */
export async function createLedger(stores: Stores): Promise<string> {
  const ledger = randomUUID();
  await openLedger(stores, ledger);
  return ledger;
}

export { ledgerState };

/** Closes the stack: nothing is created for it any more, every claim of its is released, its record goes last. */
export async function deleteLedger(stores: Stores, ledger: string): Promise<Receipt[]> {
  const receipts: Receipt[] = [];
  if (!(await ledgerState(stores, ledger)) && (await listClaims(stores.etcd, ledger)).length === 0) return receipts;
  const epoch = await closeRun(stores, ledger);
  for (const { logicalName } of await listClaims(stores.etcd, ledger)) {
    await withTenant(stores, { ledger, epoch }, logicalName, async (hold) => {
      const seen = await hold.claim();
      if (seen?.claim.owner === ledger) receipts.push(await releaseHeld(stores, hold, seen));
    });
  }
  await forgetLedger(stores, ledger, epoch);
  return receipts;
}
