/** Wire contract of `ringfence:TenantClaim`: its inputs and outputs are in state files in the field. */
import type { dynamic } from "@pulumi/pulumi";
import { z } from "zod";
import { type Claimed, claimTenant, recordClaim } from "../../tenancy/claim.ts";
import { isReleased } from "../../tenancy/live-claim.ts";
import { release } from "../../tenancy/release.ts";
import { announce, changed, checked, storesOf, tenantInputs } from "../wire.ts";

export { configure } from "../wire.ts";

export interface TenantClaimInputs {
  platform: string;
  owner: string;
  logicalName: string;
  /** Where the claim is made, for people. */
  project: string;
  stack: string;
  resource: string;
  stub?: number;
}

export type TenantClaimState = TenantClaimInputs & Claimed;

const schema = z.object({ ...tenantInputs, project: z.string(), stack: z.string(), resource: z.string() });

export const check = async (_olds: TenantClaimInputs, news: TenantClaimInputs) => checked(schema, news);

export async function diff(_id: string, olds: TenantClaimState, news: TenantClaimInputs): Promise<dynamic.DiffResult> {
  const moved = changed(olds, news, ["platform", "owner", "logicalName"]);
  const released = moved.length === 0 && (await isReleased(await storesOf(olds), olds));
  const replaces = released ? ["generation"] : moved;
  const updates = changed(olds, news, ["project", "stack", "resource", "stub"]);
  // The old tenant goes first: its successor may need the same name, and the same GPUs.
  return { changes: replaces.length + updates.length > 0, replaces, deleteBeforeReplace: true };
}

export async function create(inputs: TenantClaimInputs): Promise<dynamic.CreateResult> {
  const claimed = await claimTenant(await storesOf(inputs), { ...inputs, recorded: recordedIn(inputs) });
  return { id: `${inputs.logicalName}#${claimed.generation}`, outs: { ...inputs, ...claimed } };
}

export async function read(id: string, props: TenantClaimState): Promise<dynamic.ReadResult> {
  // Refused when the registry has never heard of it; one that is released is for the next `up` or `destroy` to finish.
  await isReleased(await storesOf(props), props);
  return { id, props };
}

export async function update(
  _id: string,
  olds: TenantClaimState,
  news: TenantClaimInputs,
): Promise<dynamic.UpdateResult> {
  await recordClaim(await storesOf(news), olds, recordedIn(news));
  return { outs: { ...olds, ...news } };
}

async function remove(_id: string, props: TenantClaimState): Promise<void> {
  const receipt = await release(await storesOf(props), props);
  if (receipt) announce(receipt);
}

export { remove as delete };

const recordedIn = ({ project, stack, resource }: TenantClaimInputs) => ({ project, stack, resource });
