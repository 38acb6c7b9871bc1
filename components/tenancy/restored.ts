/**
 * Tenants that Pulumi's state has and the registry has never heard of: etcd was restored from a backup from before they
 * were made. NATS, Kubernetes and the state know them still, and that is enough to claim them again under the same
 * generation. What etcd had of them is made again by the next `up`; their keys are those of the backup.
 */

import { op, when } from "../stores/etcd-txn.ts";
import { decodeAccount } from "../stores/nats-jwt.ts";
import type { Stores } from "./access.ts";
import { ourAccounts } from "./account.ts";
import { putClaim } from "./claim.ts";
import { type Hold, withTenant } from "./hold.ts";
import { type TenantRef, wasReleased } from "./live-claim.ts";
import type { Receipt } from "./receipt.ts";
import {
  type Claim,
  type HeldClaim,
  type Intents,
  keys,
  newClaim,
  type Recorded,
  readClaim,
  type StackRecord,
} from "./registry.ts";
import { releaseHeld } from "./release.ts";
import { enterRun, OUTSIDER, type Runner } from "./run.ts";

/** What Pulumi's state has of a tenant. */
export interface KnownTenant extends TenantRef, Intents {
  attempt: number;
  recorded: Recorded;
  /** The etcd user and the NATS account that its pods have, where the state has those parts. */
  handedOut?: Claim["handedOut"];
}

/** What became of a tenant: claimed again, claimed all the time, or released since. */
export type Readoption = "restored" | "there" | "released";

/**
 * Claims a tenant again that the registry lacks, and records its ledger where that is lacking too. Nothing else is touched.
 * @throws ClaimRefused when somebody else has its name, or one that overlaps it, by now
 */
export async function adoptFromState(stores: Stores, tenant: KnownTenant): Promise<Readoption> {
  const { etcd } = stores;
  if (await isReleased(stores, tenant)) return "released";
  const outcome = await withTenant(stores, OUTSIDER, tenant.logicalName, async (hold): Promise<Readoption> => {
    const { claim } = (await hold.claim()) ?? {};
    if (claim?.owner === tenant.owner && claim.generation === tenant.generation) return "there";
    await claimAgain(stores, hold, tenant, "creating");
    return "restored";
  });
  const record: StackRecord = { state: "open", run: 0 };
  await etcd.txn([when.absent(keys.stack(tenant.owner))], [op.put(keys.stack(tenant.owner), JSON.stringify(record))]);
  return outcome;
}

/**
 * Releases a tenant whose claim the registry lacks and whose release it does not know of: in vain when it was released
 * long ago, and else what a destroy owes.
 * @returns undefined when there was nothing to do
 */
export async function releaseLost(stores: Stores, tenant: KnownTenant): Promise<Receipt | undefined> {
  const isLost = async () => !(await readClaim(stores.etcd, tenant.logicalName)) && !(await isReleased(stores, tenant));
  if (!(await isLost())) return undefined;
  const runner: Runner = { ledger: tenant.owner, epoch: await enterRun(stores, tenant.owner, "release") };
  return withTenant(stores, runner, tenant.logicalName, async (hold) => {
    if (!(await isLost())) return undefined;
    return releaseHeld(stores, hold, await claimAgain(stores, hold, tenant, "releasing"));
  });
}

const isReleased = async ({ etcd }: Stores, tenant: TenantRef): Promise<boolean> =>
  (await wasReleased(etcd, tenant)) || (await etcd.get(keys.grave(tenant.generation))) !== undefined;

async function claimAgain(stores: Stores, hold: Hold, tenant: KnownTenant, state: Claim["state"]): Promise<HeldClaim> {
  const { owner, logicalName, generation, attempt, recorded, handedOut = {} } = tenant;
  const { prefix, username, namespace } = tenant;
  const ours = (await ourAccounts(stores)).filter((each) => each.tenant.generation === generation);
  const accounts = ours.map(({ account }) => account);
  const claim: Claim = {
    ...newClaim(owner, logicalName, recorded, generation),
    state,
    attempt,
    intents: { prefix, username, namespace },
    handedOut,
    accounts,
    ...(await keysInNats(stores, handedOut.account)),
    // Whatever is lacking in etcd is made when the next `up` looks at this part.
    made: { etcd: false, nats: handedOut.account !== undefined && accounts.includes(handedOut.account) },
  };
  // The backup may be from when the generation was a free slot.
  const slot = await stores.etcd.get(keys.slot(generation));
  return (await putClaim(stores, hold, claim, slot?.modRevision)) ?? claimAgain(stores, hold, tenant, state);
}

/** What the lost claim said of the account's keys, NATS says. */
async function keysInNats(
  stores: Stores,
  account: string | undefined,
): Promise<Pick<Claim, "signers" | "revokedUntil">> {
  const jwt = account && (await (await stores.nats()).lookup(account));
  if (!jwt) return { signers: [] };
  const { signingKeys, revocations } = decodeAccount(jwt);
  return { signers: signingKeys, revokedUntil: revocations["*"] };
}
