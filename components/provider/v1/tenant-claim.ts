/** Wire contract of `ringfence:TenantClaim`: its inputs and outputs are in state files in the field. */
import type { dynamic } from "@pulumi/pulumi";
import { z } from "zod";
import { type OnResidue, onResidueSpec } from "../../plan/spec.ts";
import { VisibleError } from "../../plan/visible-error.ts";
import { type Claimed, claimTenant, recordClaim } from "../../tenancy/claim.ts";
import { standing } from "../../tenancy/live-claim.ts";
import { release } from "../../tenancy/release.ts";
import { releaseLost } from "../../tenancy/restored.ts";
import { backendUrl } from "../backend.ts";
import { announce, changed, checked, isKnown, known, storesOf, tenantInputs } from "../wire.ts";

export { configure } from "../wire.ts";

export interface TenantClaimInputs {
  platform: string;
  owner: string;
  logicalName: string;
  /** Where the claim is made, for people and for sweep. */
  organization?: string;
  project: string;
  stack: string;
  resource: string;
  /** What the claim is asked for with; since 0.2.0, and of no effect once it is made. */
  dynamoNamespace?: string;
  onResidue?: OnResidue;
  adopt?: boolean;
  /** Let a change of name, platform or owner remove the tenant's data; since 0.2.0. */
  allowReplace?: boolean;
  stub?: number;
}

export type TenantClaimState = TenantClaimInputs & Claimed;

const schema = z.object({
  ...tenantInputs,
  organization: z.string().optional(),
  project: z.string(),
  stack: z.string(),
  resource: z.string(),
  dynamoNamespace: known(z.string()).optional(),
  onResidue: known(onResidueSpec).optional(),
  adopt: known(z.boolean("expected true or false")).optional(),
  allowReplace: known(z.boolean("expected true or false")).optional(),
});

export const check = async (_olds: TenantClaimInputs, news: TenantClaimInputs) => checked(schema, news);

export async function diff(_id: string, olds: TenantClaimState, news: TenantClaimInputs): Promise<dynamic.DiffResult> {
  // The old tenant goes first: its successor may need the same name, and the same GPUs.
  const replacedBy = (replaces: string[]) => ({ changes: true, replaces, deleteBeforeReplace: true });
  const claim = await standing(await storesOf(olds), olds);
  const moved = changed(olds, news, ["platform", "owner", "logicalName"]);
  if (claim && !news.allowReplace) requireUnmoved(olds, news, moved);
  if (moved.length > 0) return replacedBy(moved);
  if (!claim) return replacedBy(["generation"]);
  const updates = changed(olds, news, ["organization", "project", "stack", "resource", "stub"]);
  // A stack that was moved to another backend: sweep would miss it in the old one.
  const elsewhere = claim.recorded.backend !== backendUrl();
  return { changes: updates.length > 0 || elsewhere, replaces: [], deleteBeforeReplace: true };
}

export async function create(inputs: TenantClaimInputs): Promise<dynamic.CreateResult> {
  const claimed = await claimTenant(await storesOf(inputs), { ...inputs, recorded: recordedIn(inputs) });
  return { id: `${inputs.logicalName}#${claimed.generation}`, outs: { ...inputs, ...claimed } };
}

export async function read(id: string, props: TenantClaimState): Promise<dynamic.ReadResult> {
  // Refused when the registry has never heard of it; one that is released is for the next `up` or `destroy` to finish.
  await standing(await storesOf(props), props);
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

/** @throws VisibleError when a live tenant would be replaced: one that is known only later is judged then */
function requireUnmoved<K extends "platform" | "owner" | "logicalName">(
  olds: TenantClaimState,
  news: TenantClaimInputs,
  moved: K[],
): void {
  const [property] = moved.filter((name) => isKnown(news[name]));
  if (!property) return;
  const [from, to] = [olds[property], news[property]];
  throw new VisibleError(
    `tenant '${olds.logicalName}': ${property} would become '${to}' instead of '${from}', which makes another tenant and removes all data of this one: ` +
      `go back to '${from}', or set 'allowReplace: true' on the pipeline`,
  );
}

async function remove(_id: string, props: TenantClaimState): Promise<void> {
  const stores = await storesOf(props);
  const receipt =
    (await release(stores, props)) ?? (await releaseLost(stores, { ...props, recorded: recordedIn(props) }));
  if (receipt) announce(receipt);
}

export { remove as delete };

const recordedIn = ({ organization, project, stack, resource }: TenantClaimInputs) => ({
  backend: backendUrl(),
  organization,
  project,
  stack,
  resource,
});
