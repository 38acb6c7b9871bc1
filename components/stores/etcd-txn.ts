/** What etcd's transactions are made of: keys, ranges, conditions and operations. */
import type { ICompare, IRequestOp } from "etcd3";

/** A key as it was read. Revisions are etcd's, as text: they have 64 bits. */
export interface Entry {
  key: string;
  value: string;
  /** When the key last came to be: a put of one that is there keeps it. */
  createRevision: string;
  modRevision: string;
  lease: string;
}

/** What a page tells of a key. */
export interface KeyHead {
  key: Buffer;
  modRevision: string;
  /** "0" when it has none. */
  lease: string;
}

/** A condition or an operation of a transaction. */
export type Compare = ICompare;
export type Operation = IRequestOp;

/** Keys and values travel as bytes. */
export const bytes = (text: string) => Buffer.from(text, "utf8");

/** A stretch of the key space, in bytes: what tenants write need not be text. `end` is not part of it. */
export interface Span {
  from: Buffer;
  end: Buffer;
}

/** All keys that begin with `prefix`. */
export const spanOf = (prefix: string): Span => ({ from: bytes(prefix), end: rangeEnd(prefix) });

/** The end of the range of all keys that begin with `prefix`, as etcd wants it. */
export function rangeEnd(prefix: string | Buffer): Buffer {
  const end = Buffer.from(prefix as string, "utf8");
  for (let i = end.length - 1; i >= 0; i--) {
    const byte = end[i] as number;
    if (byte < 0xff) {
      end[i] = byte + 1;
      return end.subarray(0, i + 1);
    }
  }
  return Buffer.from([0]);
}

/** Conditions of a transaction. */
export const when = {
  /** The key does not exist. */
  absent: (key: string): Compare => ({ key: bytes(key), target: "Create", result: "Equal", create_revision: 0 }),
  /** No key begins with the prefix: a compare over a range holds vacuously when the range is empty. */
  noneBelow: (prefix: string): Compare => ({ ...when.absent(prefix), range_end: rangeEnd(prefix) }),
  unchanged: (key: string, modRevision: string): Compare => ({
    key: bytes(key),
    target: "Mod",
    result: "Equal",
    mod_revision: modRevision,
  }),
};

/** Operations of a transaction. */
export const op = {
  put: (key: string, value: string, lease = "0"): Operation => ({
    request_put: { key: bytes(key), value: bytes(value), lease },
  }),
  remove: (key: string): Operation => ({ request_delete_range: { key: bytes(key) } }),
  removeAll: ({ from, end }: Span): Operation => ({ request_delete_range: { key: from, range_end: end } }),
  get: (key: string): Operation => ({ request_range: { key: bytes(key) } }),
  list: (prefix: string, limit = 0): Operation => ({
    request_range: { key: bytes(prefix), range_end: rangeEnd(prefix), limit },
  }),
};

/** A key as the raw client gives it. */
export const entryOf = (
  kv: Record<"key" | "value", Buffer> & Record<"create_revision" | "mod_revision" | "lease", string>,
): Entry => ({
  key: kv.key.toString("utf8"),
  value: kv.value.toString("utf8"),
  createRevision: kv.create_revision,
  modRevision: kv.mod_revision,
  lease: kv.lease,
});
