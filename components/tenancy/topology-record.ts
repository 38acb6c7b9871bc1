/** What the registry has of a tenant's topology: a small record that every act compares, and beside it the whole plan. */
import { hostname } from "node:os";
import type { TopologyPlan } from "../plan/topology.ts";
import { packed, unpacked } from "../plan/topology-size.ts";
import { VisibleError } from "../plan/visible-error.ts";
import type { Etcd } from "../stores/etcd.ts";
import { type Compare, type Operation, op, spanOf, when } from "../stores/etcd-txn.ts";
import type { TenantRef } from "./live-claim.ts";
import { type Claim, keys } from "./registry.ts";

/** A tenant's topology, as it is or is being made. */
export interface TopologyRecord {
  /** Counts the tenant's topologies. */
  generation: number;
  /** `none`: the topology was taken away, the tenant stays. */
  state: "applying" | "committed" | "none";
  /** The plan's. */
  digest: string;
  /** The generation that Pulumi's state had when the plan was computed; 0 for none. */
  base: number;
  /** Let unread messages go with what leaves the topology. */
  discard: boolean;
  /** The gate's deletion is through: whatever is left may go. */
  leaving: boolean;
  /** What left the topology and may still be there: buffer → the vertex that reads it, and buckets. */
  retired: Retired;
  /** While it is applied: digest of each vertex' place in the topology before, whose pods go on until theirs have come. */
  before: Record<string, string>;
  /** Who wrote it and when, for people. */
  host: string;
  at: string;
}

export interface Retired {
  buffers: Record<string, string>;
  buckets: string[];
}

/** A record as it was read. */
export interface SeenTopology {
  record: TopologyRecord;
  modRevision: string;
}

export const NOTHING_RETIRED: Retired = { buffers: {}, buckets: [] };

const recordKey = (generation: string) => `${keys.topology(generation)}record`;
const planKey = (generation: string) => `${keys.topology(generation)}plan`;
/** An act inside the account that has begun and not ended. */
export const actKey = (generation: string) => `${keys.topology(generation)}act`;

/** For the tenant's own software, below its prefix. */
const copyKey = ({ intents }: Claim) => `${intents.prefix}ringfence/topology`;

export async function readTopology(
  etcd: Etcd,
  { generation }: Pick<TenantRef, "generation">,
): Promise<SeenTopology | undefined> {
  const entry = await etcd.get(recordKey(generation));
  return entry && { record: JSON.parse(entry.value) as TopologyRecord, modRevision: entry.modRevision };
}

/** The plan of the topology that the record tells of; undefined when there is none. */
export async function readPlan(
  etcd: Etcd,
  { generation }: Pick<TenantRef, "generation">,
): Promise<TopologyPlan | undefined> {
  const entry = await etcd.get(planKey(generation));
  return entry && unpacked(entry.value);
}

/** Holds while the record is as it was read, or still lacking. */
export const sameTopology = ({ generation }: TenantRef, seen: SeenTopology | undefined): Compare =>
  seen ? when.unchanged(recordKey(generation), seen.modRevision) : when.absent(recordKey(generation));

/** Writes the record alone. */
export const putRecord = ({ generation }: TenantRef, record: TopologyRecord): Operation =>
  op.put(recordKey(generation), JSON.stringify(record));

/** Writes all there is of a topology: the record, the plan, and the copy that the tenant's own software reads. */
export const putTopology = (
  tenant: TenantRef,
  claim: Claim,
  record: TopologyRecord,
  plan: TopologyPlan,
): Operation[] => [
  putRecord(tenant, record),
  op.put(planKey(tenant.generation), packed(plan)),
  putCopy(claim, record, placesOf(plan)),
];

export function putCopy(claim: Claim, record: TopologyRecord, vertices: Record<string, string>): Operation {
  const { generation, digest, state, before } = record;
  return op.put(
    copyKey(claim),
    JSON.stringify({ generation, digest, state, vertices, ...(state === "applying" && { before }) }),
  );
}

/** Takes plan and copy away; the record stays, for it counts. */
export const removePlan = ({ generation }: TenantRef, claim: Claim): Operation[] => [
  op.remove(planKey(generation)),
  op.remove(copyKey(claim)),
];

/** Takes everything away: part of the transaction that gives the claim up. */
export const removeTopology = (generation: string): Operation => op.removeAll(spanOf(keys.topology(generation)));

/** Digest of each vertex' place. */
export const placesOf = (plan: TopologyPlan | undefined): Record<string, string> =>
  Object.fromEntries(Object.entries(plan?.vertices ?? {}).map(([vertex, { digest }]) => [vertex, digest]));

/** What a record says of its writer. */
export const written = () => ({ host: hostname(), at: new Date().toISOString() });

/** @returns the error of whoever computed its topology from another generation than the registry's */
export function outdated({ logicalName }: TenantRef, computed: string, seen: SeenTopology | undefined): VisibleError {
  const found = seen
    ? `generation ${seen.record.generation} (${seen.record.state}, digest ${seen.record.digest}, written by ${seen.record.host} at ${seen.record.at})`
    : "none";
  return new VisibleError(
    `tenant '${logicalName}': its topology in the registry is ${found}, and ${computed}, so it writes nothing: ` +
      "run 'pulumi refresh', then 'pulumi up' again, which computes everything anew",
  );
}

/**
 * The topology that an act belongs to.
 * @throws VisibleError when the registry has another generation by now
 */
export async function requireCurrent(etcd: Etcd, tenant: TenantRef, generation: number): Promise<SeenTopology> {
  const seen = await readTopology(etcd, tenant);
  if (seen?.record.generation === generation && seen.record.state !== "none") return seen;
  throw outdated(tenant, `this update is part of generation ${generation}`, seen);
}
