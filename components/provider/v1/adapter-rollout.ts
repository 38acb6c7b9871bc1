/** Wire contract of `ringfence:AdapterRollout`: its inputs are in state files in the field. */
import type { dynamic } from "@pulumi/pulumi";
import { z } from "zod";
import { type AdapterRecord, adapterRecord } from "../../plan/adapter.ts";
import { parse } from "../../plan/problem.ts";
import { look, type RolledOut, rollOut } from "../../tenancy/adapter-rollout.ts";
import { changed, checked, known, storesOf, tenantInputs, text } from "../wire.ts";

export { configure } from "../wire.ts";

export interface AdapterRolloutInputs {
  platform: string;
  /** The tenant's generation. */
  generation: string;
  namespace: string;
  vertex: string;
  /** What shall serve, as JSON. */
  record: string;
  minReady: number;
  pods: number;
  timeoutSeconds: number;
  stub?: number;
}

interface Outputs extends AdapterRolloutInputs, Pick<RolledOut, "problem" | "wanted" | "loaded" | "ready"> {
  /** What serves, as JSON. */
  serving: string;
}

const number = known(z.int().min(0));
const { platform, stub } = tenantInputs;
const schema = z.object({
  platform,
  stub,
  generation: text,
  namespace: text,
  vertex: text,
  record: text,
  minReady: number,
  pods: number,
  timeoutSeconds: number,
});

export const check = async (_olds: AdapterRolloutInputs, news: AdapterRolloutInputs) => checked(schema, news);

export async function diff(_id: string, olds: Outputs, news: AdapterRolloutInputs): Promise<dynamic.DiffResult> {
  const replaces = changed(olds, news, ["platform", "generation", "vertex"]);
  const updates = changed(olds, news, ["namespace", "record", "minReady", "pods", "timeoutSeconds", "stub"]);
  // What did not come the last time may come now.
  const outstanding = olds.problem !== "";
  return { changes: outstanding || replaces.length + updates.length > 0, replaces, deleteBeforeReplace: true };
}

export async function create(inputs: AdapterRolloutInputs): Promise<dynamic.CreateResult> {
  const outs = await rolled(inputs);
  return { id: `${inputs.generation}#${recordOf(inputs.record).adapter}`, outs };
}

export async function read(id: string, props: Outputs): Promise<dynamic.ReadResult> {
  const { wanted, loaded, ready } = await look(await storesOf(props), { ...props, record: recordOf(props.record) });
  return { id, props: { ...props, wanted, loaded, ready } };
}

export async function update(_id: string, olds: Outputs, news: AdapterRolloutInputs): Promise<dynamic.UpdateResult> {
  return { outs: await rolled(news, recordOf(olds.serving)) };
}

/** Nothing: the Service goes before it, and what is wanted after it. */
async function remove(): Promise<void> {}

export { remove as delete };

async function rolled(inputs: AdapterRolloutInputs, earlier?: AdapterRecord): Promise<Outputs> {
  const rollout = { ...inputs, record: recordOf(inputs.record) };
  const { serving, ...outcome } = await rollOut(await storesOf(inputs), rollout, earlier);
  return { ...inputs, serving: JSON.stringify(serving), ...outcome };
}

const recordOf = (json: string): AdapterRecord => parse(adapterRecord, JSON.parse(json), "record");
