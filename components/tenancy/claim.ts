/** Claiming a tenant: the record that comes before everything else. */
import { randomBytes } from "node:crypto";
import { VisibleError } from "../plan/visible-error.ts";
import { op, when } from "../stores/etcd-txn.ts";
import type { Stores } from "./access.ts";
import { reap } from "./graves.ts";
import { type Hold, withTenant } from "./hold.ts";
import { type TenantRef, withClaim } from "./live-claim.ts";
import { type Claim, claimOf, type HeldClaim, holder, type Intents, intents, keys, type Recorded } from "./registry.ts";
import { releaseHeld } from "./release.ts";
import { enterRun } from "./run.ts";

/** What a claim is asked for with. */
export interface ClaimRequest {
  /** The ledger's id. */
  owner: string;
  logicalName: string;
  recorded: Recorded;
}

/** What a claim gives. */
export interface Claimed extends Intents {
  generation: string;
  attempt: number;
}

/** Thrown when the name, a parent or a child of it, is held by somebody else. */
export class ClaimRefused extends VisibleError {
  constructor(logicalName: string, held: HeldClaim) {
    const relation = held.logicalName === logicalName ? "is held" : `overlaps '${held.logicalName}', which is held`;
    super(
      `tenant '${logicalName}' ${relation} by ${holder(held.claim.recorded)}: choose another name or realm, or destroy that one first`,
    );
    this.name = "ClaimRefused";
  }
}

/** Claims a tenant; a claim that is ours already is carried on with, under the same generation. */
export async function claimTenant(stores: Stores, request: ClaimRequest): Promise<Claimed> {
  await reap(stores);
  const epoch = await enterRun(stores, request.owner, "create");
  return withTenant(stores, { ledger: request.owner, epoch }, request.logicalName, (hold) =>
    claimHeld(stores, hold, request),
  );
}

async function claimHeld(stores: Stores, hold: Hold, request: ClaimRequest): Promise<Claimed> {
  const { owner, logicalName, recorded } = request;
  const seen = await hold.claim();
  if (seen && seen.claim.owner !== owner) throw new ClaimRefused(logicalName, seen);
  if (seen && seen.claim.state !== "releasing") {
    const { claim } = await hold.rewrite(seen, { attempt: seen.claim.attempt + 1, recorded });
    return claimed(logicalName, claim);
  }
  if (seen) await releaseHeld(stores, hold, seen);

  const claim: Claim = {
    state: "creating",
    owner,
    generation: randomBytes(12).toString("hex"),
    attempt: 1,
    accounts: [],
    removed: {},
    made: { etcd: false, nats: false },
    open: false,
    suspect: false,
    recorded,
  };
  const family = [...ancestors(logicalName), logicalName].map(keys.claim);
  const result = await hold.txn(
    [...family.map(when.absent), when.noneBelow(keys.claim(logicalName))],
    [op.put(keys.claim(logicalName), JSON.stringify(claim))],
    // The same keys are read in the same transaction, so a refusal always knows the holder.
    [...family.map((key) => op.get(key)), op.list(keys.claim(logicalName), 1)],
  );
  const inTheWay = result.read.flat()[0];
  if (inTheWay) throw new ClaimRefused(logicalName, claimOf(inTheWay));
  return claimed(logicalName, claim);
}

/** `a/b/c` → `a`, `a/b`. */
function ancestors(logicalName: string): string[] {
  const segments = logicalName.split("/");
  return segments.slice(1).map((_, i) => segments.slice(0, i + 1).join("/"));
}

const claimed = (logicalName: string, { generation, attempt }: Claim): Claimed => ({
  generation,
  attempt,
  ...intents(logicalName, generation),
});

/** Updates what the claim says of where it was made. */
export async function recordClaim(stores: Stores, tenant: TenantRef, recorded: Recorded): Promise<void> {
  await withClaim(stores, tenant, (hold, seen) => hold.rewrite(seen, { recorded }));
}
