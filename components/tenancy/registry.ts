/** The registry's records in etcd: who claims what, who may act, and what may still come back. See docs/protocol.md. */
import { randomBytes } from "node:crypto";
import { modelSegment } from "../plan/models.ts";
import { namespaceName, physicalPrefix, REGISTRY_PREFIX, TENANTS_PREFIX, userName } from "../plan/names.ts";
import type { Etcd } from "../stores/etcd.ts";
import type { Entry } from "../stores/etcd-txn.ts";

const CLAIMS = `${REGISTRY_PREFIX}claims/`;
const STACKS = `${REGISTRY_PREFIX}stacks/`;
const GRAVES = `${REGISTRY_PREFIX}graves/`;
const RELEASED = `${REGISTRY_PREFIX}released/`;
const SLOTS = `${REGISTRY_PREFIX}slots/`;
const GENERATIONS = `${REGISTRY_PREFIX}generations/`;
const DYNAMO = `${REGISTRY_PREFIX}dynamo/`;
const TOPOLOGIES = `${REGISTRY_PREFIX}topologies/`;
const MODELS = `${REGISTRY_PREFIX}models/`;
const ALIASES = `${REGISTRY_PREFIX}aliases/`;

/** Keys of the registry. Claims always end in a slash, so that one's range never holds a sibling. */
export const keys = {
  claims: CLAIMS,
  stacks: STACKS,
  graves: GRAVES,
  released: RELEASED,
  slots: SLOTS,
  generations: GENERATIONS,
  topologies: TOPOLOGIES,
  models: MODELS,
  aliases: ALIASES,
  claim: (logicalName: string) => `${CLAIMS}${logicalName}/`,
  lock: (logicalName: string) => `${REGISTRY_PREFIX}locks/${logicalName}/`,
  stack: (ledger: string) => `${STACKS}${ledger}`,
  grave: (generation: string) => `${GRAVES}${generation}`,
  slot: (generation: string) => `${SLOTS}${generation}`,
  /** Which logical name a generation was made for: outlives a claim that was lost, so that its residue is found. */
  generation: (generation: string) => `${GENERATIONS}${generation}`,
  /** That a Dynamo namespace's keys at etcd's root belong to a claim; the value is its logical name. */
  dynamo: (namespace: string) => `${DYNAMO}${namespace}`,
  /** Below it lies what there is of a generation's topology. */
  topology: (generation: string) => `${TOPOLOGIES}${generation}/`,
  /** Below it, who serves a model: a registration for each generation. */
  model: (model: string) => `${MODELS}${modelSegment(model)}/`,
  registration: (model: string, generation: string) => `${MODELS}${modelSegment(model)}/${generation}`,
  /** Who holds a model's keys for old frontends. */
  alias: (model: string) => `${ALIASES}${modelSegment(model)}`,
  /** That a ledger released a generation: what tells it from one that a restored etcd has never heard of. */
  releasedBy: (ledger: string) => `${RELEASED}${ledger}/`,
  releasedGeneration: (ledger: string, generation: string) => `${RELEASED}${ledger}/${generation}`,
};

/** Where a claim was made, for people: names decide nothing. */
export interface Recorded {
  /** URL of Pulumi's backend, and the organization in it; unknown in claims of version 0.1.0. */
  backend?: string | undefined;
  organization?: string | undefined;
  project: string;
  stack: string;
  resource: string;
}

/** Counts of what was removed of a tenant. */
export interface Removed {
  keys: number;
  leases: number;
  users: number;
  accounts: number;
  streams: number;
  messages: number;
  namespaces: number;
}

/** The outside objects that a claim names. */
export interface Intents {
  prefix: string;
  /** etcd role and first user; users that were made later are named `<username>.<8 hex>`. */
  username: string;
  /** Kubernetes namespace. */
  namespace: string;
}

/** Which of a tenant's etcd users and NATS accounts are in use. One that a fence was begun on is not, ever again: a call of it may come late. */
export interface HandedOut {
  /** etcd user. */
  username?: string | undefined;
  /** The account's public key. */
  account?: string | undefined;
}

/** A tenant's ownership record; it names every outside object before that object is made. */
export interface Claim {
  state: "creating" | "active" | "releasing";
  /** The ledger's id, or EXTERNAL. */
  owner: string;
  /** Random, part of every physical name. */
  generation: string;
  intents: Intents;
  handedOut: HandedOut;
  /** Of the etcd user that is handed out, sealed. */
  password?: string | undefined;
  /** Dynamo's namespaces whose keys at etcd's root belong to the claim: those of a deployment that was there before us. */
  dynamo: string[];
  /** Counts the creates that took this claim: a delete of an earlier one has nothing to do any more. */
  attempt: number;
  /** Public keys of every account that was ever about to be pushed, newest last. */
  accounts: string[];
  /** Public signing keys of the account that is handed out, newest last; none in one of version 0.1.0. */
  signers: string[];
  /** Seed of the newest of them, sealed: whoever has the admin's access acts as a user of the account. */
  signerSeed?: string | undefined;
  /** When the account's credentials were last rotated, seconds since 1970: later ones are newer than that. */
  rotatedAt?: number | undefined;
  /** Every user of the account that was issued until then is refused, seconds since 1970. */
  revokedUntil?: number | undefined;
  /** What was removed before the release itself, for its receipt. */
  removed: Partial<Removed>;
  /** What has been made and read back. */
  made: { etcd: boolean; nats: boolean };
  /** An operation has begun and not closed. */
  open: boolean;
  /** An earlier holder did not close, so a call of its may still take effect: see graves. */
  suspect: boolean;
  recorded: Recorded;
}

/** A stack's record: exists while its ledger does. */
export interface StackRecord {
  state: "open" | "closing";
  /** Counts the runs that have acted. */
  run: number;
}

/** What a release that cannot be sure of its predecessors leaves a note of. */
export interface Grave {
  logicalName: string;
  /** etcd role and first user, as in a claim's intents. */
  username: string;
  accounts: string[];
  prefix: string;
  /** None for a slot that was never a tenant's. */
  namespace?: string;
  /** Milliseconds since 1970: from here on no call can still be on its way. */
  notBefore: number;
}

/** A claim as it was read. */
export interface HeldClaim {
  logicalName: string;
  claim: Claim;
  modRevision: string;
}

/** The owner of what was deployed before us and is only registered: no ledger, so no destroy and no sweep takes it. */
export const EXTERNAL = "external";

/** What a new claim of a generation names. */
export const intents = (logicalName: string, generation: string): Intents => ({
  prefix: physicalPrefix(generation),
  username: userName(generation),
  namespace: namespaceName(logicalName, generation),
});

/** A claim at its very beginning. */
export const newClaim = (
  owner: string,
  logicalName: string,
  recorded: Recorded,
  generation = randomBytes(12).toString("hex"),
): Claim => ({
  state: "creating",
  owner,
  generation,
  intents: intents(logicalName, generation),
  handedOut: { username: userName(generation) },
  dynamo: [],
  attempt: 1,
  accounts: [],
  signers: [],
  removed: {},
  made: { etcd: false, nats: false },
  open: false,
  suspect: false,
  recorded,
});

/** As earlier versions wrote them. */
type StoredClaim = Omit<Claim, "intents" | "handedOut" | "dynamo" | "signers"> & Partial<Claim>;

/** What claims of version 0.1.0 name without saying so. */
const impliedIntents = (logicalName: string, generation: string): Intents => ({
  prefix: `${TENANTS_PREFIX}${logicalName}/${generation}/`,
  username: `${logicalName.replaceAll("/", ".")}.${generation}`,
  namespace: namespaceName(logicalName, generation),
});

export async function readClaim(etcd: Etcd, logicalName: string): Promise<HeldClaim | undefined> {
  const entry = await etcd.get(keys.claim(logicalName));
  return entry && claimOf(entry);
}

/** Whose a Dynamo namespace is. A reservation whose claim was lost is nobody's, and may be written over while it is unchanged. */
export async function dynamoHolder(
  etcd: Etcd,
  namespace: string,
): Promise<{ revision: string; held: HeldClaim | undefined }> {
  const entry = await etcd.get(keys.dynamo(namespace));
  const held = entry && (await readClaim(etcd, entry.value));
  const holds = held?.claim.dynamo.includes(namespace);
  return { revision: entry?.modRevision ?? "0", held: holds ? held : undefined };
}

/** All claims, or those of one owner. */
export async function listClaims(etcd: Etcd, owner?: string): Promise<HeldClaim[]> {
  const claims = (await etcd.list(CLAIMS)).map(claimOf);
  return owner === undefined ? claims : claims.filter(({ claim }) => claim.owner === owner);
}

export function claimOf(entry: Entry): HeldClaim {
  const logicalName = entry.key.slice(CLAIMS.length, -1);
  const stored = JSON.parse(entry.value) as StoredClaim;
  const { intents = impliedIntents(logicalName, stored.generation), accounts } = stored;
  const handedOut = { username: intents.username, account: accounts.at(-1) };
  const claim = { intents, handedOut, dynamo: [], signers: [], ...stored };
  return { logicalName, claim, modRevision: entry.modRevision };
}

/** Who holds a claim, for messages. */
export const holder = ({ owner, recorded: { project, stack, resource } }: Claim): string =>
  owner === EXTERNAL
    ? "a deployment from outside that 'ringfence adopt' registered"
    : `project '${project}', stack '${stack}', resource '${resource}'`;
