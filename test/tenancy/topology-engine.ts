/** What Pulumi's engine does with a pipeline's topology: acts in the order of dependencies, and notes what came of each one. */
import assert from "node:assert/strict";
import { type TopologyPlan, topologyOf } from "../../components/plan/topology.ts";
import { op } from "../../components/stores/etcd-txn.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { lookInside } from "../../components/tenancy/act.ts";
import { type BucketRequest, closeBucket, openBucket } from "../../components/tenancy/bucket.ts";
import { type BufferRequest, closeBuffer, needsReplacement, openBuffer } from "../../components/tenancy/buffer.ts";
import { type Gate, isLeaving, passForGood, passGate } from "../../components/tenancy/drain.ts";
import { readClaim } from "../../components/tenancy/registry.ts";
import { beginTopology, commitTopology, endTopology } from "../../components/tenancy/topology.ts";
import { actKey, readPlan, readTopology } from "../../components/tenancy/topology-record.ts";
import type { Tenant } from "./scene.ts";

/** A namespace without pods. */
const NAMESPACE = "topology-has-no-pods";

export interface Wanted {
  plan: TopologyPlan;
  phase: "Running" | "Paused";
  discard?: boolean;
  graceSeconds?: number;
}

/** What is in Pulumi's state. */
export interface State {
  topology?: { generation: number; plan: TopologyPlan; discard: boolean };
  buffers: Record<string, BufferRequest>;
  buckets: Record<string, BucketRequest>;
  gate?: Gate & { outcome: string };
  /** The generation that was committed. */
  committed?: string;
}

export const newState = (): State => ({ buffers: {}, buckets: {} });

const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

/** `pulumi up`; what it reaches is in the state, also when it fails. */
export async function up(stores: Stores, tenant: Tenant, state: State, wanted: Wanted): Promise<void> {
  const { plan, phase, discard = false, graceSeconds = 0 } = wanted;
  const { account } = tenant.nats;
  const known = await readTopology(stores.etcd, tenant);
  const { topology } = state;
  if (
    !topology ||
    topology.plan.digest !== plan.digest ||
    topology.discard !== discard ||
    known?.record.generation !== topology.generation ||
    known.record.leaving
  )
    state.topology = {
      generation: await beginTopology(stores, tenant, { plan, discard, base: topology?.generation ?? 0 }),
      plan,
      discard,
    };
  const topologyGeneration = state.topology?.generation ?? assert.fail();

  const keep = async () => {
    for (const { name, config, digest } of Object.values(plan.buffers)) {
      const request: BufferRequest = { account, name, config, digest, topologyGeneration };
      const old = state.buffers[name];
      if (old && needsReplacement(old.config, config)) {
        await closeBuffer(stores, tenant, old);
        delete state.buffers[name];
      }
      if (!same(state.buffers[name], request)) await openBuffer(stores, tenant, request);
      state.buffers[name] = request;
    }
    for (const { name, replicas, digest } of Object.values(plan.buckets)) {
      const request: BucketRequest = { account, name, replicas, digest, topologyGeneration };
      if (!same(state.buckets[name], request)) await openBucket(stores, tenant, request);
      state.buckets[name] = request;
    }
  };
  const pass = async () => {
    const gate: Gate = { account, namespace: NAMESPACE, phase, sources: ["in"], buffers: Object.keys(plan.buffers) };
    const { outcome: _, ...noted } = state.gate ?? {};
    if (same(noted, gate) && !(await isLeaving(stores, tenant))) return;
    const buffers = [...new Set([...(state.gate?.buffers ?? []), ...gate.buffers])];
    const grace = state.gate?.phase === "Paused" ? 0 : graceSeconds;
    state.gate = { ...gate, outcome: await passGate(stores, tenant, { ...gate, buffers }, grace) };
  };
  for (const step of phase === "Running" ? [keep, pass] : [pass, keep]) await step();

  const committed = `${topologyGeneration} ${phase}`;
  const request = { topologyGeneration, account, namespace: NAMESPACE, phase, graceSeconds };
  if (state.committed !== committed) await commitTopology(stores, tenant, request);
  state.committed = committed;

  for (const [name, buffer] of Object.entries(state.buffers)) {
    if (name in plan.buffers) continue;
    await closeBuffer(stores, tenant, buffer);
    delete state.buffers[name];
  }
  for (const [name, bucket] of Object.entries(state.buckets)) {
    if (name in plan.buckets) continue;
    await closeBucket(stores, tenant, bucket);
    delete state.buckets[name];
  }
}

/** The part of `pulumi destroy` that has to do with the topology. */
export async function down(stores: Stores, tenant: Tenant, state: State, graceSeconds = 0): Promise<void> {
  if (state.gate) await passForGood(stores, tenant, state.gate, graceSeconds);
  delete state.gate;
  for (const [name, buffer] of Object.entries(state.buffers)) {
    await closeBuffer(stores, tenant, buffer);
    delete state.buffers[name];
  }
  for (const [name, bucket] of Object.entries(state.buckets)) {
    await closeBucket(stores, tenant, bucket);
    delete state.buckets[name];
  }
  if (state.topology) await endTopology(stores, tenant);
  delete state.topology;
  delete state.committed;
}

/** `pulumi refresh`, of the topology's record. */
export async function refresh(stores: Stores, tenant: Tenant, state: State): Promise<void> {
  const topology = await readTopology(stores.etcd, tenant);
  const plan = await readPlan(stores.etcd, tenant);
  if (!topology || !plan) delete state.topology;
  else {
    const { generation, discard } = topology.record;
    state.topology = { generation, plan, discard };
  }
}

/** Lets the credentials of acts that were killed end: nobody of this process is left to use them. */
export async function passActs({ etcd }: Stores, { generation }: Tenant): Promise<void> {
  const key = actKey(generation);
  if (await etcd.get(key)) await etcd.txn([], [op.put(key, JSON.stringify({ until: 0 }))]);
}

/** @param vertices their partitions, by name; `in` is a source and `out` a sink */
export function planOf(
  vertices: Record<string, number>,
  edges: string[],
  buffers: Partial<NonNullable<Parameters<typeof topologyOf>[0]["buffers"]>> = {},
): TopologyPlan {
  const kindOf = (name: string) => (name === "in" ? "source" : name === "out" ? "sink" : "processor");
  const plan = topologyOf({
    vertices: Object.fromEntries(
      Object.entries(vertices).map(([name, partitions]) => [name, { kind: kindOf(name), partitions }]),
    ),
    edges: edges.map((each) => {
      const [from = "", to = ""] = each.split(">");
      return { from, to, edge: "stream" as const };
    }),
    buffers: { replicas: 1, ...buffers },
  });
  return plan ?? assert.fail();
}

/** Room for the plans below, and for what leaves them. */
export const SHARE = { memoryBytes: 0, diskBytes: 2 ** 28, streams: 50, consumers: 50 };

/** Plans that the suites change between. */
export const plans = {
  straight: planOf({ in: 1, out: 1 }, ["in>out"]),
  through: planOf({ in: 1, cat: 1, out: 1 }, ["in>cat", "cat>out"]),
  wide: planOf({ in: 1, cat: 2, out: 1 }, ["in>cat", "cat>out"], {
    maxMessages: 40_000,
    maxAckPending: 1_000,
  }),
  forked: planOf({ in: 1, cat: 1, dog: 1, out: 1 }, ["in>cat", "in>dog", "cat>out", "dog>out"]),
  queued: planOf({ in: 1, out: 1 }, ["in>out"], { retention: "workqueue" }),
};

/** The account has what the plan has, as it has it, and nothing else; and everybody is told so. */
export async function assertIs(stores: Stores, tenant: Tenant, plan: TopologyPlan): Promise<void> {
  const { record } = (await readTopology(stores.etcd, tenant)) ?? assert.fail("no topology in the registry");
  assert.equal(record.state, "committed");
  assert.equal(record.digest, plan.digest);
  assert.deepEqual(record.retired, { buffers: {}, buckets: [] });
  assert.deepEqual(await readPlan(stores.etcd, tenant), JSON.parse(JSON.stringify(plan)));
  const names = (await (await stores.nats()).streams(tenant.nats.account)).map(({ name }) => name).sort();
  const wanted = [...Object.keys(plan.buffers), ...Object.keys(plan.buckets).map((name) => `KV_${name}_OT`)];
  assert.deepEqual(names, wanted.sort());
  const claim = (await readClaim(stores.etcd, tenant.logicalName))?.claim;
  const looked = await lookInside(stores, { ...tenant, claim }, tenant.nats.account, async (jetStream) => {
    for (const { name, config, digest } of Object.values(plan.buffers)) {
      const view = await jetStream.buffer(name);
      assert.deepEqual(view && { config: view.config, mark: view.mark, hasConsumer: view.hasConsumer }, {
        config,
        mark: { generation: record.generation, digest },
        hasConsumer: true,
      });
    }
    for (const { name, replicas, digest } of Object.values(plan.buckets))
      assert.deepEqual(await jetStream.bucket(name), { replicas, mark: { generation: record.generation, digest } });
    return true;
  });
  assert(looked);
}
