/** Claiming a tenant: the record that comes before everything else. */
import type { OnResidue } from "../plan/spec.ts";
import { VisibleError } from "../plan/visible-error.ts";
import { type Entry, op, when } from "../stores/etcd-txn.ts";
import type { Stores } from "./access.ts";
import { reap } from "./graves.ts";
import { type Hold, withTenant } from "./hold.ts";
import { type TenantRef, withClaim } from "./live-claim.ts";
import {
  type Claim,
  claimOf,
  dynamoHolder,
  EXTERNAL,
  type HeldClaim,
  holder,
  type Intents,
  keys,
  newClaim,
  type Recorded,
  readClaim,
} from "./registry.ts";
import { releaseHeld } from "./release.ts";
import { claimsOnResidue, findResidue, isResidue, ResidueFound } from "./residue.ts";
import { enterRun, type Runner } from "./run.ts";
import { freeSlot } from "./slots.ts";

/** What a claim is asked for with. */
export interface ClaimRequest {
  /** The ledger's id. */
  owner: string;
  logicalName: string;
  recorded: Recorded;
  /** The namespace under which Dynamo would register. @default the logical name's last segment */
  dynamoNamespace?: string | undefined;
  /** What to do when earlier deployments of the name left something behind. @default "fail" */
  onResidue?: OnResidue | undefined;
  /** Take over what `ringfence adopt` registered under the name. @default false */
  adopt?: boolean | undefined;
}

/** What a claim gives. */
export interface Claimed extends Intents {
  generation: string;
  attempt: number;
}

/** Thrown when the name, a parent or a child of it, or a Dynamo namespace, is held by somebody else. */
export class ClaimRefused extends VisibleError {
  constructor(logicalName: string, held: HeldClaim, dynamo?: string) {
    const relation = dynamo
      ? `asks for Dynamo namespace '${dynamo}', which belongs to '${held.logicalName}', held`
      : held.logicalName === logicalName
        ? "is held"
        : `overlaps '${held.logicalName}', which is held`;
    const way =
      held.claim.owner === EXTERNAL
        ? "set 'adopt: true' under that name to take it over, or choose another name or realm"
        : "choose another name or realm, or destroy that one first";
    super(`tenant '${logicalName}' ${relation} by ${holder(held.claim)}: ${way}`);
    this.name = "ClaimRefused";
  }
}

/** Claims a tenant; a claim that is ours already is carried on with, under the same generation. */
export async function claimTenant(stores: Stores, request: ClaimRequest): Promise<Claimed> {
  await reap(stores);
  const runner = { ledger: request.owner, epoch: await enterRun(stores, request.owner, "create") };
  return withTenant(stores, runner, request.logicalName, async (hold) => {
    const { generation, attempt, intents } = (await claimHeld(stores, runner, hold, request)).claim;
    return { generation, attempt, ...intents };
  });
}

async function claimHeld(stores: Stores, runner: Runner, hold: Hold, request: ClaimRequest): Promise<HeldClaim> {
  const { owner, logicalName, recorded, onResidue = "fail", adopt = false } = request;
  const { dynamoNamespace = logicalName.split("/").at(-1) as string } = request;
  const seen = await hold.claim();
  if (seen?.claim.owner === EXTERNAL && adopt) return takeOver(stores, runner, hold, seen, request, dynamoNamespace);
  if (seen && seen.claim.owner !== owner) throw new ClaimRefused(logicalName, seen);
  if (seen && seen.claim.state !== "releasing") {
    await requireAccount(stores, seen);
    return hold.rewrite(seen, { attempt: seen.claim.attempt + 1, recorded });
  }
  if (seen) await releaseHeld(stores, hold, seen);

  const residue = await findResidue(stores, logicalName, dynamoNamespace);
  let dynamo: string[] = [];
  if (isResidue(residue)) {
    if (onResidue === "fail") throw new ResidueFound(logicalName, dynamoNamespace, residue);
    const blank = newClaim(owner, logicalName, recorded);
    const claims = claimsOnResidue(residue, blank, logicalName, dynamoNamespace);
    if (onResidue === "adopt") {
      const [claim, ...others] = claims as [Claim, ...Claim[]];
      if (others.length > 0) throw new AmbiguousResidue(logicalName, claims);
      if (residue.generations.length > 0) return (await putClaim(stores, hold, claim)) as HeldClaim;
      dynamo = claim.dynamo;
    } else {
      for (const claim of claims) {
        const held = (await putClaim(stores, hold, { ...claim, state: "releasing" })) as HeldClaim;
        await releaseHeld(stores, hold, held);
      }
    }
  }
  for (;;) {
    const slot = await freeSlot(stores, runner, residue.taken);
    const claim = { ...newClaim(owner, logicalName, recorded, slot.generation), password: slot.password, dynamo };
    const held = await putClaim(stores, hold, claim, slot.modRevision);
    if (held) return held;
  }
}

/**
 * A claim that Pulumi's state has not noted, and that was complete, has an account in NATS.
 * @throws VisibleError when it has none: the claim is of a tenant that was destroyed since, in a registry from a backup
 */
async function requireAccount(stores: Stores, { logicalName, claim }: HeldClaim): Promise<void> {
  if (!claim.made.nats) return;
  const nats = await stores.nats();
  // Any of them: another one may have been about to be pushed when a run was killed.
  for (const account of claim.accounts) if (await nats.lookup(account)) return;
  throw new VisibleError(
    `tenant '${logicalName}': the registry has generation ${claim.generation} of it, which Pulumi's state has not, and NATS has no account of it (${claim.accounts.join(", ")}). ` +
      `etcd was restored from a backup from before its destroy: remove what came back by 'ringfence sweep --claim ${logicalName}#${claim.generation}', then run again`,
  );
}

/** Thrown when residue is to be adopted and there are several generations of it. */
class AmbiguousResidue extends VisibleError {
  constructor(logicalName: string, claims: Claim[]) {
    const found = claims.map(({ generation }) => generation).join(", ");
    super(
      `tenant '${logicalName}': found residue of the generations ${found}, and one can be adopted: remove the others, or set onResidue to 'purge'`,
    );
    this.name = "AmbiguousResidue";
  }
}

/**
 * Writes a new claim, with what it reserves, where nothing overlaps it.
 * @param slot the revision of the slot that it takes
 * @returns undefined when somebody else took the slot
 * @throws ClaimRefused
 */
export async function putClaim(
  stores: Stores,
  hold: Hold,
  claim: Claim,
  slot?: string,
): Promise<HeldClaim | undefined> {
  const { logicalName } = hold;
  const { owner, generation, dynamo } = claim;
  const key = keys.claim(logicalName);
  const slotKey = keys.slot(generation);
  // Dynamo's layouts keep namespaces apart, so theirs is a compare of names.
  const names = ancestors(logicalName).map(keys.claim);
  const reservations = await Promise.all(
    dynamo.map(async (namespace) => {
      const { held, revision } = await dynamoHolder(stores.etcd, namespace);
      return held ? when.absent(keys.dynamo(namespace)) : when.unchanged(keys.dynamo(namespace), revision);
    }),
  );
  const { succeeded, revision, read } = await hold.txn(
    [...names.map(when.absent), when.noneBelow(key), ...reservations, ...(slot ? [when.unchanged(slotKey, slot)] : [])],
    [
      op.put(key, JSON.stringify(claim)),
      ...dynamo.map((namespace) => op.put(keys.dynamo(namespace), logicalName)),
      // What is only registered has no physical names.
      ...(owner === EXTERNAL ? [] : [op.put(keys.generation(generation), logicalName)]),
      ...(slot ? [op.remove(slotKey)] : []),
    ],
    // The same keys are read in the same transaction, so a refusal always knows the holder.
    [...names.map(op.get), op.list(key, 1), ...dynamo.map((namespace) => op.get(keys.dynamo(namespace)))],
  );
  if (succeeded) return { logicalName, claim, modRevision: revision };
  const inTheWay = read.flat()[0];
  if (inTheWay) throw await refusal(stores, logicalName, inTheWay);
  return undefined;
}

/** `a/b/c` → `a`, `a/b`. */
function ancestors(logicalName: string): string[] {
  const segments = logicalName.split("/");
  return segments.slice(1).map((_, i) => segments.slice(0, i + 1).join("/"));
}

async function refusal(stores: Stores, logicalName: string, inTheWay: Entry): Promise<Error> {
  if (inTheWay.key.startsWith(keys.claims)) return new ClaimRefused(logicalName, claimOf(inTheWay));
  const held = await readClaim(stores.etcd, inTheWay.value);
  // Given up since: the same request may succeed now.
  if (!held) return new VisibleError(`tenant '${logicalName}': a claim that overlapped it ended just now: run again`);
  return new ClaimRefused(logicalName, held, inTheWay.key.slice(keys.dynamo("").length));
}

/** Makes a registered deployment ours: its data stay where they are and go with the release; what is new gets a slot. */
async function takeOver(
  stores: Stores,
  runner: Runner,
  hold: Hold,
  seen: HeldClaim,
  { owner, logicalName, recorded }: ClaimRequest,
  dynamoNamespace: string,
): Promise<HeldClaim> {
  const key = keys.claim(logicalName);
  const { taken } = await findResidue(stores, logicalName, dynamoNamespace);
  for (;;) {
    const slot = await freeSlot(stores, runner, taken);
    const { generation, password } = slot;
    const claim = { ...newClaim(owner, logicalName, recorded, generation), password, dynamo: seen.claim.dynamo };
    const slotKey = keys.slot(generation);
    const { succeeded, revision } = await hold.txn(
      [when.unchanged(key, seen.modRevision), when.unchanged(slotKey, slot.modRevision)],
      [op.put(key, JSON.stringify(claim)), op.put(keys.generation(generation), logicalName), op.remove(slotKey)],
    );
    if (succeeded) return { logicalName, claim, modRevision: revision };
  }
}

/** Updates what the claim says of where it was made. */
export async function recordClaim(stores: Stores, tenant: TenantRef, recorded: Recorded): Promise<void> {
  await withClaim(stores, tenant, (hold, seen) => hold.rewrite(seen, { recorded }));
}
