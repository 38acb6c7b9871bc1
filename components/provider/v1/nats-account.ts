/** Wire contract of `ringfence:NatsAccount`: its inputs and outputs are in state files in the field. */
import type { dynamic } from "@pulumi/pulumi";
import { z } from "zod";
import { jetStreamSpec } from "../../plan/spec.ts";
import { expectedAccount, fenceAccount, type OpenAccount, observeAccount, openAccount } from "../../tenancy/account.ts";
import { standing } from "../../tenancy/live-claim.ts";
import { changed, checked, known, partInputs, storesOf } from "../wire.ts";

export { configure } from "../wire.ts";

export interface NatsAccountInputs {
  platform: string;
  owner: string;
  logicalName: string;
  generation: string;
  users: string[];
  jetStream: z.output<typeof jetStreamSpec>;
  stub?: number;
}

export type NatsAccountState = NatsAccountInputs & OpenAccount;

const { memoryBytes, diskBytes, streams, consumers } = jetStreamSpec.shape;
const schema = z.object({
  ...partInputs,
  users: known(z.array(z.string())),
  jetStream: known(
    z.strictObject({
      memoryBytes: known(memoryBytes),
      diskBytes: known(diskBytes),
      streams: known(streams),
      consumers: known(consumers),
    }),
  ),
});

export const check = async (_olds: NatsAccountInputs, news: NatsAccountInputs) => checked(schema, news);

export async function diff(_id: string, olds: NatsAccountState, news: NatsAccountInputs): Promise<dynamic.DiffResult> {
  const replaces = changed(olds, news, ["platform", "owner", "logicalName", "generation"]);
  if (replaces.length > 0) return { changes: true, replaces, deleteBeforeReplace: true };
  const drift = changed(olds, { ...expectedAccount(news.jetStream) }, [
    "limits",
    "revocations",
    "imports",
    "exports",
    "others",
  ]);
  const updates = [...drift, ...changed(olds, news, ["users", "jetStream", "stub"])];
  // A destroy was killed after it had fenced this part, and before Pulumi noted that.
  const fenced = (await standing(await storesOf(olds), olds))?.made.nats === false;
  return { changes: updates.length > 0 || fenced, replaces, deleteBeforeReplace: true };
}

export async function create(inputs: NatsAccountInputs): Promise<dynamic.CreateResult> {
  const opened = await openAccount(await storesOf(inputs), inputs, inputs);
  return { id: opened.account, outs: { ...inputs, ...opened } };
}

export async function read(id: string, props: NatsAccountState): Promise<dynamic.ReadResult> {
  const observed = await observeAccount(await storesOf(props), props.account);
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
  const request = { ...news, existing: { seed: olds.seed, creds: olds.creds } };
  return { outs: { ...news, ...(await openAccount(await storesOf(news), news, request)) } };
}

async function remove(_id: string, props: NatsAccountState): Promise<void> {
  await fenceAccount(await storesOf(props), props, props.account);
}

export { remove as delete };
