/**
 * What Dynamo deployments keep at etcd's root: keys of their namespace, and global keys that name it in their value. None
 * of them is bound to a user of ours, so nothing of it can be fenced; it is counted, adopted and removed by key.
 */
import {
  dynamoNamespaceProblem,
  GLOBAL_PREFIXES,
  NAMESPACE_HEADS,
  namespaceOfValue,
  namespacePrefixes,
} from "../plan/dynamo-keys.ts";
import type { Etcd } from "../stores/etcd.ts";
import { type Compare, type Entry, spanOf, when } from "../stores/etcd-txn.ts";

/** Keys read at once; their values come along. */
const PAGE = 500;

/** Keys that stand for all in a message. */
const SAMPLES = 3;

/** Operations in one transaction: well within etcd's default of 128. */
const AT_ONCE = 60;

/** Keys of a namespace, or of several. */
export interface DynamoKeys {
  /** By the prefix that they lie below. */
  counts: Record<string, number>;
  total: number;
  /** The first few. */
  samples: string[];
}

/** Below these lie keys of the namespaces and of nobody else. */
export const prefixesOf = (namespaces: string[]): string[] => namespaces.flatMap(namespacePrefixes);

/** What the namespaces have. */
export async function findDynamo(etcd: Etcd, namespaces: string[]): Promise<DynamoKeys> {
  return namespaces.length === 0 ? summed([]) : found(etcd, namespaces, await globalKeys(etcd));
}

/** Every namespace that has keys, with what it has. */
export async function listDynamo(etcd: Etcd): Promise<Map<string, DynamoKeys>> {
  const named = await globalKeys(etcd);
  const children = await Promise.all(
    NAMESPACE_HEADS.map(async (head) => (await etcd.children(head)).map((child) => child.slice(head.length, -1))),
  );
  const candidates = new Set([...named.keys(), ...children.flat()]);
  const namespaces = new Map<string, DynamoKeys>();
  for (const namespace of [...candidates].sort()) {
    if (dynamoNamespaceProblem(namespace) !== undefined) continue;
    const keys = await found(etcd, [namespace], named);
    if (keys.total > 0) namespaces.set(namespace, keys);
  }
  return namespaces;
}

/**
 * Removes the global keys whose value names one of the namespaces, each only while it is as it was read.
 * @param remove makes a guarded transaction; it removes nothing when its conditions do not hold
 * @returns how many
 */
export async function dropGlobalKeys(
  etcd: Etcd,
  namespaces: string[],
  remove: (compare: Compare[], keys: string[]) => Promise<number>,
): Promise<number> {
  let removed = 0;
  for await (const page of pagesNaming(etcd, namespaces)) {
    for (let from = 0; from < page.length; from += AT_ONCE) {
      const some = page.slice(from, from + AT_ONCE);
      const unchanged = some.map(({ key, modRevision }) => when.unchanged(key, modRevision));
      const names = some.map(({ key }) => key);
      // One that was rewritten meanwhile is looked at again in the next pass.
      removed += await remove(unchanged, names);
    }
  }
  return removed;
}

/** Whether no global key names the namespaces any more. */
export async function globalKeysAreGone(etcd: Etcd, namespaces: string[]): Promise<boolean> {
  for await (const page of pagesNaming(etcd, namespaces)) if (page.length > 0) return false;
  return true;
}

/** Page by page, the global keys that name one of the namespaces. */
async function* pagesNaming(etcd: Etcd, namespaces: string[]): AsyncGenerator<Entry[]> {
  for (const prefix of namespaces.length > 0 ? GLOBAL_PREFIXES : []) {
    for await (const page of etcd.pages(prefix, { limit: PAGE }))
      yield page.filter(({ value }) => namespaces.includes(namespaceOfValue(value) ?? ""));
  }
}

/** By the namespace that their values name: how many global keys below each prefix, and some of them. */
async function globalKeys(etcd: Etcd): Promise<Map<string, Below[]>> {
  const named = new Map<string, Below[]>();
  for (const prefix of GLOBAL_PREFIXES) {
    for await (const page of etcd.pages(prefix, { limit: PAGE })) {
      for (const { key, value } of page) {
        const namespace = namespaceOfValue(value);
        if (namespace !== undefined) note(named, namespace, prefix, key);
      }
    }
  }
  return named;
}

/** Keys below a prefix. */
interface Below {
  prefix: string;
  count: number;
  samples: string[];
}

function note(named: Map<string, Below[]>, namespace: string, prefix: string, key: string): void {
  const known = named.get(namespace) ?? [];
  const below = known.find((other) => other.prefix === prefix) ?? { prefix, count: 0, samples: [] };
  below.count++;
  if (below.samples.length < SAMPLES) below.samples.push(key);
  named.set(namespace, [...known.filter((other) => other !== below), below]);
}

async function found(etcd: Etcd, namespaces: string[], named: Map<string, Below[]>): Promise<DynamoKeys> {
  const within = prefixesOf(namespaces).map(async (prefix) => {
    const { keys = [], count = 0 } = (await etcd.page(spanOf(prefix), SAMPLES)) ?? {};
    return { prefix, count, samples: keys.map(({ key }) => key.toString()) };
  });
  return summed([...(await Promise.all(within)), ...namespaces.flatMap((namespace) => named.get(namespace) ?? [])]);
}

function summed(parts: Below[]): DynamoKeys {
  const counts: Record<string, number> = {};
  for (const { prefix, count } of parts) if (count > 0) counts[prefix] = (counts[prefix] ?? 0) + count;
  return {
    counts,
    total: parts.reduce((sum, { count }) => sum + count, 0),
    samples: parts.flatMap(({ samples }) => samples).slice(0, SAMPLES),
  };
}
