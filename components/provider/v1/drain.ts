/** Wire contract of `ringfence:Drain`: its inputs and outputs are in state files in the field. */
import type { dynamic } from "@pulumi/pulumi";
import { z } from "zod";
import type { Phase } from "../../plan/spec.ts";
import { isLeaving, passForGood, passGate } from "../../tenancy/drain.ts";
import { type AccountPartInputs, accountPartInputs, changed, checked, known, PART, storesOf, text } from "../wire.ts";

export { configure } from "../wire.ts";

export interface DrainInputs extends AccountPartInputs {
  namespace: string;
  phase: Phase;
  sources: string[];
  buffers: string[];
  graceSeconds: number;
  deletionGraceSeconds: number;
}

export type DrainState = DrainInputs & { outcome: string };

const names = known(z.array(known(z.string())));
const schema = z.object({
  ...accountPartInputs,
  namespace: text,
  phase: known(z.enum(["Running", "Paused"])),
  sources: names,
  buffers: names,
  graceSeconds: known(z.number()),
  deletionGraceSeconds: known(z.number()),
});

export const check = async (_olds: DrainInputs, news: DrainInputs) => checked(schema, news);

export async function diff(_id: string, olds: DrainState, news: DrainInputs): Promise<dynamic.DiffResult> {
  const replaces = changed(olds, news, PART);
  const wanted = ["account", "namespace", "phase", "sources", "buffers"] as const;
  const updates = changed(olds, news, [...wanted, "graceSeconds", "deletionGraceSeconds", "stub"]);
  // A destroy was killed after this gate, and before Pulumi noted that.
  const leaving = replaces.length === 0 && (await isLeaving(await storesOf(olds), olds));
  return { changes: replaces.length + updates.length > 0 || leaving, replaces, deleteBeforeReplace: true };
}

export async function create(inputs: DrainInputs): Promise<dynamic.CreateResult> {
  const outcome = await passGate(await storesOf(inputs), inputs, inputs, inputs.graceSeconds);
  return { id: `${inputs.logicalName}#${inputs.generation}`, outs: { ...inputs, outcome } };
}

export const read = async (id: string, props: DrainState): Promise<dynamic.ReadResult> => ({ id, props });

export async function update(_id: string, olds: DrainState, news: DrainInputs): Promise<dynamic.UpdateResult> {
  // What is paused already has nobody who reads: to wait would be in vain.
  const graceSeconds = olds.phase === "Paused" ? 0 : news.graceSeconds;
  // With the topology before, too: a change of it may come together with the pause.
  const both = (name: "sources" | "buffers") => [...new Set([...olds[name], ...news[name]])];
  const gate = { ...news, sources: both("sources"), buffers: both("buffers") };
  return { outs: { ...news, outcome: await passGate(await storesOf(news), news, gate, graceSeconds) } };
}

async function remove(_id: string, props: DrainState): Promise<void> {
  await passForGood(await storesOf(props), props, props, props.deletionGraceSeconds);
}

export { remove as delete };
