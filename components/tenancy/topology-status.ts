/** How a tenant's topology stands: what the registry has of it, and what its account does. */
import type { Stores } from "./access.ts";
import { lookInside } from "./act.ts";
import type { HeldClaim } from "./registry.ts";
import { placesOf, readPlan, readTopology, type TopologyRecord } from "./topology-record.ts";

export interface BufferStatus {
  name: string;
  /** Not there: it is still to be made, or somebody deleted it. */
  missing: boolean;
  /** Messages that were not delivered yet, and those that were and are not acknowledged. */
  pending: number;
  ackPending: number;
  /** Of the topology that it was last made right by, and of its plan. */
  generation: number;
  digest: string;
  /** Whether both are those of the registry. */
  agrees: boolean;
}

export type BucketStatus = Omit<BufferStatus, "pending" | "ackPending">;

export interface TopologyStatus {
  generation: number;
  state: TopologyRecord["state"];
  digest: string;
  /** Digest of each vertex' place, as its pods should have it. */
  vertices: Record<string, string>;
  buffers: BufferStatus[];
  buckets: BucketStatus[];
  /** What left the topology and is still there, or may be. */
  retired: string[];
  /** Whether the topology is committed, nothing that left it is there, and every buffer and bucket is as planned. */
  agrees: boolean;
}

/**
 * @returns undefined for a tenant without a topology
 * @throws StoreError
 */
export async function topologyStatus(stores: Stores, held: HeldClaim): Promise<TopologyStatus | undefined> {
  const { etcd } = stores;
  const topology = await readTopology(etcd, held.claim);
  const plan = await readPlan(etcd, held.claim);
  if (!topology || !plan) return undefined;
  const { generation, state, digest, retired } = topology.record;
  const statusOf = (name: string, planned: string, mark: { generation: number; digest: string } | undefined) => ({
    name,
    missing: mark === undefined,
    generation: mark?.generation ?? 0,
    digest: mark?.digest ?? "",
    agrees: mark?.generation === generation && mark.digest === planned,
  });
  const looked = await lookInside(stores, held, undefined, async (jetStream) => ({
    buffers: await Promise.all(
      Object.values(plan.buffers).map(async (planned): Promise<BufferStatus> => {
        const view = await jetStream.buffer(planned.name);
        const { pending = 0, ackPending = 0 } = view ?? {};
        return { ...statusOf(planned.name, planned.digest, view?.mark), pending, ackPending };
      }),
    ),
    buckets: await Promise.all(
      Object.values(plan.buckets).map(async (planned): Promise<BucketStatus> => {
        const view = await jetStream.bucket(planned.name);
        return statusOf(planned.name, planned.digest, view?.mark);
      }),
    ),
  }));
  const { buffers = [], buckets = [] } = looked ?? {};
  const leftovers = [...Object.keys(retired.buffers), ...retired.buckets];
  return {
    generation,
    state,
    digest,
    vertices: placesOf(plan),
    buffers,
    buckets,
    retired: leftovers,
    agrees:
      state === "committed" &&
      leftovers.length === 0 &&
      looked !== undefined &&
      [...buffers, ...buckets].every(({ agrees }) => agrees),
  };
}
