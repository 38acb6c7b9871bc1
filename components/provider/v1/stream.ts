/** Wire contract of `ringfence:Stream`: its inputs are in state files in the field. */
import type { dynamic } from "@pulumi/pulumi";
import { z } from "zod";
import type { BufferPlan } from "../../plan/topology.ts";
import { closeBuffer, needsReplacement, observeBuffer, openBuffer } from "../../tenancy/buffer.ts";
import {
  type AccountPartInputs,
  accountPartInputs,
  changed,
  checked,
  isKnown,
  known,
  PART,
  storesOf,
  text,
} from "../wire.ts";

export { configure } from "../wire.ts";

export interface StreamInputs extends AccountPartInputs {
  name: string;
  config: BufferPlan["config"];
  digest: string;
  topologyGeneration: number;
}

const schema = z.object({
  ...accountPartInputs,
  name: text,
  config: known(z.looseObject({ retention: known(z.enum(["limits", "workqueue", "interest"])) })),
  digest: known(z.string()),
  topologyGeneration: known(z.number()),
});

export const check = async (_olds: StreamInputs, news: StreamInputs) => checked(schema, news);

export async function diff(_id: string, olds: StreamInputs, news: StreamInputs): Promise<dynamic.DiffResult> {
  const moved = changed(olds, news, [...PART, "account", "name"]);
  const remade = isKnown(news.config) && needsReplacement(olds.config, news.config);
  const replaces: string[] = [...moved, ...(remade ? ["config"] : [])];
  const updates = changed(olds, news, ["config", "digest", "topologyGeneration", "stub"]);
  return { changes: replaces.length + updates.length > 0, replaces, deleteBeforeReplace: true };
}

export async function create(inputs: StreamInputs): Promise<dynamic.CreateResult> {
  await openBuffer(await storesOf(inputs), inputs, inputs);
  return { id: `${inputs.account}/${inputs.name}`, outs: inputs };
}

export async function read(id: string, props: StreamInputs): Promise<dynamic.ReadResult> {
  const seen = await observeBuffer(await storesOf(props), props, props);
  if (seen === "unknown") return { id, props };
  if (!seen) return { id: "", props: {} };
  // Without its consumer it shows a wait and a limit of 0: drift that `up` makes right.
  return {
    id,
    props: { ...props, config: seen.config, digest: seen.mark.digest, topologyGeneration: seen.mark.generation },
  };
}

export async function update(_id: string, _olds: StreamInputs, news: StreamInputs): Promise<dynamic.UpdateResult> {
  await openBuffer(await storesOf(news), news, news);
  return { outs: news };
}

async function remove(_id: string, props: StreamInputs): Promise<void> {
  await closeBuffer(await storesOf(props), props, props);
}

export { remove as delete };
