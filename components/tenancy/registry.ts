/** The registry's records in etcd: who claims what, who may act, and what may still come back. See docs/protocol.md. */
import { namespaceName, physicalPrefix, REGISTRY_PREFIX } from "../plan/names.ts";
import type { Etcd } from "../stores/etcd.ts";
import type { Entry } from "../stores/etcd-txn.ts";

const CLAIMS = `${REGISTRY_PREFIX}claims/`;
const STACKS = `${REGISTRY_PREFIX}stacks/`;
const GRAVES = `${REGISTRY_PREFIX}graves/`;
const RELEASED = `${REGISTRY_PREFIX}released/`;

/** Keys of the registry. Claims always end in a slash, so that one's range never holds a sibling. */
export const keys = {
  claims: CLAIMS,
  stacks: STACKS,
  graves: GRAVES,
  released: RELEASED,
  claim: (logicalName: string) => `${CLAIMS}${logicalName}/`,
  lock: (logicalName: string) => `${REGISTRY_PREFIX}locks/${logicalName}/`,
  stack: (ledger: string) => `${STACKS}${ledger}`,
  grave: (generation: string) => `${GRAVES}${generation}`,
  /** That a ledger released a generation: what tells it from one that a restored etcd has never heard of. */
  releasedBy: (ledger: string) => `${RELEASED}${ledger}/`,
  releasedGeneration: (ledger: string, generation: string) => `${RELEASED}${ledger}/${generation}`,
};

/** Where a claim was made, for people: names decide nothing. */
export interface Recorded {
  project: string;
  stack: string;
  resource: string;
}

/** Counts of what was removed of a tenant. */
export interface Removed {
  keys: number;
  users: number;
  roles: number;
  accounts: number;
  streams: number;
  messages: number;
  namespaces: number;
}

/** A tenant's ownership record; it names every outside object before that object is made. */
export interface Claim {
  state: "creating" | "active" | "releasing";
  /** The ledger's id. */
  owner: string;
  /** Random, part of every physical name. */
  generation: string;
  /** Counts the creates that took this claim: a delete of an earlier one has nothing to do any more. */
  attempt: number;
  /** Public keys of every account that was ever about to be pushed, newest last. */
  accounts: string[];
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
  username: string;
  accounts: string[];
  prefix: string;
  namespace: string;
  /** Milliseconds since 1970: from here on no call can still be on its way. */
  notBefore: number;
}

/** A claim as it was read. */
export interface HeldClaim {
  logicalName: string;
  claim: Claim;
  modRevision: string;
}

/** The outside objects that a claim names. */
export interface Intents {
  prefix: string;
  /** etcd user and role. */
  username: string;
  /** Kubernetes namespace. */
  namespace: string;
}

/** Names follow from logical name and generation, so that the claim names them all before they exist. */
export function intents(logicalName: string, generation: string): Intents {
  return {
    prefix: physicalPrefix(logicalName, generation),
    username: `${logicalName.replaceAll("/", ".")}.${generation}`,
    namespace: namespaceName(logicalName, generation),
  };
}

export async function readClaim(etcd: Etcd, logicalName: string): Promise<HeldClaim | undefined> {
  const entry = await etcd.get(keys.claim(logicalName));
  return entry && claimOf(entry);
}

/** All claims, or those of one owner. */
export async function listClaims(etcd: Etcd, owner?: string): Promise<HeldClaim[]> {
  const claims = (await etcd.list(CLAIMS)).map(claimOf);
  return owner === undefined ? claims : claims.filter(({ claim }) => claim.owner === owner);
}

export const claimOf = (entry: Entry): HeldClaim => ({
  logicalName: entry.key.slice(CLAIMS.length, -1),
  claim: JSON.parse(entry.value) as Claim,
  modRevision: entry.modRevision,
});

/** Who holds a claim, for messages. */
export const holder = ({ project, stack, resource }: Recorded): string =>
  `project '${project}', stack '${stack}', resource '${resource}'`;
