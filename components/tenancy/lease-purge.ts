/** The leases that a prefix's keys name: revoked where they hold nothing else. */
import type { Etcd } from "../stores/etcd.ts";
import type { KeyHead, Span } from "../stores/etcd-txn.ts";
import type { Caller } from "./hold.ts";

/** Revoking a lease removes its keys in one transaction: one with more is emptied by ranges first. */
const MOST_KEYS = 500;

/** Calls side by side. */
const PARALLEL = 8;

export class LeasePurge {
  /** Leases that hold keys outside the spans too: the id, and such a key. */
  readonly kept: Array<{ lease: string; holds: string }> = [];
  readonly #etcd: Etcd;
  readonly #spans: Span[];
  readonly #call: Caller;
  readonly #removed: { keys: number; leases: number };
  /** Not to be asked about again with each page. */
  readonly #keptIds = new Set<string>();
  /** To be asked about again when the keys are gone. */
  readonly #large = new Set<string>();

  /** @param removed counted up */
  constructor(etcd: Etcd, spans: Span[], call: Caller, removed: { keys: number; leases: number }) {
    this.#etcd = etcd;
    this.#spans = spans;
    this.#call = call;
    this.#removed = removed;
  }

  /**
   * To be done before the keys are removed: should we be killed in between, the keys that are left still name the leases.
   */
  async revokeNamedBy(keys: KeyHead[]): Promise<void> {
    const named = new Set(keys.map(({ lease }) => lease));
    named.delete("0");
    await this.#revoke([...named].filter((lease) => !this.#keptIds.has(lease) && !this.#large.has(lease)));
  }

  /** The ones that had too many keys, when those are gone. Killed before this, they run out by themselves. */
  async revokeEmptied(): Promise<void> {
    await this.#revoke([...this.#large]);
  }

  async #revoke(leases: string[]): Promise<void> {
    for (let i = 0; i < leases.length; i += PARALLEL) {
      const asked = leases.slice(i, i + PARALLEL).map(async (lease) => ({
        lease,
        keys: await this.#etcd.leasedKeys(lease),
      }));
      const ours = (await Promise.all(asked)).flatMap(({ lease, keys }) => this.#judge(lease, keys));
      if (ours.length === 0) continue;
      await this.#call(async () => {
        await Promise.all(ours.map(({ lease }) => this.#etcd.revokeLease(lease)));
      });
      for (const { keys } of ours) this.#removed.keys += keys;
      this.#removed.leases += ours.length;
    }
  }

  /** @returns the lease when revoking it removes few keys, and inside ones only */
  #judge(lease: string, keys: Buffer[] | "gone" | "too many"): Array<{ lease: string; keys: number }> {
    if (keys === "gone") return [];
    if (keys === "too many" || keys.length > MOST_KEYS) {
      this.#large.add(lease);
      return [];
    }
    const outside = keys.find((key) => !this.#spans.some((span) => holds(span, key)));
    if (outside === undefined) return [{ lease, keys: keys.length }];
    this.kept.push({ lease, holds: outside.toString() });
    this.#keptIds.add(lease);
    return [];
  }
}

const holds = ({ from, end }: Span, key: Buffer): boolean => from.compare(key) <= 0 && key.compare(end) < 0;
