/** The audit: every tenant, and everything of ours that no live claim accounts for. */

import { GENERATION_LABEL, OWNER_LABEL } from "../plan/labels.ts";
import { TENANTS_PREFIX } from "../plan/names.ts";
import { decodeAccount } from "../stores/nats-jwt.ts";
import type { Stores } from "./access.ts";
import { tenantOfAccount } from "./account.ts";
import { listGraves, reap } from "./graves.ts";
import { type Claim, type HeldClaim, intents, keys, listClaims, type Recorded } from "./registry.ts";

/** A live claim. */
export interface AuditedTenant {
  logicalName: string;
  generation: string;
  state: Claim["state"];
  owner: string;
  recorded: Recorded;
  keys: number;
}

/** Something that no live claim accounts for. */
export interface Finding {
  kind: "key" | "user" | "role" | "account" | "namespace" | "claim";
  name: string;
  /** What is wrong with it and what to do. */
  detail: string;
}

export interface Audit {
  tenants: AuditedTenant[];
  findings: Finding[];
  /** Released tenants whose last calls may still be on their way; what comes back is removed when their time is over. */
  graves: number;
}

const NO_CLAIM = "no live claim accounts for it";

/** Looks at everything. Graves whose time is over are emptied first, so that what is found is really left. */
export async function audit(stores: Stores): Promise<Audit> {
  await reap(stores);
  const claims = await listClaims(stores.etcd);
  const graves = await listGraves(stores);
  const known = [
    ...claims.map(({ logicalName, claim }) => ({
      ...intents(logicalName, claim.generation),
      accounts: claim.accounts,
    })),
    ...graves,
  ];
  const findings = [
    ...(await orphanClaims(stores, claims)),
    ...(await orphanKeys(
      stores,
      known.map(({ prefix }) => prefix),
    )),
    ...(await orphanUsers(stores, new Set(known.map(({ username }) => username)))),
    ...(await orphanAccounts(stores, new Set(known.flatMap(({ accounts }) => accounts)))),
    ...(await orphanNamespaces(stores, new Set(known.map(({ namespace }) => namespace)))),
  ];
  const tenants: AuditedTenant[] = [];
  for (const { logicalName, claim } of claims) {
    const { generation, state, owner, recorded } = claim;
    tenants.push({
      logicalName,
      generation,
      state,
      owner,
      recorded,
      keys: await stores.etcd.count(intents(logicalName, generation).prefix),
    });
  }
  return { tenants, findings, graves: graves.length };
}

async function orphanClaims({ etcd }: Stores, claims: HeldClaim[]): Promise<Finding[]> {
  const stacks = new Set(
    (await etcd.list(keys.stacks, { keysOnly: true })).map(({ key }) => key.slice(keys.stacks.length)),
  );
  return claims
    .filter(({ claim }) => !stacks.has(claim.owner))
    .map(({ logicalName, claim }) => ({
      kind: "claim",
      name: logicalName,
      detail: `its ledger ${claim.owner} is gone: release it with 'ringfence sweep'`,
    }));
}

async function orphanKeys({ etcd }: Stores, prefixes: string[]): Promise<Finding[]> {
  const orphans = (await etcd.list(TENANTS_PREFIX, { keysOnly: true })).filter(
    ({ key }) => !prefixes.some((prefix) => key.startsWith(prefix)),
  );
  return orphans.map(({ key }) => ({ kind: "key", name: key, detail: NO_CLAIM }));
}

/** Users and roles of ours are named `<realm>.<pipeline>.<generation>`. */
const OURS = /\.[0-9a-f]{24}$/;

async function orphanUsers({ etcd }: Stores, known: Set<string>): Promise<Finding[]> {
  const orphan = (name: string) => OURS.test(name) && !known.has(name);
  return [
    ...(await etcd.users()).filter(orphan).map((name): Finding => ({ kind: "user", name, detail: NO_CLAIM })),
    ...(await etcd.roles()).filter(orphan).map((name): Finding => ({ kind: "role", name, detail: NO_CLAIM })),
  ];
}

async function orphanAccounts(stores: Stores, known: Set<string>): Promise<Finding[]> {
  const nats = await stores.nats();
  const findings: Finding[] = [];
  for (const account of await nats.accounts()) {
    if (known.has(account)) continue;
    const jwt = await nats.lookup(account);
    const tenant = jwt && tenantOfAccount(decodeAccount(jwt).name);
    if (tenant)
      findings.push({ kind: "account", name: account, detail: `${NO_CLAIM}; it was made for ${tenant.logicalName}` });
  }
  return findings;
}

async function orphanNamespaces(stores: Stores, known: Set<string>): Promise<Finding[]> {
  const namespaces = await (await stores.kubernetes()).namespaces(`${OWNER_LABEL},${GENERATION_LABEL}`);
  return namespaces
    .filter(({ metadata }) => !known.has(metadata.name))
    .map(({ metadata }) => ({ kind: "namespace", name: metadata.name, detail: NO_CLAIM }));
}
