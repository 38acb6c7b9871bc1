/** Wire contract of `ringfence:Ledger`: its inputs and outputs are in state files in the field. */
import type { dynamic } from "@pulumi/pulumi";
import { z } from "zod";
import { OWNER_LABEL } from "../../plan/labels.ts";
import { VisibleError } from "../../plan/visible-error.ts";
import type { Stores } from "../../tenancy/access.ts";
import { createLedger, deleteLedger, ledgerState } from "../../tenancy/ledger.ts";
import { RESTORED } from "../../tenancy/live-claim.ts";
import { listClaims } from "../../tenancy/registry.ts";
import { announce, changed, checked, STUB_VERSION, storesOf } from "../wire.ts";

export { configure } from "../wire.ts";

export interface LedgerInputs {
  platform: string;
  stub?: number;
}

const schema = z.object({ platform: z.string().min(1), stub: z.number().default(STUB_VERSION) });

export const check = async (_olds: LedgerInputs, news: LedgerInputs) => checked(schema, news);

export async function diff(id: string, olds: LedgerInputs, news: LedgerInputs): Promise<dynamic.DiffResult> {
  const replaces = changed(olds, news, ["platform"]);
  // Nothing is created for such a ledger any more, so another one takes its place.
  if (replaces.length === 0 && (await isOver(await storesOf(olds), id))) replaces.push("platform");
  return {
    changes: replaces.length > 0 || changed(olds, news, ["stub"]).length > 0,
    replaces,
    deleteBeforeReplace: true,
  };
}

export async function create(inputs: LedgerInputs): Promise<dynamic.CreateResult> {
  return { id: await createLedger(await storesOf(inputs)), outs: inputs };
}

export async function read(id: string, props: LedgerInputs): Promise<dynamic.ReadResult> {
  const stores = await storesOf(props);
  const recorded = await ledgerState(stores, id);
  if (!recorded) await requireNoNamespaces(stores, id);
  return recorded ? { id, props, inputs: props } : { id: "", props: {} };
}

/** Whether a destroy was killed in its last step, or right after it: then nobody has heard of anything of the ledger's. */
async function isOver(stores: Stores, ledger: string): Promise<boolean> {
  const recorded = await ledgerState(stores, ledger);
  if (recorded) return recorded === "closing";
  if ((await listClaims(stores.etcd, ledger)).length > 0) return false;
  await requireNoNamespaces(stores, ledger);
  return true;
}

/**
 * @throws VisibleError when the cluster has tenants of a ledger that the registry has never heard of: were it forgotten, so
 * would be whose they are
 */
async function requireNoNamespaces(stores: Stores, ledger: string): Promise<void> {
  const namespaces = await (await stores.kubernetes()).namespaces(`${OWNER_LABEL}=${ledger}`);
  if (namespaces.length === 0) return;
  const names = namespaces.map(({ metadata: { name } }) => name).join(", ");
  throw new VisibleError(
    `ledger ${ledger}: the registry has no record of it, and the cluster has its namespaces ${names}. ${RESTORED}`,
  );
}

export async function update(_id: string, _olds: LedgerInputs, news: LedgerInputs): Promise<dynamic.UpdateResult> {
  return { outs: news };
}

async function remove(id: string, props: LedgerInputs): Promise<void> {
  for (const receipt of await deleteLedger(await storesOf(props), id)) announce(receipt);
}

export { remove as delete };
