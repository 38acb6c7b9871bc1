/** Wire contract of `ringfence:Topology`: its inputs and outputs are in state files in the field. */
import type { dynamic } from "@pulumi/pulumi";
import { z } from "zod";
import type { TopologyPlan } from "../../plan/topology.ts";
import { standing } from "../../tenancy/live-claim.ts";
import { beginTopology, endTopology } from "../../tenancy/topology.ts";
import { readPlan, readTopology } from "../../tenancy/topology-record.ts";
import { changed, checked, isKnown, known, PART, type PartInputs, partInputs, storesOf } from "../wire.ts";

export { configure } from "../wire.ts";

export interface TopologyInputs extends PartInputs {
  plan: TopologyPlan;
  discard?: boolean;
  /**
   * The topology's generation in the registry when the inputs were checked. `pulumi preview --save-plan` keeps it, so that
   * the engine refuses an `up --plan` when another run has changed the topology since.
   */
  computedFrom?: number;
}

export type TopologyState = TopologyInputs & { topologyGeneration: number; digest: string };

const named = z.record(z.string(), z.looseObject({ digest: z.string() }));
const schema = z.object({
  ...partInputs,
  plan: known(
    z.looseObject({ buffers: named, buckets: named, vertices: named, digest: z.string(), edges: z.array(z.unknown()) }),
  ),
  discard: known(z.boolean("expected true or false")).optional(),
  computedFrom: z.number().optional(),
});

export async function check(_olds: TopologyInputs, news: TopologyInputs): Promise<dynamic.CheckResult<TopologyInputs>> {
  const result = checked(schema, news);
  const { platform, generation } = news;
  if ((result.failures?.length ?? 0) > 0 || !isKnown(platform)) return result;
  // The first preview of a tenant does not know it yet, and it has no topology.
  const topology = isKnown(generation) ? await readTopology((await storesOf(news)).etcd, news) : undefined;
  return {
    ...result,
    inputs: { ...(result.inputs as TopologyInputs), computedFrom: topology?.record.generation ?? 0 },
  };
}

export async function diff(_id: string, olds: TopologyState, news: TopologyInputs): Promise<dynamic.DiffResult> {
  const replaces = changed(olds, news, PART);
  if (replaces.length > 0) return { changes: true, replaces, deleteBeforeReplace: true };
  const stores = await storesOf(olds);
  const updates = changed(olds, news, ["plan", "stub"]);
  const discards = (olds.discard ?? false) !== (news.discard ?? false);
  // A run that Pulumi's state knows nothing of has begun another one, or the registry came back from a backup; or a destroy was
  // killed that may have deleted what state still has: another generation has all of it made right.
  const elsewhere = async () => {
    const record = (await readTopology(stores.etcd, olds))?.record;
    return record?.generation !== olds.topologyGeneration || record.leaving;
  };
  const lost = (await standing(stores, olds)) !== undefined && (await elsewhere());
  return { changes: updates.length > 0 || discards || lost, replaces, deleteBeforeReplace: true };
}

export async function create(inputs: TopologyInputs): Promise<dynamic.CreateResult> {
  return { id: `${inputs.logicalName}#${inputs.generation}`, outs: await begin(inputs, 0) };
}

export async function read(id: string, props: TopologyState): Promise<dynamic.ReadResult> {
  const { etcd } = await storesOf(props);
  const topology = await readTopology(etcd, props);
  const plan = await readPlan(etcd, props);
  if (!topology || !plan) return { id: "", props: {} };
  const { generation, digest, discard } = topology.record;
  const { discard: _, ...lasting } = props;
  return { id, props: { ...lasting, ...(discard && { discard }), topologyGeneration: generation, digest, plan } };
}

export async function update(_id: string, olds: TopologyState, news: TopologyInputs): Promise<dynamic.UpdateResult> {
  return { outs: await begin(news, olds.topologyGeneration) };
}

async function begin(inputs: TopologyInputs, base: number): Promise<TopologyState> {
  const { plan, discard = false } = inputs;
  const topologyGeneration = await beginTopology(await storesOf(inputs), inputs, { plan, discard, base });
  return { ...inputs, topologyGeneration, digest: plan.digest };
}

async function remove(_id: string, props: TopologyState): Promise<void> {
  await endTopology(await storesOf(props), props);
}

export { remove as delete };
