import assert from "node:assert/strict";
import fc from "fast-check";
import { Etcd } from "../../components/stores/etcd.ts";
import { op } from "../../components/stores/etcd-txn.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { listGraves, reap } from "../../components/tenancy/graves.ts";
import { deleteLedger } from "../../components/tenancy/ledger.ts";
import { compareSnapshots, type Snapshot, takeSnapshot } from "../../components/tenancy/outside.ts";
import { keys, readClaim } from "../../components/tenancy/registry.ts";
import { release } from "../../components/tenancy/release.ts";
import { seed, seedText } from "../support/sample.ts";
import { type Fault, faults, faulty, isCall } from "./faults.ts";
import {
  access,
  holdTime,
  natsOf,
  newLedger,
  newProcess,
  newRealm,
  passTime,
  provision,
  type Tenant,
  tidy,
  tracesOf,
} from "./scene.ts";

/** Of each act. */
const CRASHES = 10;

/** Each makes a batch of slots, and buries one. */
const SLOT_CRASHES = 6;

/** At once: a run waits for servers most of the time. */
const ABREAST = 6;

const sequels = ["up", "destroy"] as const;
type Sequel = (typeof sequels)[number];

/** The writes by which a claim that finds no slot makes a batch: any claim may have to, and their own test is below. */
const makesSlots = (write: string) => /^(addRole|addUser|grantPrefix|grantRole|deleteUser|deleteRole)$/.test(write);

interface Crash {
  /** The write that fails. */
  at: number;
  fault: Fault;
  sequel: Sequel;
}

/** The tenant is claimed, and its own credentials work in both stores. */
async function assertWhole(stores: Stores, tenant: Tenant): Promise<void> {
  const seen = await readClaim(stores.etcd, tenant.logicalName);
  assert.equal(seen?.claim.state, "active");
  assert.equal(seen.claim.generation, tenant.generation);
  assert.equal(seen.claim.open, false);
  // The client that rides out authentication changes: the other runs make them all the while.
  const etcd = new Etcd({ endpoints: access.etcd.endpoints, ...tenant.etcd });
  await etcd.txn([], [op.put(`${tenant.etcd.prefix}alive`, "1")]);
  etcd.close();
  const nats = await natsOf(tenant);
  await (await nats.jetstreamManager()).streams.add({ name: "ALIVE", subjects: ["alive"] });
  await nats.close();
}

describe(`a run that fails at any of its writes (${seedText})`, () => {
  let realm: string;
  let stores: Stores;
  let outside: Snapshot;

  before(async () => {
    stores = newProcess();
    outside = await takeSnapshot(stores);
  });
  beforeEach(async () => {
    realm = newRealm();
    // A claim empties what graves are due first: that would put other writes before those that are counted here.
    await passTime(stores);
    await reap(stores);
  });
  after(tidy);

  /** Crashes at writes that are drawn from the seed, as faults and sequels are; test/crash strikes every one from outside. */
  const draw = (writes: number): Crash[] => {
    const at = fc.integer({ min: 0, max: writes - 1 });
    const crash = fc.record({ at, fault: fc.constantFrom(...faults), sequel: fc.constantFrom(...sequels) });
    const length = Math.min(CRASHES, writes);
    const different = fc.uniqueArray(crash, { selector: (each) => each.at, minLength: length, maxLength: length });
    return fc.sample(different, { seed, numRuns: 1 }).flat();
  };

  async function everyCrash(crashes: Crash[], run: (crash: Crash) => Promise<void>): Promise<void> {
    const queue = [...crashes];
    const failures: string[] = [];
    const worker = async () => {
      for (let crash = queue.shift(); crash; crash = queue.shift()) {
        const { at, fault, sequel } = crash;
        await holdTime(stores);
        await run(crash).catch((error: Error) => failures.push(`${fault} write ${at}, then ${sequel}: ${error.stack}`));
      }
    };
    await Promise.all(Array.from({ length: ABREAST }, worker));
    assert.equal(failures.join("\n"), "");
    // A maker of slots that was struck, and the next one: of slots that are buried, users may be there until the grave is due.
    await passTime(stores);
    await reap(stores);
    assert.deepEqual(compareSnapshots(outside, await takeSnapshot(stores)), []);
  }

  /** The writes of a `provision` that finds a slot: making a batch of them would put others before those that are counted. */
  async function countWrites(): Promise<number> {
    let least = Number.POSITIVE_INFINITY;
    for (const probe of ["probe-1", "probe-2"]) {
      const { stores: counted, writes } = faulty(newProcess());
      const owner = await newLedger(stores);
      await provision(counted, owner, `${realm}/${probe}`);
      await deleteLedger(newProcess(), owner);
      least = Math.min(least, writes.length);
    }
    return least;
  }

  /** Nobody knows whether the call of a killed run, or one without an answer, still comes: a grave has to watch for it. */
  async function assertBuried(generation: string | undefined, { fault }: Crash, write: string): Promise<void> {
    if (fault === "refused" || !isCall(write)) return;
    const graves = await listGraves(stores);
    assert(
      graves.some((grave) => grave.generation === generation),
      `${write} was left in doubt, and the release dug no grave`,
    );
  }

  it("creating: the next up completes it, and a destroy straight away leaves nothing", async () => {
    const writes = await countWrites();
    assert(writes > 12, String(writes));

    await everyCrash(draw(writes), async (crash) => {
      const logicalName = `${realm}/create-${crash.at}`;
      const owner = await newLedger(stores);
      const { stores: failing, writes } = faulty(newProcess(), crash.fault, crash.at);
      await provision(failing, owner, logicalName).catch(() => {});
      const write = writes[crash.at] ?? assert.fail(`there was no write ${crash.at}`);
      const { generation } = (await readClaim(stores.etcd, logicalName))?.claim ?? {};
      if (crash.sequel === "up") {
        const next = newProcess();
        const tenant = await provision(next, owner, logicalName);
        if (generation) assert.equal(tenant.generation, generation);
        await assertWhole(stores, tenant);
      }
      await deleteLedger(newProcess(), owner);
      assert.deepEqual(await tracesOf(stores, logicalName), []);
      if (!makesSlots(write)) await assertBuried(generation, crash, write);
    });
  });

  it("making slots: the next claim buries the unfinished ones and makes others", async () => {
    // As if whoever made the ready ones had been killed: the next claim has to make a batch.
    const spoilSlots = async () => {
      for (const { key, value } of await stores.etcd.list(keys.slots)) {
        const slot = JSON.parse(value);
        if (slot.state === "ready")
          await stores.etcd.txn([], [op.put(key, JSON.stringify({ ...slot, state: "making" }))]);
      }
    };
    await spoilSlots();
    const { stores: counted, writes } = faulty(newProcess());
    const probe = await newLedger(stores);
    await provision(counted, probe, `${realm}/probe`);
    assert(writes.filter(makesSlots).length >= 64, writes.join(" "));

    const crashes = fc.sample(fc.tuple(fc.integer({ min: 0, max: writes.length - 1 }), fc.constantFrom(...faults)), {
      seed,
      numRuns: SLOT_CRASHES,
    });
    for (const [at, fault] of crashes) {
      await spoilSlots();
      const { stores: failing } = faulty(newProcess(), fault, at);
      await provision(failing, probe, `${realm}/slots-${at}`).catch(() => {});
      await assertWhole(stores, await provision(newProcess(), probe, `${realm}/slots-${at}`));
    }
    await deleteLedger(newProcess(), probe);
    await passTime(stores);
    await reap(stores);
    assert.deepEqual(await tracesOf(stores, realm), []);
    assert.deepEqual(compareSnapshots(outside, await takeSnapshot(stores)), []);
  });

  it("releasing: the next up makes a new generation, and the next destroy finishes", async () => {
    const counted = faulty(newProcess());
    const probe = await newLedger(stores);
    const whole = await provision(newProcess(), probe, `${realm}/probe`);
    await assertWhole(stores, whole);
    await release(counted.stores, { ...whole, ...whole.claimed });
    await deleteLedger(newProcess(), probe);
    assert(counted.writes.length > 8, counted.writes.join(" "));

    await everyCrash(draw(counted.writes.length), async (crash) => {
      const logicalName = `${realm}/release-${crash.at}`;
      const owner = await newLedger(stores);
      const tenant = await provision(newProcess(), owner, logicalName);
      await assertWhole(stores, tenant);
      const { stores: failing, writes } = faulty(newProcess(), crash.fault, crash.at);
      await release(failing, { ...tenant, ...tenant.claimed }).catch(() => {});
      const write = writes[crash.at] ?? assert.fail(`there was no write ${crash.at}`);
      const begun = (await readClaim(stores.etcd, logicalName))?.claim.state !== "active";
      if (crash.sequel === "up") {
        const next = await provision(newProcess(), owner, logicalName);
        assert.equal(next.generation !== tenant.generation, begun, "a release that has begun ends that generation");
        await assertWhole(stores, next);
      } else await release(newProcess(), { ...tenant, ...tenant.claimed });
      await deleteLedger(newProcess(), owner);
      assert.deepEqual(await tracesOf(stores, logicalName), []);
      await assertBuried(tenant.generation, crash, write);
    });
  });

  it("destroying the ledger: the next destroy finishes it", async () => {
    const counted = faulty(newProcess());
    const probe = await newLedger(stores);
    await provision(newProcess(), probe, `${realm}/probe`);
    await deleteLedger(counted.stores, probe);

    // Between these lies the release, as above.
    const last = counted.writes.length - 1;
    const ends = [0, 1, last - 2, last - 1, last].map((at, i) => ({ ...(draw(CRASHES)[i] as Crash), at }));
    await everyCrash(ends, async (crash) => {
      const logicalName = `${realm}/destroy-${crash.at}`;
      const owner = await newLedger(stores);
      await provision(newProcess(), owner, logicalName);
      const { stores: failing, writes } = faulty(newProcess(), crash.fault, crash.at);
      await deleteLedger(failing, owner).catch(() => {});
      assert(writes.length > crash.at, `there was no write ${crash.at}`);
      await deleteLedger(newProcess(), owner);
      assert.deepEqual(await tracesOf(stores, logicalName), []);
      assert.equal(await stores.etcd.get(`/ringfence/v1/stacks/${owner}`), undefined);
    });
  });
});
