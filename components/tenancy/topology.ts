/**
 * A tenant's topology, from one to the next: begun by compare-and-swap with its whole plan before any stream or vertex is
 * touched, committed when every vertex is of it and what left it is drained. See docs/protocol.md.
 */
import { VERTEX_LABEL } from "../plan/labels.ts";
import type { Phase } from "../plan/spec.ts";
import { type TopologyPlan, verticesOfBucket } from "../plan/topology.ts";
import { when } from "../stores/etcd-txn.ts";
import type { Stores } from "./access.ts";
import { actInside, type Held, requireAccount } from "./act.ts";
import { unreadOf } from "./buffer.ts";
import { untilRead } from "./drain.ts";
import { mayDrop } from "./leaving.ts";
import { isLive, type TenantRef, withClaim, withFormerClaim } from "./live-claim.ts";
import { keys } from "./registry.ts";
import {
  NOTHING_RETIRED,
  outdated,
  placesOf,
  putCopy,
  putRecord,
  putTopology,
  type Retired,
  readPlan,
  readTopology,
  removePlan,
  requireCurrent,
  type SeenTopology,
  sameTopology,
  type TopologyRecord,
  written,
} from "./topology-record.ts";

export interface TopologyRequest {
  plan: TopologyPlan;
  /** Let unread messages go with what leaves the topology. */
  discard: boolean;
  /** The generation that Pulumi's state has, from which the change to the plan was computed; 0 for none. */
  base: number;
}

/**
 * Makes the plan the tenant's topology, to be applied. A killed run's that was never committed, and was computed from
 * the same generation, is taken over.
 * @returns its generation
 * @throws VisibleError when the registry has a newer one than the change was computed from
 */
export async function beginTopology(stores: Stores, tenant: TenantRef, request: TopologyRequest): Promise<number> {
  const { plan, discard, base } = request;
  return withClaim(stores, tenant, async (hold, seen) => {
    const { etcd } = stores;
    const current = await readTopology(etcd, tenant);
    requireBase(tenant, current, base);
    const record = current?.record;
    const there = record !== undefined && record.state !== "none";
    if (
      there &&
      record.generation === base &&
      record.digest === plan.digest &&
      record.discard === discard &&
      !record.leaving
    )
      return base;
    const former = there ? await readPlan(etcd, tenant) : undefined;
    const next: TopologyRecord = {
      generation: Math.max(record?.generation ?? 0, base) + 1,
      state: "applying",
      digest: plan.digest,
      base,
      discard,
      leaving: false,
      retired: retiredBy(plan, former, record?.retired),
      // What a killed run was about to do has few pods; those that serve are of what was committed last.
      before: record?.state === "applying" ? record.before : placesOf(former),
      ...written(),
    };
    await hold.write(
      [when.unchanged(keys.claim(tenant.logicalName), seen.modRevision), sameTopology(tenant, current)],
      putTopology(tenant, seen.claim, next, plan),
    );
    return next.generation;
  });
}

/** @throws VisibleError when the change was computed from an older generation than the registry's */
function requireBase(tenant: TenantRef, current: SeenTopology | undefined, base: number): void {
  // One that the registry lacks, or has an older one of, came back from a backup: all is made right from the plan.
  if (!current || current.record.generation <= base) return;
  const { state, base: from } = current.record;
  const killed = state === "applying" && from === base;
  if (killed || (state === "none" && base === 0)) return;
  throw outdated(
    tenant,
    base === 0 ? "this update knows of none" : `this update was computed from generation ${base}`,
    current,
  );
}

/** What earlier plans have and the new one has not. */
function retiredBy(plan: TopologyPlan, former: TopologyPlan | undefined, earlier: Retired = NOTHING_RETIRED): Retired {
  const readers = Object.entries(former?.buffers ?? {}).map(([name, { vertex }]) => [name, vertex] as const);
  const buffers = [...Object.entries(earlier.buffers), ...readers].filter(([name]) => !(name in plan.buffers));
  const buckets = [...earlier.buckets, ...Object.keys(former?.buckets ?? {})].filter((name) => !(name in plan.buckets));
  return { buffers: Object.fromEntries(buffers), buckets: [...new Set(buckets)].sort() };
}

export interface CommitRequest {
  topologyGeneration: number;
  /** The account's public key. */
  account: string;
  /** The tenant's Kubernetes namespace. */
  namespace: string;
  phase: Phase;
  /** How long what left the topology has to drain, seconds; nothing reads it while the phase is Paused. */
  graceSeconds: number;
}

/**
 * Ends a change of the topology, when every vertex is of it and nothing writes to what left it any more: waits until that
 * is drained, deletes what nobody reads any more, and notes the topology as committed. A buffer whose vertex left the
 * topology too is still read: it goes when Pulumi has deleted that.
 * @throws VisibleError when there are unread messages at the end of the grace, or the registry has another topology by now
 */
export async function commitTopology(stores: Stores, tenant: TenantRef, request: CommitRequest): Promise<void> {
  const { etcd } = stores;
  const { topologyGeneration, account } = request;
  const { record } = await requireCurrent(etcd, tenant, topologyGeneration);
  if (!mayDrop(record)) await untilRead(stores, tenant, record.retired.buffers, await readPlan(etcd, tenant), request);
  await withClaim(stores, tenant, async (hold, seen) => {
    const topology = await requireCurrent(etcd, tenant, topologyGeneration);
    requireAccount(tenant, seen.claim, account);
    const plan = await readPlan(etcd, tenant);
    const held = await heldBy(stores, request.namespace, topology.record.retired, plan);
    const retired = await removeRetired(stores, { hold, seen, tenant, topology }, held);
    const committed: TopologyRecord = { ...topology.record, state: "committed", retired, leaving: false, before: {} };
    await hold.write(
      [sameTopology(tenant, topology)],
      [putRecord(tenant, committed), putCopy(seen.claim, committed, placesOf(plan))],
    );
  });
}

/** Of what is retired, what a vertex that left the topology still works with: it has pods. */
async function heldBy(
  stores: Stores,
  namespace: string,
  { buffers, buckets }: Retired,
  plan: TopologyPlan | undefined,
): Promise<Set<string>> {
  const vertices = new Map<string, string[]>([
    ...Object.entries(buffers).map(([name, vertex]): [string, string[]] => [name, [vertex]]),
    ...buckets.map((name): [string, string[]] => [name, verticesOfBucket(name)]),
  ]);
  const leaves = (vertex: string) => !plan?.vertices[vertex];
  if (![...vertices.values()].flat().some(leaves)) return new Set();
  const pods = await (await stores.kubernetes()).pods(namespace, VERTEX_LABEL);
  const alive = new Set(pods.map(({ metadata: { labels } }) => labels?.[VERTEX_LABEL]));
  const held = [...vertices].filter(([, each]) => each.some((vertex) => leaves(vertex) && alive.has(vertex)));
  return new Set(held.map(([name]) => name));
}

/**
 * Deletes what left the topology: also what a killed run had made and Pulumi never learnt of.
 * @param keep names of what stays
 * @returns what is left
 */
async function removeRetired(stores: Stores, held: Held, keep: ReadonlySet<string>): Promise<Retired> {
  const { record } = held.topology as SeenTopology;
  const { buffers, buckets } = record.retired;
  const left: Retired = { buffers: {}, buckets: [] };
  for (const [name, vertex] of Object.entries(buffers)) {
    const gone =
      !keep.has(name) &&
      (await actInside(stores, held, async (jetStream, request) => {
        const found = await jetStream.buffer(name);
        if (found && !mayDrop(record) && unreadOf(found) > 0) return false;
        if (found) await request(() => jetStream.deleteBuffer(name));
        return true;
      }));
    if (!gone) left.buffers[name] = vertex;
  }
  for (const name of buckets) {
    if (keep.has(name)) left.buckets.push(name);
    else
      await actInside(stores, held, async (jetStream, request) => {
        if (await jetStream.bucket(name)) await request(() => jetStream.deleteBucket(name));
      });
  }
  return left;
}

/**
 * Ends the tenant's having a topology, after its streams were deleted: what is left of them goes, as far as it may.
 * The record stays and counts on, so that whoever computed from an older generation goes on losing.
 */
export async function endTopology(stores: Stores, tenant: TenantRef): Promise<void> {
  const { etcd } = stores;
  await withFormerClaim(stores, tenant, isLive, async (hold, seen) => {
    const read = await readTopology(etcd, tenant);
    if (!read || read.record.state === "none") return;
    const plan = await readPlan(etcd, tenant);
    const { buffers, buckets } = retiredBy(EMPTY, plan, read.record.retired);
    const topology = { ...read, record: { ...read.record, retired: { buffers, buckets } } };
    const left = seen.claim.handedOut.account
      ? await removeRetired(stores, { hold, seen, tenant, topology }, new Set())
      : topology.record.retired;
    const ended: TopologyRecord = {
      ...read.record,
      generation: read.record.generation + 1,
      base: read.record.generation,
      state: "none",
      digest: "",
      retired: left,
      before: {},
      ...written(),
    };
    await hold.write([sameTopology(tenant, read)], [putRecord(tenant, ended), ...removePlan(tenant, seen.claim)]);
  });
}

const EMPTY: TopologyPlan = { edges: [], buffers: {}, buckets: {}, vertices: {}, digest: "" };
