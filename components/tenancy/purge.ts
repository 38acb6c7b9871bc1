/**
 * Purging a prefix: its keys in bounded ranges and the leases that they name, at a pace that neighbours hardly notice.
 * Whatever the number of keys, a few pages of them are in memory.
 */
import { REGISTRY_PREFIX } from "../plan/names.ts";
import { type Compare, type Operation, op, type Span, spanOf, when } from "../stores/etcd-txn.ts";
import type { Stores } from "./access.ts";
import type { Caller } from "./hold.ts";
import { type KeyPage, walkKeys } from "./key-walk.ts";
import { LeasePurge } from "./lease-purge.ts";
import { NeighbourlyPace, type Pace } from "./pace.ts";

/** Keys that are looked at at once: a few removals' worth, for each look is a round trip. */
const PAGE = 5_000;

/**
 * Keys behind which a look at what is left begins anew: etcd keeps deleted keys until its next compaction, and goes
 * through all of them in one go.
 */
const SLICE = 20_000;

interface Slice extends Span {
  keys: number;
}

/** Between two lines of progress, milliseconds. A purge that is over sooner tells nothing. */
const PROGRESS_MS = 3_000;

export interface PurgeOptions {
  /** Makes the guarded transaction. @returns how many keys it removed */
  remove(operation: Operation): Promise<number>;
  /** Guards what no transaction can: lease revocations. */
  call: Caller;
  /** Counted up as keys and leases go, so that a purge which is stopped has still said what it removed. */
  removed: { keys: number; leases: number };
  /** The revision of the fence: keys written after it are counted as late. */
  fencedAt?: string;
  /** Told such as `120,000 of 1,000,000 keys` every few seconds, when it takes that long. */
  progress?: (line: string) => void;
  /** @default one that adapts to the neighbours */
  pace?: Pace;
}

export interface Purged {
  /** Leases that hold keys outside the prefixes too, and stay: the id, and such a key. */
  kept: Array<{ lease: string; holds: string }>;
  /** Keys that were written after the fence, or were back when everything was looked at again: somebody still can. */
  late: number;
}

/**
 * Removes all keys below some prefixes, and the leases that they name. One pass: what is written behind it stays, and is
 * told. With nothing late, the prefixes were empty when it ended.
 * Stops at once when the guard throws; made again, it goes on with what is left.
 */
export async function purge({ etcd }: Stores, prefixes: readonly string[], options: PurgeOptions): Promise<Purged> {
  const { remove, call, removed, fencedAt } = options;
  const pace = options.pace ?? new NeighbourlyPace(() => etcd.get(REGISTRY_PREFIX));
  const spans = prefixes.map(spanOf);
  const leases = new LeasePurge(etcd, spans, call, removed);
  const meter = progressMeter(options);
  let late = 0;
  for (const span of spans) {
    const slices: Slice[] = [{ ...span, keys: 0 }];
    for await (const page of walkKeys(etcd, span, () => Math.max(PAGE, pace.size), meter.expect)) {
      await leases.revokeNamedBy(page.keys);
      for (const part of parts(page, () => pace.size)) {
        removed.keys += await pace.removing(() => remove(op.removeAll(part)));
        meter.tick();
      }
      if (fencedAt !== undefined) late += writtenAfter(fencedAt, page);
      slice(slices, page);
    }
    for (const each of slices) late += (await etcd.page(each, 1))?.count ?? 1;
  }
  await leases.revokeEmptied();
  return { kept: leases.kept, late };
}

/** Adds a page to the last slice, or begins another one behind it. */
function slice(slices: Slice[], { keys, span }: KeyPage): void {
  const last = slices.at(-1);
  if (!last) return;
  last.keys += keys.length;
  if (last.keys < SLICE) return;
  slices.push({ from: span.end, end: last.end, keys: 0 });
  last.end = span.end;
}

/**
 * Conditions for the transaction that gives prefixes up after a purge with nothing late: that nothing lies below them.
 * None where that many keys were removed that one look at their remains would stop everybody (0.15 s a million): the purge
 * has looked, slice by slice, after the fence.
 */
export function nothingBelow(prefixes: readonly string[], removedKeys: number): Compare[] {
  return removedKeys > SLICE ? [] : prefixes.map(when.noneBelow);
}

/** A page's span in parts of so many keys. */
function* parts({ keys, span }: KeyPage, size: () => number): Generator<Span> {
  let from = span.from;
  for (let next = size(); from.compare(span.end) < 0; next += size()) {
    const end = keys[next]?.key ?? span.end;
    yield { from, end };
    from = end;
  }
}

const writtenAfter = (revision: string, { keys }: KeyPage): number =>
  keys.filter(({ modRevision }) => BigInt(modRevision) > BigInt(revision)).length;

function progressMeter({ removed, progress }: PurgeOptions) {
  const before = removed.keys;
  let told = Date.now();
  let keys = 0;
  return {
    expect: (count: number) => {
      keys += count;
    },
    tick: () => {
      if (Date.now() - told < PROGRESS_MS) return;
      told = Date.now();
      progress?.(`${(removed.keys - before).toLocaleString("en")} of ${keys.toLocaleString("en")} keys`);
    },
  };
}
