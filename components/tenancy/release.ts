/**
 * Releasing a tenant: fence, purge, verify, and only then give the claim up. Each step can be run again, and is, until
 * one pass has seen everything gone: "the fence was recorded" is not "the fence holds", for a late call can undo it.
 */

import { VisibleError } from "../plan/visible-error.ts";
import { StoreError } from "../stores/errors.ts";
import { op, when } from "../stores/etcd-txn.ts";
import type { Stores } from "./access.ts";
import { dropAccount, fence } from "./account.ts";
import { bury } from "./graves.ts";
import type { Hold } from "./hold.ts";
import { type TenantRef, withFormerClaim } from "./live-claim.ts";
import { dropNamespace } from "./namespace.ts";
import { dropKeys, dropUser } from "./prefix.ts";
import { fileReceipt, type Receipt } from "./receipt.ts";
import { type Claim, type HeldClaim, intents, keys } from "./registry.ts";

/** How long it is known that a generation was released, seconds: the run may be killed before Pulumi notes it. The ledger takes the note with it. */
const RELEASED_TTL = 7 * 24 * 3600;

/** How often one pass may find something back before it is an error: more than a single late call can explain. */
const MAX_PASSES = 5;

/**
 * Releases a tenant. A claim that is gone, or is another generation's or a later attempt's, has been released already.
 * @returns undefined when there was nothing to do
 */
export async function release(stores: Stores, tenant: TenantRef & { attempt: number }): Promise<Receipt | undefined> {
  const sameAttempt = ({ attempt }: Claim) => attempt === tenant.attempt;
  return withFormerClaim(stores, tenant, sameAttempt, (hold, seen) => releaseHeld(stores, hold, seen));
}

/** Releases the tenant that is held; ends with its claim gone. */
export async function releaseHeld(stores: Stores, hold: Hold, seen: HeldClaim): Promise<Receipt> {
  const begun = Date.now();
  const opened = await hold.open(seen, { state: "releasing" });
  const { logicalName, claim } = opened;
  const receipt: Receipt = {
    logicalName,
    generation: claim.generation,
    removed: { keys: 0, users: 0, roles: 0, accounts: 0, streams: 0, messages: 0, namespaces: 0, ...claim.removed },
    residue: 0,
    revisions: { from: opened.modRevision, to: opened.modRevision },
    durationMs: 0,
    notes: [],
  };
  const revision = await hold.carryOut(
    opened,
    () => ({ removed: receipt.removed }),
    async () => {
      await removeNamespace(stores, hold, opened, receipt);
      return untilGone(stores, hold, opened, receipt);
    },
  );
  receipt.revisions.to = revision;
  receipt.durationMs = Date.now() - begun;
  fileReceipt(receipt);
  return receipt;
}

/** Pass after pass, until one has seen everything gone and given the claim up. @returns the revision of that */
async function untilGone(stores: Stores, hold: Hold, opened: HeldClaim, receipt: Receipt): Promise<string> {
  for (let pass = 1; pass <= MAX_PASSES; pass++) {
    await fenceAll(stores, hold, opened, receipt);
    await purgeKeys(stores, hold, opened, receipt);
    await removeAccounts(stores, hold, opened, receipt);
    const revision = (await clean(stores, opened)) ? await giveUp(stores, hold, opened) : undefined;
    if (revision !== undefined) return revision;
  }
  throw new VisibleError(
    `tenant '${opened.logicalName}': something writes to it again after each of ${MAX_PASSES} fences: find out who holds the admin's credentials, then run again`,
  );
}

/** Pods first, so that nothing of the tenant's runs into the fence. A cluster that is gone stops nothing. */
async function removeNamespace(
  stores: Stores,
  hold: Hold,
  { logicalName, claim }: HeldClaim,
  receipt: Receipt,
): Promise<void> {
  const { namespace } = intents(logicalName, claim.generation);
  try {
    const dropped = await dropNamespace(stores, namespace, claim.generation, (act) => hold.call(act));
    if (dropped) receipt.removed.namespaces++;
  } catch (error) {
    if (!(error instanceof StoreError && error.unreachable)) throw error;
    receipt.notes.push(`namespace '${namespace}' was not looked at: ${error.message}`);
  }
}

async function fenceAll(
  stores: Stores,
  hold: Hold,
  { logicalName, claim }: HeldClaim,
  receipt: Receipt,
): Promise<void> {
  const { username } = intents(logicalName, claim.generation);
  const dropped = await dropUser(stores, username, (act) => hold.call(act));
  receipt.removed.users += dropped.users;
  receipt.removed.roles += dropped.roles;
  for (const account of claim.accounts) await fence(stores, account, (act) => hold.call(act));
}

async function purgeKeys(
  stores: Stores,
  hold: Hold,
  { logicalName, claim, modRevision }: HeldClaim,
  receipt: Receipt,
): Promise<void> {
  const { prefix } = intents(logicalName, claim.generation);
  const unchanged = when.unchanged(keys.claim(logicalName), modRevision);
  await dropKeys(stores, prefix, async (span, count) => {
    const { succeeded } = await hold.txn([unchanged], [span]);
    if (!succeeded)
      throw new VisibleError(`tenant '${logicalName}': its claim was rewritten during the purge by hand: run again`);
    receipt.removed.keys += count;
  });
}

async function removeAccounts(stores: Stores, hold: Hold, { claim }: HeldClaim, receipt: Receipt): Promise<void> {
  for (const account of claim.accounts) {
    const dropped = await dropAccount(stores, account, (act) => hold.call(act));
    if (!dropped) continue;
    receipt.removed.accounts++;
    receipt.removed.streams += dropped.streams;
    receipt.removed.messages += dropped.messages;
  }
}

/** The last look: user, role, accounts and streams gone. */
async function clean(stores: Stores, { logicalName, claim }: HeldClaim): Promise<boolean> {
  const { username } = intents(logicalName, claim.generation);
  if ((await stores.etcd.rolesOf(username)) !== undefined) return false;
  if ((await stores.etcd.permissionsOf(username)) !== undefined) return false;
  if (claim.accounts.length === 0) return true;
  const nats = await stores.nats();
  for (const account of claim.accounts) {
    if ((await nats.lookup(account)) || (await nats.streams(account)).length > 0) return false;
  }
  return true;
}

/** Removes the claim in a transaction that sees the prefix empty; undefined when it was not. */
async function giveUp(
  { etcd }: Stores,
  hold: Hold,
  { logicalName, claim, modRevision }: HeldClaim,
): Promise<string | undefined> {
  const { prefix } = intents(logicalName, claim.generation);
  const key = keys.claim(logicalName);
  const lease = await etcd.grantLease(RELEASED_TTL);
  const note = op.put(keys.releasedGeneration(claim.owner, claim.generation), logicalName, lease);
  const { succeeded, revision } = await hold.txn(
    [when.unchanged(key, modRevision), when.noneBelow(prefix)],
    [op.remove(key), note, ...(claim.suspect ? [bury(logicalName, claim)] : [])],
  );
  if (!succeeded) await etcd.revokeLease(lease);
  return succeeded ? revision : undefined;
}
