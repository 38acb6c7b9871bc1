import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { type Operation, op, type Span, spanOf } from "../../components/stores/etcd-txn.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import type { Pace } from "../../components/tenancy/pace.ts";
import { type Purged, type PurgeOptions, purge } from "../../components/tenancy/purge.ts";
import { bound, newProcess, tidy } from "./scene.ts";

/** Operations of one transaction. */
const BATCH = 128;

describe("purging a prefix", () => {
  const root = `/purged-${randomBytes(5).toString("hex")}/`;
  const prefix = `${root}a/`;
  let stores: Stores;

  before(() => {
    stores = newProcess();
  });
  afterEach(async () => {
    await stores.etcd.txn([], [op.removeAll(spanOf(root))]);
  });
  after(tidy);

  const put = async (operations: Operation[]): Promise<string> => {
    let revision = "0";
    for (let i = 0; i < operations.length; i += BATCH)
      revision = (await stores.etcd.txn([], operations.slice(i, i + BATCH))).revision;
    return revision;
  };
  const numbered = (count: number, lease?: string) =>
    Array.from({ length: count }, (_, i) => op.put(`${prefix}${String(i).padStart(6, "0")}`, "v", lease));
  const left = async () => (await stores.etcd.list(root, { keysOnly: true })).map(({ key }) => key.slice(root.length));
  const isGone = async (lease: string) => (await stores.etcd.leasedKeys(lease)) === "gone";

  const always = (size: number): Pace => ({ size, removing: (removal) => removal() });

  interface Run extends Purged {
    removed: { keys: number; leases: number };
    /** Keys of each removal. */
    removals: number[];
  }

  async function run(options: Partial<PurgeOptions> = {}, prefixes = [prefix]): Promise<Run> {
    const removed = { keys: 0, leases: 0 };
    const removals: number[] = [];
    const purged = await purge(stores, prefixes, {
      removed,
      call: (act) => act(),
      remove: async (operation) => {
        const count = (await stores.etcd.txn([], [operation])).removed;
        removals.push(count);
        return count;
      },
      ...options,
    });
    return { ...purged, removed, removals };
  }

  it("does nothing where nothing is", async () => {
    assert.deepEqual(await run(), { removed: { keys: 0, leases: 0 }, removals: [], kept: [], late: 0 });
  });

  for (const [keys, removals] of [
    [1, [1]],
    [9, [9]],
    [10, [10]],
    [11, [10, 1]],
    [21, [10, 10, 1]],
  ] as const) {
    it(`removes ${keys} keys, ten at a time, in ${removals.length} transactions`, async () => {
      await put(numbered(keys));
      const found = await run({ pace: always(10) });
      assert.deepEqual(found, { removed: { keys, leases: 0 }, removals, kept: [], late: 0 });
      assert.deepEqual(await left(), []);
    });
  }

  it("leaves keys alone that only begin alike, and those beside it in the key space", async () => {
    const beside = ["a", "a.", "a0", "ab/x", "b/x", "9/x"];
    const revision = await put(beside.map((name) => op.put(`${root}${name}`, "theirs")));
    await put([op.put(prefix, "the prefix itself"), ...numbered(25)]);
    assert.equal((await run({ pace: always(10) })).removed.keys, 26);
    const kept = await stores.etcd.list(root);
    assert.deepEqual(kept.map(({ key }) => key.slice(root.length)).sort(), [...beside].sort());
    for (const { modRevision } of kept) assert.equal(modRevision, revision);
  });

  it("removes keys of several prefixes, and none between them", async () => {
    const names = ["a/1", "b/1", "c/1", "c/2"];
    await put(names.map((name) => op.put(`${root}${name}`, "v")));
    const { removed } = await run({}, [prefix, `${root}c/`]);
    assert.deepEqual(await left(), ["b/1"]);
    assert.deepEqual(removed, { keys: 3, leases: 0 });
  });

  it("removes keys that are no text", async () => {
    const raw = (suffix: number[]) => Buffer.concat([Buffer.from(prefix), Buffer.from(suffix)]);
    const names = [[0], [0, 0], [0xff], [0xff, 0xff], [0xfe, 0x80], [0x61, 0xff, 0]].map(raw);
    await put(names.map((key) => ({ request_put: { key, value: Buffer.of(1) } })));
    assert.equal((await run({ pace: always(2) })).removed.keys, names.length);
    assert.deepEqual(await left(), []);
  });

  it("removes keys that do not fit into one answer", async () => {
    const long = (name: string) => op.put(`${prefix}${name}${"k".repeat(1_000_000)}`, "v");
    for (const name of ["a", "b", "c", "d", "e", "f"]) await put([long(name)]);
    assert.equal((await run({ pace: always(1_000) })).removed.keys, 6);
    assert.deepEqual(await left(), []);
  });

  describe("with leases", () => {
    it("revokes those of its keys, and no other", async () => {
      const { etcd } = stores;
      const [mine, theirs] = [await etcd.grantLease(600), await etcd.grantLease(600)];
      await put([...numbered(25, mine), op.put(`${prefix}plain`, "v"), op.put(`${root}b/x`, "v", theirs)]);
      const { removed, kept } = await run({ pace: always(10) });
      assert.deepEqual({ removed, kept }, { removed: { keys: 26, leases: 1 }, kept: [] });
      assert.deepEqual([await isGone(mine), await isGone(theirs)], [true, false]);
      assert.deepEqual(await left(), ["b/x"]);
      await etcd.revokeLease(theirs);
    });

    it("keeps one that outside keys need, says so, and removes the inside keys", async () => {
      const { etcd } = stores;
      const shared = await etcd.grantLease(600);
      await put([...numbered(25, shared), op.put(`${root}b/x`, "v", shared)]);
      const { removed, kept } = await run({ pace: always(10) });
      assert.deepEqual(removed, { keys: 25, leases: 0 });
      assert.deepEqual(kept, [{ lease: shared, holds: `${root}b/x` }]);
      assert.deepEqual(await left(), ["b/x"]);
      await etcd.revokeLease(shared);
    });

    it("revokes one whose keys lie in several of the prefixes", async () => {
      const lease = await stores.etcd.grantLease(600);
      await put([op.put(`${prefix}1`, "v", lease), op.put(`${root}c/1`, "v", lease)]);
      const { removed, kept } = await run({}, [prefix, `${root}c/`]);
      assert.deepEqual({ removed, kept }, { removed: { keys: 2, leases: 1 }, kept: [] });
      assert.equal(await isGone(lease), true);
    });

    it("revokes many, of one key each", async () => {
      const leases = await Promise.all(Array.from({ length: 50 }, () => stores.etcd.grantLease(600)));
      await put(leases.map((lease, i) => op.put(`${prefix}${i}`, "v", lease)));
      assert.deepEqual((await run()).removed, { keys: 50, leases: 50 });
      for (const lease of leases) assert.equal(await isGone(lease), true);
    });

    it("empties a large one by ranges before it revokes it", async () => {
      const lease = await stores.etcd.grantLease(600);
      await put(numbered(1_500, lease));
      const { removed, removals } = await run({ pace: always(500) });
      assert.deepEqual(removed, { keys: 1_500, leases: 1 });
      assert.deepEqual(removals, [500, 500, 500]);
      assert.equal(await isGone(lease), true);
    });

    it("keeps a large one that outside keys need", async () => {
      const lease = await stores.etcd.grantLease(600);
      await put([...numbered(1_000, lease), op.put(`${root}b/x`, "v", lease)]);
      assert.deepEqual((await run()).kept, [{ lease, holds: `${root}b/x` }]);
      assert.deepEqual(await left(), ["b/x"]);
      await stores.etcd.revokeLease(lease);
    });

    it("revokes one whose keys do not fit into one answer", async () => {
      const lease = await stores.etcd.grantLease(600);
      for (const name of ["a", "b", "c", "d", "e"])
        await put([op.put(`${prefix}${name}${"k".repeat(1_000_000)}`, "v", lease)]);
      assert.equal(await stores.etcd.leasedKeys(lease), "too many");
      assert.deepEqual((await run()).removed, { keys: 5, leases: 1 });
      assert.equal(await isGone(lease), true);
    });

    it("goes on with what is left when it was killed between leases and keys, or between two leases", async () => {
      const leases = await Promise.all(Array.from({ length: 12 }, () => stores.etcd.grantLease(600)));
      await put([...leases.map((lease, i) => op.put(`${prefix}${i}`, "v", lease)), op.put(`${prefix}plain`, "v")]);
      const gone = async () => (await Promise.all(leases.map(isGone))).filter(Boolean).length;
      let calls = 0;
      const call = async (act: () => Promise<void>) => {
        if (++calls === 2) throw new Error("killed");
        await act();
      };
      await assert.rejects(run({ call }), /killed/);
      const some = await gone();
      assert(some > 0 && some < leases.length, `${some} of ${leases.length} revoked`);
      assert.equal((await left()).length, leases.length - some + 1);

      await assert.rejects(run({ remove: () => Promise.reject(new Error("killed")) }), /killed/);
      assert.equal(await gone(), leases.length);
      assert.deepEqual(await left(), ["a/plain"]);

      assert.deepEqual((await run()).removed, { keys: 1, leases: 0 });
      assert.deepEqual(await left(), []);
    });

    it("leaves the keys that name a lease when the revocation is refused", async () => {
      const lease = await stores.etcd.grantLease(600);
      await put(numbered(20, lease));
      await assert.rejects(run({ call: () => Promise.reject(new Error("the lock is lost")) }), /the lock is lost/);
      assert.equal((await left()).length, 20);
      assert.deepEqual((await run()).removed, { keys: 20, leases: 1 });
    });
  });

  it("counts what was written after the fence", async () => {
    const fencedAt = await put(numbered(20));
    await put([op.put(`${prefix}000003`, "again"), op.put(`${prefix}late`, "v")]);
    const { removed, late } = await run({ fencedAt, pace: always(10) });
    assert.deepEqual({ keys: removed.keys, late }, { keys: 21, late: 2 });
  });

  it("counts what was written behind it", async () => {
    await put(numbered(20));
    const remove = async (operation: Operation) => {
      const { removed } = await stores.etcd.txn([], [operation]);
      await stores.etcd.txn([], [op.put(`${prefix}000000`, "back")]);
      return removed;
    };
    const { late } = await run({ pace: always(10), remove });
    assert.equal(late, 1);
    assert.deepEqual(await left(), ["a/000000"]);
  });

  it("looks again at everything, also where that takes several looks", async () => {
    await put(numbered(45_000));
    const looks: number[] = [];
    const etcd = new Proxy(stores.etcd, {
      get: (target, property) =>
        property !== "page"
          ? bound(target, property)
          : async (span: Span, limit: number) => {
              const page = await target.page(span, limit);
              if (limit === 1) looks.push(page?.count ?? Number.NaN);
              return page;
            },
    });
    const removed = { keys: 0, leases: 0 };
    const { late } = await purge({ ...stores, etcd }, [prefix], {
      removed,
      call: (act) => act(),
      remove: async (operation) => {
        const outcome = await stores.etcd.txn([], [operation]);
        if (removed.keys + outcome.removed === 45_000)
          await put([op.put(`${prefix}005000`, "back"), op.put(`${prefix}025000`, "back")]);
        return outcome.removed;
      },
      pace: always(5_000),
    });
    assert.deepEqual({ looks, late }, { looks: [1, 1, 0], late: 2 });
  });

  it("stops at once when its guard is lost, has said what is gone, and goes on from there", async () => {
    await put(numbered(50));
    const removed = { keys: 0, leases: 0 };
    let removals = 0;
    const remove = async (operation: Operation) => {
      if (++removals > 2) throw new Error("superseded");
      return (await stores.etcd.txn([], [operation])).removed;
    };
    await assert.rejects(run({ pace: always(10), removed, remove }), /superseded/);
    assert.deepEqual(
      { removals, removed, left: (await left()).length },
      {
        removals: 3,
        removed: { keys: 20, leases: 0 },
        left: 30,
      },
    );
    assert.equal((await run()).removed.keys, 30);
  });

  it("tells how far it is when it takes long, and nothing otherwise", async () => {
    await put(numbered(50));
    const told: string[] = [];
    const clock = Date.now;
    // Stands still but for what a removal takes. It is ahead, so that deadlines of calls, which are told by it, are not behind.
    let now = clock() + 60_000;
    Date.now = () => now;
    try {
      await run({
        pace: always(10),
        progress: (line) => told.push(line),
        remove: async (operation) => {
          now += 2_000;
          return (await stores.etcd.txn([], [operation])).removed;
        },
      });
      assert.deepEqual(told, ["20 of 50 keys", "40 of 50 keys"]);
      await put(numbered(50));
      await run({ progress: (line) => assert.fail(line) });
    } finally {
      Date.now = clock;
    }
  });
});
