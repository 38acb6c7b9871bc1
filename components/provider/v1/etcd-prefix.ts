/** Wire contract of `ringfence:EtcdPrefix`: its inputs and outputs are in state files in the field. */
import type { dynamic } from "@pulumi/pulumi";
import { z } from "zod";
import { standing } from "../../tenancy/live-claim.ts";
import { expectedPrefix, fencePrefix, type OpenPrefix, observePrefix, openPrefix } from "../../tenancy/prefix.ts";
import { changed, checked, PART, type PartInputs, partInputs, rotated, rotationInput, storesOf } from "../wire.ts";

export { configure } from "../wire.ts";

export interface EtcdPrefixInputs extends PartInputs {
  /** Another one hands another user out; since 0.2.0. */
  rotation?: string;
}

/** Version 0.1.0 had no `role`: it was the user's name. */
export type EtcdPrefixState = EtcdPrefixInputs & Omit<OpenPrefix, "role"> & { role?: string };

const schema = z.object({ ...partInputs, ...rotationInput });

export const check = async (_olds: EtcdPrefixInputs, news: EtcdPrefixInputs) => checked(schema, news);

export async function diff(_id: string, olds: EtcdPrefixState, news: EtcdPrefixInputs): Promise<dynamic.DiffResult> {
  const replaces = changed(olds, news, PART);
  if (replaces.length > 0) return { changes: true, replaces, deleteBeforeReplace: true };
  const drift = changed(olds, { ...expectedPrefix(bound(olds)) }, ["permissions", "roles"]);
  const updates = [...drift, ...changed(olds, news, ["stub"]), ...rotated(olds, news)];
  // A destroy was killed after it had fenced this part, and before Pulumi noted that.
  const fenced = (await standing(await storesOf(olds), olds))?.made.etcd === false;
  return { changes: updates.length > 0 || fenced, replaces, deleteBeforeReplace: true };
}

export async function create(inputs: EtcdPrefixInputs): Promise<dynamic.CreateResult> {
  const opened = await openPrefix(await storesOf(inputs), inputs);
  return { id: opened.username, outs: { ...inputs, ...opened } };
}

export async function read(id: string, props: EtcdPrefixState): Promise<dynamic.ReadResult> {
  return { id, props: { ...props, ...(await observePrefix(await storesOf(props), bound(props))) } };
}

export async function update(
  _id: string,
  olds: EtcdPrefixState,
  news: EtcdPrefixInputs,
): Promise<dynamic.UpdateResult> {
  const request = { existing: olds, rotate: rotated(olds, news).length > 0 };
  return { outs: { ...news, ...(await openPrefix(await storesOf(news), news, request)) } };
}

const bound = <T extends EtcdPrefixState>(state: T) => ({ ...state, role: state.role ?? state.username });

async function remove(_id: string, props: EtcdPrefixState): Promise<void> {
  await fencePrefix(await storesOf(props), props);
}

export { remove as delete };
