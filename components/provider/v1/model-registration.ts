/** Wire contract of `ringfence:ModelRegistration`: its inputs and outputs are in state files in the field. */
import type { dynamic } from "@pulumi/pulumi";
import { z } from "zod";
import { modelNameProblem } from "../../plan/models.ts";
import { named } from "../../plan/numbers.ts";
import { observeModel, type Published, publishModel, withdrawModel } from "../../tenancy/models.ts";
import { changed, checked, known, PART, type PartInputs, partInputs, storesOf, text } from "../wire.ts";

export { configure } from "../wire.ts";

export interface ModelRegistrationInputs extends PartInputs {
  model: string;
  dynamoNamespace: string;
  /** The Kubernetes namespace. */
  namespace: string;
  url: string;
  /** Whether it is registered at all: a paused pipeline serves nothing. */
  serving: boolean;
  legacyAlias: boolean;
}

/** `since` is empty while it is not registered. */
export type ModelRegistrationState = ModelRegistrationInputs & Published;

const flag = known(z.boolean("expected true or false"));
const schema = z.object({
  ...partInputs,
  model: known(named(modelNameProblem)),
  dynamoNamespace: text,
  namespace: text,
  url: text,
  serving: flag,
  legacyAlias: flag,
});

/** What the registry has of it, beside the tenant's own names. */
const SAID = ["dynamoNamespace", "namespace", "url", "legacyAlias"] as const;

export const check = async (_olds: ModelRegistrationInputs, news: ModelRegistrationInputs) => checked(schema, news);

export async function diff(
  _id: string,
  olds: ModelRegistrationState,
  news: ModelRegistrationInputs,
): Promise<dynamic.DiffResult> {
  const replaces = changed(olds, news, [...PART, "model"]);
  if (replaces.length > 0) return { changes: true, replaces, deleteBeforeReplace: true };
  const updates = changed(olds, news, [...SAID, "serving", "stub"]);
  const drifted = updates.length === 0 && (await drift(olds));
  return { changes: updates.length > 0 || drifted, replaces, deleteBeforeReplace: true };
}

/** Whether the registry says something else than the state: a run was killed, or somebody acted by hand. */
async function drift(olds: ModelRegistrationState): Promise<boolean> {
  const found = await observeModel(await storesOf(olds), olds, olds.model);
  return olds.serving ? !found || changed(olds, found, SAID).length > 0 : found !== undefined;
}

export async function create(inputs: ModelRegistrationInputs): Promise<dynamic.CreateResult> {
  return { id: `${inputs.model}#${inputs.generation}`, outs: { ...inputs, ...(await act(inputs)) } };
}

export async function read(id: string, props: ModelRegistrationState): Promise<dynamic.ReadResult> {
  // Another state than ours is for the next `up` to mend, which looks for itself.
  return { id, props };
}

export async function update(
  _id: string,
  _olds: ModelRegistrationState,
  news: ModelRegistrationInputs,
): Promise<dynamic.UpdateResult> {
  return { outs: { ...news, ...(await act(news)) } };
}

async function act(inputs: ModelRegistrationInputs): Promise<Published> {
  const stores = await storesOf(inputs);
  const { model, dynamoNamespace, namespace, url, legacyAlias, serving } = inputs;
  if (serving) return publishModel(stores, inputs, { model, dynamoNamespace, namespace, url, legacyAlias });
  await withdrawModel(stores, inputs, model);
  return { since: "", foreign: [] };
}

async function remove(_id: string, props: ModelRegistrationState): Promise<void> {
  await withdrawModel(await storesOf(props), props, props.model);
}

export { remove as delete };
