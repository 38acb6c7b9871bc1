/** Residue of a name: what earlier deployments left behind and no claim accounts for, looked for before a tenant is claimed. */
import { GENERATION_LABEL, LOGICAL_NAME_ANNOTATION, OWNER_LABEL } from "../plan/labels.ts";
import { VisibleError } from "../plan/visible-error.ts";
import type { Stores } from "./access.ts";
import { ourAccounts } from "./account.ts";
import { type DynamoKeys, findDynamo } from "./dynamo.ts";
import { listGraves } from "./graves.ts";
import { type Claim, dynamoHolder, intents, keys, listClaims } from "./registry.ts";

/** A generation of the name whose claim was lost. */
export interface LostGeneration {
  generation: string;
  prefix: string;
  keys: number;
  accounts: string[];
  namespaces: string[];
}

export interface Residue {
  generations: LostGeneration[];
  /** Keys at etcd's root of the Dynamo namespace; none when another claim has adopted it. */
  dynamo: DynamoKeys;
  /** Every generation that NATS or Kubernetes have something of, whoever's. */
  taken: ReadonlySet<string>;
}

/** Thrown when there is residue and `onResidue` is `fail`. */
export class ResidueFound extends VisibleError {
  constructor(logicalName: string, dynamoNamespace: string, { generations, dynamo }: Residue) {
    const found = generations.map(({ generation, prefix, keys: count, accounts, namespaces }) =>
      [
        `generation ${generation} with ${count} keys below ${prefix}`,
        ...accounts.map((account) => `NATS account ${account}`),
        ...namespaces.map((namespace) => `Kubernetes namespace '${namespace}'`),
      ].join(", "),
    );
    if (dynamo.total > 0)
      found.push(
        `${dynamo.total} keys at etcd's root that name Dynamo namespace '${dynamoNamespace}', for example ${dynamo.samples.join(", ")}`,
      );
    super(
      `tenant '${logicalName}': found residue of earlier deployments: ${found.join("; ")}. ` +
        "Look at it with 'ringfence audit', then set onResidue to 'purge' (removes it) or 'adopt' (takes it over)",
    );
    this.name = "ResidueFound";
  }
}

/** Looks in all three stores. */
export async function findResidue(stores: Stores, logicalName: string, dynamoNamespace: string): Promise<Residue> {
  const { etcd } = stores;
  const accountedFor = new Set([
    ...(await listClaims(etcd)).map(({ claim }) => claim.generation),
    ...(await listGraves(stores)).map(({ generation }) => generation),
  ]);
  const lost = new Map<string, LostGeneration>();
  const lose = (generation: string | undefined): LostGeneration | undefined => {
    if (!generation || accountedFor.has(generation)) return undefined;
    const { prefix } = intents(logicalName, generation);
    const known = lost.get(generation) ?? { generation, prefix, keys: 0, accounts: [], namespaces: [] };
    lost.set(generation, known);
    return known;
  };
  const kubernetes = await stores.kubernetes();
  const [recorded, accounts, namespaces, dynamo] = await Promise.all([
    etcd.list(keys.generations),
    ourAccounts(stores),
    kubernetes.namespaces(`${OWNER_LABEL},${GENERATION_LABEL}`),
    unclaimed(stores, dynamoNamespace).then((unknown) => findDynamo(etcd, unknown)),
  ]);
  for (const { key, value } of recorded) {
    if (value === logicalName) lose(key.slice(keys.generations.length));
  }
  for (const { account, tenant } of accounts) {
    if (tenant.logicalName === logicalName) lose(tenant.generation)?.accounts.push(account);
  }
  for (const { metadata } of namespaces) {
    if (metadata.annotations?.[LOGICAL_NAME_ANNOTATION] === logicalName)
      lose(metadata.labels?.[GENERATION_LABEL])?.namespaces.push(metadata.name);
  }
  for (const found of lost.values()) found.keys = await etcd.count(found.prefix);
  const taken = new Set([
    ...accounts.map(({ tenant }) => tenant.generation),
    ...namespaces.map(({ metadata }) => metadata.labels?.[GENERATION_LABEL] ?? ""),
  ]);
  return { generations: [...lost.values()], dynamo, taken };
}

export const isResidue = ({ generations, dynamo }: Residue): boolean => generations.length > 0 || dynamo.total > 0;

/** Keys that another claim accounts for are nobody's residue. */
async function unclaimed({ etcd }: Stores, dynamoNamespace: string): Promise<string[]> {
  return (await dynamoHolder(etcd, dynamoNamespace)).held ? [] : [dynamoNamespace];
}

/** What a claim has to name so that its release removes lost generations; Dynamo's keys go with the first of them. */
export function claimsOnResidue(residue: Residue, blank: Claim, logicalName: string, dynamoNamespace: string): Claim[] {
  const dynamo = residue.dynamo.total > 0 ? [dynamoNamespace] : [];
  const claims = residue.generations.map(
    ({ generation, accounts, namespaces: [namespace] }): Claim => ({
      ...blank,
      generation,
      accounts,
      // Who has their credentials, nobody knows.
      handedOut: {},
      intents: { ...intents(logicalName, generation), ...(namespace && { namespace }) },
    }),
  );
  if (claims.length === 0) claims.push(blank);
  return claims.map((claim, i) => ({ ...claim, dynamo: i === 0 ? dynamo : [] }));
}
