/** The audit: every tenant, and everything of ours that no live claim accounts for. */
import { aliasModel } from "../plan/dynamo-keys.ts";
import { GENERATION_LABEL, OWNER_LABEL } from "../plan/labels.ts";
import { ALIAS_PREFIX } from "../plan/models.ts";
import { TENANTS_PREFIX } from "../plan/names.ts";
import { StoreError } from "../stores/errors.ts";
import type { Etcd } from "../stores/etcd.ts";
import type { Stores } from "./access.ts";
import { ourAccounts } from "./account.ts";
import { readModel, settleAliases } from "./alias.ts";
import { listDynamo, prefixesOf } from "./dynamo.ts";
import { listGraves, reap } from "./graves.ts";
import { listModels } from "./models.ts";
import { roleOf } from "./prefix.ts";
import { type Claim, EXTERNAL, type HeldClaim, keys, listClaims, type Recorded } from "./registry.ts";
import { slotUsers } from "./slots.ts";

/** A live claim. */
export interface AuditedTenant {
  logicalName: string;
  generation: string;
  state: Claim["state"];
  owner: string;
  recorded: Recorded;
  keys: number;
  /** Dynamo's namespaces at etcd's root that belong to it. */
  dynamo: string[];
}

/** Something that no live claim accounts for. */
export interface Finding {
  kind:
    | "keys"
    | "dynamo"
    | "user"
    | "role"
    | "account"
    | "namespace"
    | "claim"
    | "generation"
    | "model"
    | "alias"
    | "topology";
  name: string;
  /** What is wrong with it and what to do. */
  detail: string;
}

export interface Audit {
  tenants: AuditedTenant[];
  findings: Finding[];
  /** Released tenants whose last calls may still be on their way; what comes back is removed when their time is over. */
  graves: number;
  /** What could not be looked at: a cluster that does not answer. */
  notes: string[];
}

const NO_CLAIM = "no live claim accounts for it";

/**
 * Looks at everything. Graves whose time is over are emptied first, and what is found is looked for again: tenants come
 * and go while it looks. A cluster that does not answer is noted, and keeps nothing else from being looked at.
 */
export async function audit(stores: Stores): Promise<Audit> {
  // A grave that needs the cluster is there the next time, too; any other store that is away fails the look.
  await ifReachable(() => reap(stores));
  await settleAliases(stores.etcd);
  const first = await look(stores);
  if (first.findings.length === 0) return first;
  const second = await look(stores);
  const before = new Set(first.findings.map(({ kind, name }) => `${kind} ${name}`));
  return { ...second, findings: second.findings.filter(({ kind, name }) => before.has(`${kind} ${name}`)) };
}

/** @returns why nobody was reached, or nothing */
async function ifReachable(work: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (error instanceof StoreError && error.unreachable) return error.message;
    throw error;
  }
}

async function look(stores: Stores): Promise<Audit> {
  const { etcd } = stores;
  const claims = await listClaims(etcd);
  const graves = await listGraves(stores);
  const known = [...claims.map(({ claim: { intents, ...claim } }) => ({ ...claim, ...intents })), ...graves];
  const of = <T>(what: (record: (typeof known)[number]) => T | T[]) => new Set(known.flatMap(what));
  const users = new Set([...of(({ username }) => username), ...(await slotUsers(stores))]);
  let namespaces: Finding[] = [];
  const away = await ifReachable(async () => {
    namespaces = await orphanNamespaces(
      stores,
      of(({ namespace }) => namespace),
    );
  });
  const findings = [
    ...(await orphanClaims(etcd, claims)),
    ...(await orphanGenerations(
      etcd,
      of(({ generation }) => generation),
    )),
    ...(await orphanKeys(
      etcd,
      of(({ prefix }) => prefix),
    )),
    ...(await orphanUsers(etcd, users)),
    ...(await orphanAccounts(
      stores,
      of(({ accounts }) => accounts),
    )),
    ...namespaces,
    ...(await orphanModels(etcd, new Set(claims.map(({ claim }) => claim.generation)))),
    ...(await orphanAliases(etcd)),
    ...(await orphanTopologies(etcd, new Set(claims.map(({ claim }) => claim.generation)))),
    ...(await orphanDynamo(etcd, new Set(claims.flatMap(({ claim }) => claim.dynamo)))),
  ];
  const tenants: AuditedTenant[] = [];
  for (const { logicalName, claim } of claims) {
    const { generation, state, owner, recorded, dynamo, intents } = claim;
    let count = 0;
    for (const prefix of [intents.prefix, ...prefixesOf(dynamo)]) count += await etcd.count(prefix);
    tenants.push({ logicalName, generation, state, owner, recorded, keys: count, dynamo });
  }
  const notes = away === undefined ? [] : [`namespaces were not looked at: ${away}`];
  return { tenants, findings, graves: graves.length, notes };
}

async function orphanClaims(etcd: Etcd, claims: HeldClaim[]): Promise<Finding[]> {
  const stacks = new Set(
    (await etcd.list(keys.stacks, { keysOnly: true })).map(({ key }) => key.slice(keys.stacks.length)),
  );
  return claims
    .filter(({ claim }) => claim.owner !== EXTERNAL && !stacks.has(claim.owner))
    .map(({ logicalName, claim }) => ({
      kind: "claim",
      name: `${logicalName}#${claim.generation}`,
      detail: `its ledger ${claim.owner} is gone: release it with 'ringfence sweep'`,
    }));
}

async function orphanGenerations(etcd: Etcd, known: Set<string>): Promise<Finding[]> {
  return (await etcd.list(keys.generations))
    .map(({ key, value }) => ({ generation: key.slice(keys.generations.length), logicalName: value }))
    .filter(({ generation }) => !known.has(generation))
    .map(({ generation, logicalName }) => ({
      kind: "generation",
      name: generation,
      detail: `its claim on '${logicalName}' was lost: bring that tenant up with onResidue 'purge' or 'adopt'`,
    }));
}

/** Below the tenants' prefix; whole claims are jumped over, so that its cost is in the number of tenants, not of keys. */
async function orphanKeys(etcd: Etcd, known: Set<string>): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const child of await etcd.children(TENANTS_PREFIX)) {
    if (known.has(child)) continue;
    // Prefixes of version 0.1.0 lie deeper: `<realm>/<pipeline>/<generation>/`.
    const within = [...known].filter((prefix) => prefix.startsWith(child));
    const counts = await Promise.all(within.map((prefix) => etcd.count(prefix)));
    const count = (await etcd.count(child)) - counts.reduce((sum, one) => sum + one, 0);
    if (count > 0) findings.push({ kind: "keys", name: child, detail: `${count} keys, ${NO_CLAIM}` });
  }
  return findings;
}

/** Roles of ours end in a generation, and a tenant's first user has its role's name. */
const OURS = /\.[0-9a-f]{24}$/;

async function orphanUsers(etcd: Etcd, known: Set<string>): Promise<Finding[]> {
  const orphan = (name: string) => OURS.test(roleOf(name)) && !known.has(roleOf(name));
  return [
    ...(await etcd.users()).filter(orphan).map((name): Finding => ({ kind: "user", name, detail: NO_CLAIM })),
    ...(await etcd.roles()).filter(orphan).map((name): Finding => ({ kind: "role", name, detail: NO_CLAIM })),
  ];
}

async function orphanAccounts(stores: Stores, known: Set<string>): Promise<Finding[]> {
  return (await ourAccounts(stores))
    .filter(({ account }) => !known.has(account))
    .map(({ account, tenant }) => ({
      kind: "account",
      name: account,
      detail: `${NO_CLAIM}; it was made for ${tenant.logicalName}`,
    }));
}

async function orphanNamespaces(stores: Stores, known: Set<string | undefined>): Promise<Finding[]> {
  const namespaces = await (await stores.kubernetes()).namespaces(`${OWNER_LABEL},${GENERATION_LABEL}`);
  return namespaces
    .filter(({ metadata }) => !known.has(metadata.name))
    .map(({ metadata }) => ({ kind: "namespace", name: metadata.name, detail: NO_CLAIM }));
}

async function orphanModels(etcd: Etcd, known: Set<string>): Promise<Finding[]> {
  return (await listModels(etcd))
    .flatMap(({ registrations }) => registrations)
    .filter(({ generation }) => !known.has(generation))
    .map(({ model, generation, logicalName }) => ({
      kind: "model",
      name: keys.registration(model, generation),
      detail: `it says that '${logicalName}' serves ${model}, and ${NO_CLAIM}: it goes with what else is left of the tenant, or delete it`,
    }));
}

/** Keys for old frontends that we wrote, and that no record in the registry has: it came back without them. */
async function orphanAliases(etcd: Etcd): Promise<Finding[]> {
  const findings: Finding[] = [];
  for await (const page of etcd.pages(ALIAS_PREFIX, { limit: 500 })) {
    for (const { key, value } of page) {
      const model = aliasModel(value);
      if (model === undefined || (await readModel(etcd, model)).ours.some((entry) => entry.key === key)) continue;
      findings.push({ kind: "alias", name: key, detail: "Ringfence wrote it, and has no record of that: delete it" });
    }
  }
  return findings;
}

async function orphanTopologies(etcd: Etcd, known: Set<string>): Promise<Finding[]> {
  const kept = await etcd.list(keys.topologies, { keysOnly: true });
  const generations = new Set(kept.map(({ key }) => key.slice(keys.topologies.length).split("/", 1)[0] as string));
  return [...generations]
    .filter((generation) => !known.has(generation))
    .map((generation) => ({
      kind: "topology",
      name: keys.topology(generation),
      detail: `${NO_CLAIM}: it goes with what else is left of the tenant, or delete it`,
    }));
}

/** Keys in Dynamo's layouts at etcd's root, by namespace. */
async function orphanDynamo(etcd: Etcd, known: Set<string>): Promise<Finding[]> {
  return [...(await listDynamo(etcd))]
    .filter(([namespace]) => !known.has(namespace))
    .map(([namespace, { total, samples }]) => ({
      kind: "dynamo",
      name: namespace,
      detail: `${total} keys in Dynamo's layouts, of no tenant, for example ${samples[0]}: register them with 'ringfence adopt', or delete them`,
    }));
}
