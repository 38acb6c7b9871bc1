/** Wire contract of `ringfence:Bucket`: its inputs are in state files in the field. */
import type { dynamic } from "@pulumi/pulumi";
import { z } from "zod";
import { closeBucket, observeBucket, openBucket } from "../../tenancy/bucket.ts";
import { type AccountPartInputs, accountPartInputs, changed, checked, known, PART, storesOf, text } from "../wire.ts";

export { configure } from "../wire.ts";

export interface BucketInputs extends AccountPartInputs {
  name: string;
  replicas: number;
  digest: string;
  topologyGeneration: number;
}

const schema = z.object({
  ...accountPartInputs,
  name: text,
  replicas: known(z.number()),
  digest: known(z.string()),
  topologyGeneration: known(z.number()),
});

export const check = async (_olds: BucketInputs, news: BucketInputs) => checked(schema, news);

export async function diff(_id: string, olds: BucketInputs, news: BucketInputs): Promise<dynamic.DiffResult> {
  const replaces = changed(olds, news, [...PART, "account", "name"]);
  const updates = changed(olds, news, ["replicas", "digest", "topologyGeneration", "stub"]);
  return { changes: replaces.length + updates.length > 0, replaces, deleteBeforeReplace: true };
}

export async function create(inputs: BucketInputs): Promise<dynamic.CreateResult> {
  await openBucket(await storesOf(inputs), inputs, inputs);
  return { id: `${inputs.account}/${inputs.name}`, outs: inputs };
}

export async function read(id: string, props: BucketInputs): Promise<dynamic.ReadResult> {
  const seen = await observeBucket(await storesOf(props), props, props);
  if (seen === "unknown") return { id, props };
  if (!seen) return { id: "", props: {} };
  const { replicas, mark } = seen;
  return { id, props: { ...props, replicas, digest: mark.digest, topologyGeneration: mark.generation } };
}

export async function update(_id: string, _olds: BucketInputs, news: BucketInputs): Promise<dynamic.UpdateResult> {
  await openBucket(await storesOf(news), news, news);
  return { outs: news };
}

async function remove(_id: string, props: BucketInputs): Promise<void> {
  await closeBucket(await storesOf(props), props, props);
}

export { remove as delete };
