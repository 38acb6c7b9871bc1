/**
 * Who serves which model: a registration for each tenant and model, published when the tenant's vertices are ready and
 * withdrawn before they go. All that the platform serves is what is registered, and nothing else says it.
 */
import { canonical } from "../plan/digest.ts";
import { VisibleError } from "../plan/visible-error.ts";
import type { Etcd } from "../stores/etcd.ts";
import { op, when } from "../stores/etcd-txn.ts";
import type { Stores } from "./access.ts";
import {
  letGo,
  type ModelState,
  newestFirst,
  type Registered,
  type Registration,
  readModel,
  registeredOf,
  type Step,
  settleAlias,
  settleAliases,
} from "./alias.ts";
import type { Hold } from "./hold.ts";
import { type TenantRef, withClaim, withFormerClaim } from "./live-claim.ts";
import { dynamoHolder, type HeldClaim, holder, keys } from "./registry.ts";
import { Superseded } from "./run.ts";

export type { Registered, Registration } from "./alias.ts";

/** What a tenant says of a model that it serves. */
export type Publication = Pick<Registration, "model" | "dynamoNamespace" | "namespace" | "url" | "legacyAlias">;

/** What became of it. */
export interface Published {
  since: string;
  /** Keys for old frontends that somebody outside wrote, and that were left as they are; none unless they were asked for. */
  foreign: string[];
}

/** A model, and who serves it. */
export interface ServedModel {
  model: string;
  /** Newest first; at least one. */
  registrations: Registered[];
}

/** Registrations read at once. */
const PAGE = 500;

/**
 * Publishes that a tenant serves a model, or changes what it says of that; the same again changes nothing.
 * @throws VisibleError when the claim is not live, or old frontends would take another deployment's workers for this tenant's
 */
export async function publishModel(stores: Stores, tenant: TenantRef, wanted: Publication): Promise<Published> {
  return withClaim(stores, tenant, async (hold, seen) => {
    const { etcd } = stores;
    const { logicalName, generation } = tenant;
    const { model, legacyAlias } = wanted;
    const key = keys.registration(model, generation);
    const since = await changed(etcd, hold, seen, model, async (state) => {
      const { modRevision, ...mine } = registrationOf(state, generation) ?? { modRevision: "0" };
      const next: Registration = { since: new Date().toISOString(), ...mine, ...wanted, logicalName, generation };
      if (canonical(next) === canonical(mine)) return { result: next.since };
      const namesake = legacyAlias ? [await noNamesake(etcd, tenant, wanted)] : [];
      return {
        result: next.since,
        compare: [when.unchanged(key, modRevision), ...namesake],
        operations: [op.put(key, JSON.stringify(next))],
      };
    });
    const { foreign } = await settle(etcd, model);
    if (!legacyAlias) return { since, foreign: [] };
    for (const { key, modRevision } of foreign)
      stores.progress(`${key} was written by somebody outside (revision ${modRevision}), and is left as it is`);
    return { since, foreign: foreign.map(({ key }) => key) };
  });
}

/** Withdraws a tenant's registration of a model; one that is gone, or whose claim is, has been withdrawn already. */
export async function withdrawModel(stores: Stores, tenant: TenantRef, model: string): Promise<void> {
  await withFormerClaim(
    stores,
    tenant,
    () => true,
    (hold, seen) => withdrawHeld(stores.etcd, hold, seen, model),
  );
}

/** Withdraws all that a tenant has registered: the first act of its release, while its claim is still as it was. */
export async function withdrawAll({ etcd }: Stores, hold: Hold, seen: HeldClaim): Promise<void> {
  for (const { model } of await registrationsOf(etcd, seen.claim.generation))
    await withdrawHeld(etcd, hold, seen, model);
  await settleAliases(etcd);
}

async function withdrawHeld(etcd: Etcd, hold: Hold, seen: HeldClaim, model: string): Promise<void> {
  const { generation } = seen.claim;
  const key = keys.registration(model, generation);
  await changed(etcd, hold, seen, model, async (state) => {
    const mine = registrationOf(state, generation);
    if (!mine) return { result: undefined };
    // At once: the keys never stand for what is not registered any more.
    const { compare, operations } = letGo(state);
    const holds = state.record?.holder === generation;
    return {
      result: undefined,
      compare: [when.unchanged(key, mine.modRevision), ...compare],
      operations: [op.remove(key), ...(holds ? operations : [])],
    };
  });
  await settle(etcd, model);
}

/** Settles the keys of the model that was acted on, and what others have left. */
async function settle(etcd: Etcd, model: string): Promise<ModelState> {
  const state = await settleAlias(etcd, model);
  await settleAliases(etcd);
  return state;
}

/** What a tenant has registered of a model; undefined when it has not. */
export async function observeModel(
  { etcd }: Stores,
  { generation }: TenantRef,
  model: string,
): Promise<Registration | undefined> {
  const entry = await etcd.get(keys.registration(model, generation));
  return entry && (JSON.parse(entry.value) as Registration);
}

/** All models that are served, by name. */
export async function listModels(etcd: Etcd): Promise<ServedModel[]> {
  const entries = [];
  for await (const page of etcd.pages(keys.models, { limit: PAGE })) entries.push(...page);
  const byModel = Map.groupBy(newestFirst(entries).map(registeredOf), ({ model }) => model);
  return [...byModel]
    .map(([model, registrations]) => ({ model, registrations }))
    .sort((a, b) => (a.model < b.model ? -1 : 1));
}

/** What one tenant serves. */
export async function registrationsOf(etcd: Etcd, generation: string): Promise<Registered[]> {
  const mine: Registered[] = [];
  for await (const page of etcd.pages(keys.models, { limit: PAGE }))
    mine.push(...page.filter(({ key }) => key.endsWith(`/${generation}`)).map(registeredOf));
  return mine;
}

/** What an act makes of a model; no operations when it is so already. */
interface Change<T> extends Partial<Step> {
  result: T;
}

/** Changes a model under the hold and the claim as it was seen; whoever else acts on the model meanwhile makes it look again. */
async function changed<T>(
  etcd: Etcd,
  hold: Hold,
  seen: HeldClaim,
  model: string,
  how: (state: ModelState) => Promise<Change<T>>,
): Promise<T> {
  const claimed = when.unchanged(keys.claim(seen.logicalName), seen.modRevision);
  for (;;) {
    const { result, compare = [], operations } = await how(await readModel(etcd, model));
    if (!operations || (await hold.txn([claimed, ...compare], operations)).succeeded) return result;
    if ((await hold.claim())?.modRevision !== seen.modRevision) throw new Superseded(seen.logicalName);
  }
}

const registrationOf = ({ registrations }: ModelState, generation: string): Registered | undefined =>
  registrations.find((one) => one.generation === generation);

/**
 * At etcd's root a Dynamo namespace is one deployment's.
 * @returns what has to hold for that
 * @throws VisibleError when it is another's, for old frontends would send this tenant's requests there
 */
async function noNamesake(etcd: Etcd, { logicalName }: TenantRef, { model, dynamoNamespace }: Publication) {
  const { held, revision } = await dynamoHolder(etcd, dynamoNamespace);
  if (held && held.logicalName !== logicalName)
    throw new VisibleError(
      `model '${model}' of tenant '${logicalName}': legacyAlias would send old frontends to the workers of Dynamo namespace '${dynamoNamespace}' at etcd's root, ` +
        `which are those of '${held.logicalName}', held by ${holder(held.claim)}: set another dynamoNamespace, or leave legacyAlias out`,
    );
  return when.unchanged(keys.dynamo(dynamoNamespace), revision);
}
