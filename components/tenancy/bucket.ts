/** A tenant's buckets: key-value stores inside its NATS account. */
import { canonical } from "../plan/digest.ts";
import { StoreError } from "../stores/errors.ts";
import type { BucketView } from "../stores/jetstream.ts";
import type { Stores } from "./access.ts";
import { actInside, observeInside, requireAccount } from "./act.ts";
import { close, type Leaving } from "./leaving.ts";
import { type TenantRef, withClaim } from "./live-claim.ts";
import { requireCurrent } from "./topology-record.ts";

/** A bucket as it shall be, in the account that the tenant has. */
export interface BucketRequest {
  /** The account's public key. */
  account: string;
  name: string;
  replicas: number;
  digest: string;
  topologyGeneration: number;
}

/**
 * Makes the bucket, or makes it right.
 * @throws VisibleError when the registry has another topology by now; StoreError
 */
export async function openBucket(stores: Stores, tenant: TenantRef, bucket: BucketRequest): Promise<void> {
  await withClaim(stores, tenant, async (hold, seen) => {
    const { account, name, replicas, digest, topologyGeneration } = bucket;
    const topology = await requireCurrent(stores.etcd, tenant, topologyGeneration);
    requireAccount(tenant, seen.claim, account);
    const mark = { generation: topologyGeneration, digest };
    const isAs = (found: BucketView | undefined) => canonical(found) === canonical({ replicas, mark });
    await actInside(stores, { hold, seen, tenant, topology }, async (jetStream, request) => {
      const found = await jetStream.bucket(name);
      if (!found) await request(() => jetStream.createBucket(name, replicas, mark));
      else if (!isAs(found)) await request(() => jetStream.updateBucket(name, replicas, mark));
      if (isAs(await jetStream.bucket(name))) return;
      throw new StoreError(`${jetStream.label} has bucket '${name}' otherwise than it was just made: run again`);
    });
  });
}

/** Deletes the bucket, unless the topology has it as it is. */
export async function closeBucket(stores: Stores, tenant: TenantRef, bucket: Leaving): Promise<void> {
  await close(stores, tenant, bucket, "buckets", async (jetStream, request) => {
    if (await jetStream.bucket(bucket.name)) await request(() => jetStream.deleteBucket(bucket.name));
  });
}

/** The bucket as the account has it. @returns "unknown" when the tenant has no such account to look into */
export const observeBucket = (
  stores: Stores,
  tenant: TenantRef,
  { account, name }: Pick<BucketRequest, "account" | "name">,
): Promise<BucketView | undefined | "unknown"> =>
  observeInside(stores, tenant, account, (jetStream) => jetStream.bucket(name));
