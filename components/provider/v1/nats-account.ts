/** Wire contract of `ringfence:NatsAccount`: its inputs and outputs are in state files in the field. */
import type { dynamic } from "@pulumi/pulumi";
import { z } from "zod";
import type { jetStreamSpec } from "../../plan/spec.ts";
import { expectedAccount, fenceAccount, type OpenAccount, observeAccount, openAccount } from "../../tenancy/account.ts";
import { formerClaim, standing } from "../../tenancy/live-claim.ts";
import {
  changed,
  checked,
  jetStreamInput,
  known,
  PART,
  type PartInputs,
  partInputs,
  rotated,
  rotationInput,
  storesOf,
} from "../wire.ts";

export { configure } from "../wire.ts";

export interface NatsAccountInputs extends PartInputs {
  users: string[];
  jetStream: z.output<typeof jetStreamSpec>;
  /** Another one hands other users out, signed by another key; since 0.2.0. */
  rotation?: string;
}

/** Version 0.1.0 had no signing keys: the account's own seed signed its users. */
export type NatsAccountState = NatsAccountInputs &
  Omit<OpenAccount, "signingKey" | "signingSeed"> & {
    signingKey?: string;
    signingSeed?: string;
  };

const schema = z.object({
  ...partInputs,
  ...rotationInput,
  users: known(z.array(z.string())),
  jetStream: jetStreamInput,
});

export const check = async (_olds: NatsAccountInputs, news: NatsAccountInputs) => checked(schema, news);

export async function diff(_id: string, olds: NatsAccountState, news: NatsAccountInputs): Promise<dynamic.DiffResult> {
  const replaces = changed(olds, news, PART);
  if (replaces.length > 0) return { changes: true, replaces, deleteBeforeReplace: true };
  const drift = changed(olds, { ...expectedAccount(news.jetStream) }, [
    "limits",
    "revocations",
    "imports",
    "exports",
    "others",
  ]);
  const updates = [...drift, ...changed(olds, news, ["users", "jetStream", "stub"]), ...rotated(olds, news)];
  // A destroy was killed after it had fenced this part, and before Pulumi noted that.
  const fenced = (await standing(await storesOf(olds), olds))?.made.nats === false;
  return { changes: updates.length > 0 || fenced, replaces, deleteBeforeReplace: true };
}

export async function create(inputs: NatsAccountInputs): Promise<dynamic.CreateResult> {
  const opened = await openAccount(await storesOf(inputs), inputs, inputs);
  return { id: opened.account, outs: { ...inputs, ...opened } };
}

export async function read(id: string, props: NatsAccountState): Promise<dynamic.ReadResult> {
  const stores = await storesOf(props);
  const observed = await observeAccount(stores, props.account, await formerClaim(stores, props));
  // An account that somebody deleted shows as drift of its limits: the claim still names it, so `up` pushes it again.
  return {
    id,
    props: { ...props, ...(observed ?? { limits: {}, revocations: 0, imports: 0, exports: 0, others: [] }) },
  };
}

export async function update(
  _id: string,
  olds: NatsAccountState,
  news: NatsAccountInputs,
): Promise<dynamic.UpdateResult> {
  const request = { ...news, existing: olds, rotate: rotated(olds, news).length > 0 };
  return { outs: { ...news, ...(await openAccount(await storesOf(news), news, request)) } };
}

async function remove(_id: string, props: NatsAccountState): Promise<void> {
  await fenceAccount(await storesOf(props), props, props.account);
}

export { remove as delete };
