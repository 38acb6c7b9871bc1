/**
 * An act inside a tenant's account: changes of its streams, which JetStream makes without a compare-and-swap. What stands in
 * for one: the credentials of an act end within seconds, and before its first request it is noted in the registry. Whoever
 * finds the note of an act that did not end waits until its credentials have, and only then looks and acts itself. So no
 * late request of a killed or superseded run comes after a newer run's.
 */
import { VisibleError } from "../plan/visible-error.ts";
import { pause } from "../stores/backoff.ts";
import { op, when } from "../stores/etcd-txn.ts";
import type { JetStream } from "../stores/jetstream.ts";
import type { Stores } from "./access.ts";
import { type Hold, isCertain } from "./hold.ts";
import { natsInside } from "./inside.ts";
import { formerClaim, type TenantRef } from "./live-claim.ts";
import { type Claim, type HeldClaim, keys } from "./registry.ts";
import { actKey, type SeenTopology, sameTopology } from "./topology-record.ts";

/** How long the credentials of an act are good for, seconds: several requests' deadlines, and clocks that differ a little. */
const ACT_SECONDS = 20;

/** From an act's beginning, milliseconds, until no request of its can be carried out any more: the servers' timers included. */
const QUIET_MS = ACT_SECONDS * 1000 + 2_000;

/** Makes a request that writes, right after a look at the lock and the run. */
export type Request = (ask: () => Promise<void>) => Promise<void>;

/** A tenant, as whoever acts in its account has it. */
export interface Held {
  hold: Hold;
  seen: HeldClaim;
  tenant: TenantRef;
  /** The topology that the act belongs to; the act does not begin when that has changed. */
  topology: SeenTopology | undefined;
}

interface Act {
  /** Milliseconds since 1970: from here on no request of its comes. */
  until: number;
}

/**
 * Carries an act out; it has to be over within 20 s.
 * @throws StoreError, Superseded; the next act then waits, unless it is certain that nothing of this one comes late
 */
export async function actInside<T>(
  stores: Stores,
  { hold, seen, tenant, topology }: Held,
  work: (jetStream: JetStream, request: Request) => Promise<T>,
): Promise<T> {
  const key = actKey(tenant.generation);
  await untilQuiet(stores, tenant);
  const act: Act = { until: Date.now() + QUIET_MS };
  await hold.write(
    [when.unchanged(keys.claim(tenant.logicalName), seen.modRevision), sameTopology(tenant, topology)],
    [op.put(key, JSON.stringify(act))],
  );
  const end = () => hold.txn([], [op.remove(key)]);
  try {
    const jetStream = await stores.jetStream(await natsInside(stores, seen, "ringfence", ACT_SECONDS));
    const result = await work(jetStream, (ask) => hold.call(ask)).finally(() => jetStream.close());
    await end();
    return result;
  } catch (error) {
    if (isCertain(error)) await end().catch(() => undefined);
    throw error;
  }
}

/** Waits until no earlier act can write any more. */
async function untilQuiet({ etcd, progress }: Stores, { logicalName, generation }: TenantRef): Promise<void> {
  const open = await etcd.get(actKey(generation));
  if (!open) return;
  const { until } = JSON.parse(open.value) as Act;
  // A clock that was set back must not make it wait for longer than any act takes.
  const ms = Math.min(until - Date.now(), QUIET_MS);
  if (ms <= 0) return;
  progress(`${logicalName}: waiting ${Math.ceil(ms / 1000)} s, until an earlier run's credentials have ended`);
  await pause(ms);
}

/**
 * Looks into the account and changes nothing; needs no guard.
 * @returns undefined when the claim has no such account to look into
 */
export async function lookInside<T>(
  stores: Stores,
  { logicalName, claim }: { logicalName: string; claim: Claim | undefined },
  account: string | undefined,
  look: (jetStream: JetStream) => Promise<T>,
): Promise<T | undefined> {
  const handedOut = claim?.handedOut.account;
  if (!claim || handedOut === undefined || (account !== undefined && handedOut !== account)) return undefined;
  const jetStream = await stores.jetStream(await natsInside(stores, { logicalName, claim }, "ringfence", ACT_SECONDS));
  return look(jetStream).finally(() => jetStream.close());
}

/**
 * A part of the account as it is; for whoever reads what Pulumi's state has.
 * @returns "unknown" when the tenant has no such account to look into
 */
export async function observeInside<T>(
  stores: Stores,
  tenant: TenantRef,
  account: string,
  look: (jetStream: JetStream) => Promise<T>,
): Promise<T | "unknown"> {
  const claim = await formerClaim(stores, tenant);
  const looked = await lookInside(stores, { ...tenant, claim }, account, async (jetStream) => ({
    found: await look(jetStream),
  }));
  return looked ? looked.found : "unknown";
}

/** @throws VisibleError when the tenant has another account by now */
export function requireAccount({ logicalName }: TenantRef, { handedOut }: Claim, account: string): void {
  if (handedOut.account === account) return;
  throw new VisibleError(
    `tenant '${logicalName}': its NATS account is not ${account} any more: run 'pulumi refresh', then 'pulumi up' again`,
  );
}
