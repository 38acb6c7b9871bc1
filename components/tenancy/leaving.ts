/** What leaves a tenant's topology: buffers and buckets that are taken away, and what the registry notes of that. */
import type { JetStream } from "../stores/jetstream.ts";
import type { Stores } from "./access.ts";
import { actInside, type Request } from "./act.ts";
import { isLive, type TenantRef, withFormerClaim } from "./live-claim.ts";
import type { Claim } from "./registry.ts";
import { putRecord, readPlan, readTopology, sameTopology, type TopologyRecord } from "./topology-record.ts";

/** What is taken away. */
export interface Leaving {
  account: string;
  name: string;
  /** Of the plan that it was made by. */
  digest: string;
}

/** Whether unread messages may go with what is taken away. */
export const mayDrop = (record: TopologyRecord | undefined): boolean =>
  record?.leaving === true || record?.discard === true;

/** Takes a buffer or a bucket away that the topology does not have, and what the registry says of it. */
export async function close(
  stores: Stores,
  tenant: TenantRef,
  { account, name, digest }: Leaving,
  kind: "buffers" | "buckets",
  remove: (jetStream: JetStream, request: Request, record: TopologyRecord | undefined) => Promise<void>,
): Promise<void> {
  const { etcd } = stores;
  const inAccount = (claim: Claim) => isLive(claim) && claim.handedOut.account === account;
  await withFormerClaim(stores, tenant, inAccount, async (hold, seen) => {
    const topology = await readTopology(etcd, tenant);
    const planned = topology?.record.leaving ? undefined : (await readPlan(etcd, tenant))?.[kind][name];
    // Another resource has it by now, or a newer run's state; one that is replaced has another digest.
    if (planned?.digest === digest) return;
    await actInside(stores, { hold, seen, tenant, topology }, (jetStream, request) =>
      remove(jetStream, request, topology?.record),
    );
    const retired = topology && forget(topology.record, kind, name);
    if (!retired) return;
    await hold.txn([sameTopology(tenant, topology)], [putRecord(tenant, { ...topology.record, retired })]);
  });
}

/** @returns what is left of the retired without this one; undefined when it was not among them */
function forget(
  { retired }: TopologyRecord,
  kind: "buffers" | "buckets",
  name: string,
): TopologyRecord["retired"] | undefined {
  const { buffers, buckets } = retired;
  if (kind === "buckets")
    return buckets.includes(name) ? { buffers, buckets: buckets.filter((each) => each !== name) } : undefined;
  if (!(name in buffers)) return undefined;
  const { [name]: _, ...left } = buffers;
  return { buffers: left, buckets };
}
