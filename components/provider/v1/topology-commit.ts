/** Wire contract of `ringfence:TopologyCommit`: its inputs are in state files in the field. */
import type { dynamic } from "@pulumi/pulumi";
import { z } from "zod";
import type { Phase } from "../../plan/spec.ts";
import { commitTopology } from "../../tenancy/topology.ts";
import { type AccountPartInputs, accountPartInputs, changed, checked, known, PART, storesOf, text } from "../wire.ts";

export { configure } from "../wire.ts";

export interface TopologyCommitInputs extends AccountPartInputs {
  topologyGeneration: number;
  namespace: string;
  phase: Phase;
  graceSeconds: number;
}

const schema = z.object({
  ...accountPartInputs,
  topologyGeneration: known(z.number()),
  namespace: text,
  phase: known(z.enum(["Running", "Paused"])),
  graceSeconds: known(z.number()),
});

export const check = async (_olds: TopologyCommitInputs, news: TopologyCommitInputs) => checked(schema, news);

export async function diff(
  _id: string,
  olds: TopologyCommitInputs,
  news: TopologyCommitInputs,
): Promise<dynamic.DiffResult> {
  const replaces = changed(olds, news, PART);
  const updates = changed(olds, news, ["topologyGeneration", "account", "namespace", "phase", "graceSeconds", "stub"]);
  return { changes: replaces.length + updates.length > 0, replaces, deleteBeforeReplace: true };
}

export async function create(inputs: TopologyCommitInputs): Promise<dynamic.CreateResult> {
  await commitTopology(await storesOf(inputs), inputs, inputs);
  return { id: `${inputs.logicalName}#${inputs.generation}`, outs: inputs };
}

export const read = async (id: string, props: TopologyCommitInputs): Promise<dynamic.ReadResult> => ({ id, props });

export async function update(
  _id: string,
  _olds: TopologyCommitInputs,
  news: TopologyCommitInputs,
): Promise<dynamic.UpdateResult> {
  await commitTopology(await storesOf(news), news, news);
  return { outs: news };
}

/** Nothing: there is nothing to take back. */
async function remove(): Promise<void> {}

export { remove as delete };
