import assert from "node:assert/strict";
import fc from "fast-check";
import { userName } from "../../components/plan/names.ts";
import { op } from "../../components/stores/etcd-txn.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { claimTenant } from "../../components/tenancy/claim.ts";
import { reap } from "../../components/tenancy/graves.ts";
import { createLedger, deleteLedger } from "../../components/tenancy/ledger.ts";
import { compareSnapshots, type Snapshot, takeSnapshot } from "../../components/tenancy/outside.ts";
import { EXTERNAL, keys } from "../../components/tenancy/registry.ts";
import { burn } from "../../components/tenancy/slots.ts";
import { seed, seedText } from "../support/sample.ts";
import { Model, NAMES, type Name } from "./model.ts";
import { destroyStack, goOn } from "./model-acts.ts";
import { commands, STACKS } from "./model-commands.ts";
import { World } from "./model-world.ts";
import { natsOf, newLedger, newProcess, newRealm, passTime, provision, recorded, tidy } from "./scene.ts";

const runs = Number(process.env.RINGFENCE_MODEL_RUNS ?? 3);
/** The `path` and the `replayPath` that a failure shows: they repeat its shortest sequence at once. */
const { RINGFENCE_MODEL_PATH: path, RINGFENCE_MODEL_REPLAY: replayPath } = process.env;

/** Commands in a run, at most; half as many on average. */
const LENGTH = 30;

/** How long at most, a run and the shrinking of a failure included, milliseconds. */
const PER_RUN_MS = 60_000;

/** More claims than a run makes. */
const SLOTS = 14;

describe(`random acts of several stacks, compared with a model (${seedText}, RINGFENCE_MODEL_RUNS=${runs})`, function () {
  this.timeout((runs + 4) * PER_RUN_MS);
  let stores: Stores;
  let outside: Snapshot;
  /** What the audit finds that is no doing of the sequence that is run: other suites', or of one that failed before. */
  const known = new Set<string>();

  before(async () => {
    stores = newProcess();
    const neighbour = await provision(newProcess(), await newLedger(stores), `${newRealm()}/neighbour`);
    await stores.etcd.txn([], [op.put(`${neighbour.etcd.prefix}a`, "1")]);
    const nats = await natsOf(neighbour);
    await (await nats.jetstreamManager()).streams.add({ name: "WORK", subjects: ["work"] });
    await nats.jetstream().publish("work");
    await nats.close();
    await noteOutside(new World(stores, newRealm(), known));
  });
  after(tidy);

  it("leaves nothing behind, and the model and the stores agree after each of them", async () => {
    const property = fc.asyncProperty(fc.commands(commands, { maxCommands: LENGTH, size: "max", replayPath }), run);
    await fc.assert(property, {
      seed,
      numRuns: runs,
      ...(path && { path }),
      unbiased: true,
      skipAllAfterTimeLimit: (runs + 2) * PER_RUN_MS,
    } as fc.Parameters<[Iterable<fc.AsyncCommand<Model, World>>]>);
  });

  async function run(acts: Iterable<fc.AsyncCommand<Model, World>>): Promise<void> {
    await stockSlots(stores);
    const world = new World(stores, newRealm(), known);
    const model = new Model([]);
    for (let i = 0; i < STACKS; i++) model.stacks.push(await world.newStack());
    try {
      await fc.asyncModelRun(async () => ({ model, real: world }), acts);
      await clearAway(model, world);
      assert.deepEqual(await world.findings(), []);
      assert.deepEqual(compareSnapshots(outside, await takeSnapshot(stores)), []);
    } catch (error) {
      await clearAway(model, world).catch(() => {});
      await noteOutside(world);
      throw error;
    } finally {
      await world.close();
    }
  }

  async function noteOutside(world: World): Promise<void> {
    for (const { kind, name } of await world.findings()) known.add(`${kind} ${name}`);
    outside = await takeSnapshot(stores);
  }

  /** What people do in the end: they take over or destroy all that there is, purge what was lost, and wait. */
  async function clearAway(model: Model, world: World): Promise<void> {
    for (let i = 0; i < STACKS; i++) await destroyStack(model, world, i);
    // What still hangs wakes up after the destroy.
    for (const stalled of [...model.stalled]) await goOn(model, world, stalled);
    const last = world.process();
    await world.expireLocks();
    const claim = async (name: Name): Promise<string> => {
      const owner = await createLedger(last);
      const names = { logicalName: world.logicalName(name), dynamoNamespace: world.namespace(name) };
      await claimTenant(last, { owner, recorded: recorded(name), ...names, onResidue: "purge", adopt: true });
      return owner;
    };
    for (const [name, { owner }] of model.claims) if (owner === EXTERNAL) await deleteLedger(last, await claim(name));
    const residue = NAMES.filter((name) => model.lost.get(name)?.length || model.dynamo.get(name));
    for (const name of residue) await deleteLedger(last, await claim(name));
    await passTime(stores);
    await reap(stores);
  }
});

/** Makes sure that a run makes no slots: a write's number then means the same whenever a sequence is repeated. */
async function stockSlots(stores: Stores): Promise<void> {
  const ready = (await stores.etcd.list(keys.slots)).filter(({ value }) => JSON.parse(value).state === "ready");
  if (ready.length >= SLOTS) return;
  for (const { key } of ready) {
    const generation = key.slice(keys.slots.length);
    await stores.etcd.deleteUser(userName(generation));
    await stores.etcd.txn([], [burn(generation, userName(generation))]);
  }
  const ledger = await createLedger(stores);
  await claimTenant(stores, { owner: ledger, logicalName: newRealm(), recorded: recorded("stock") });
  await deleteLedger(stores, ledger);
}
