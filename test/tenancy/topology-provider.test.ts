import assert from "node:assert/strict";
import * as bucket from "../../components/provider/v1/bucket.ts";
import * as drain from "../../components/provider/v1/drain.ts";
import * as stream from "../../components/provider/v1/stream.ts";
import * as topology from "../../components/provider/v1/topology.ts";
import * as topologyCommit from "../../components/provider/v1/topology-commit.ts";
import { JetStream } from "../../components/stores/jetstream.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { natsInside } from "../../components/tenancy/inside.ts";
import { readClaim } from "../../components/tenancy/registry.ts";
import { beginTopology } from "../../components/tenancy/topology.ts";
import { newLedger, newProcess, newRealm, provision, type Tenant, tidy } from "./scene.ts";
import { assertIs, planOf, plans, SHARE } from "./topology-engine.ts";

/** How the engine writes what it does not know yet. */
const unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

const { straight } = plans;
const roomier = planOf({ in: 1, out: 1 }, ["in>out"], { maxMessages: 200_000 });

/** As the engine acts on the dynamic resources: with what state holds, and no memory of its own. */
describe("the dynamic resources of a topology", () => {
  let stores: Stores;
  let tenant: Tenant;
  let inside: { platform: string; owner: string; logicalName: string; generation: string; account: string };
  let topologyInputs: topology.TopologyInputs;
  let made: topology.TopologyState;
  let streamInputs: stream.StreamInputs;
  let bucketInputs: bucket.BucketInputs[];
  let gateInputs: drain.DrainInputs;
  let gate: drain.DrainState;
  let commitInputs: topologyCommit.TopologyCommitInputs;

  before(async () => {
    stores = newProcess();
    tenant = await provision(stores, await newLedger(stores), `${newRealm()}/flow`, SHARE);
    const { owner, logicalName, generation, nats, claimed } = tenant;
    const part = { platform: "platform", owner, logicalName, generation };
    inside = { ...part, account: nats.account };
    topologyInputs = (await topology.check({} as never, { ...part, plan: straight })).inputs ?? assert.fail();
    made = (await topology.create(topologyInputs)).outs;
    const { topologyGeneration } = made;
    const { name, config, digest } = straight.buffers.out_0 ?? assert.fail();
    streamInputs = { ...inside, name, config, digest, topologyGeneration };
    await stream.create(streamInputs);
    bucketInputs = Object.values(straight.buckets).map((each) => ({ ...inside, ...each, topologyGeneration }));
    for (const inputs of bucketInputs) await bucket.create(inputs);
    const { namespace } = claimed;
    gateInputs = {
      ...{ ...inside, namespace, phase: "Running", sources: ["in"], buffers: ["out_0"] },
      ...{ graceSeconds: 1, deletionGraceSeconds: 1 },
    };
    gate = (await drain.create(gateInputs)).outs;
    commitInputs = { ...inside, topologyGeneration, namespace, phase: "Running", graceSeconds: 1 };
    await topologyCommit.create(commitInputs);
  });
  after(tidy);

  const bucketOne = () => bucketInputs[0] ?? assert.fail();

  it("make what the plan says, and see no change in it", async () => {
    await assertIs(stores, tenant, straight);
    assert.equal(gate.outcome, "running");
    assert.deepEqual((await topology.read("", made)).props, made);
    assert.equal((await topology.diff("", made, topologyInputs)).changes, false);
    assert.deepEqual((await stream.read("", streamInputs)).props, streamInputs);
    assert.equal((await stream.diff("", streamInputs, streamInputs)).changes, false);
    assert.deepEqual((await bucket.read("", bucketOne())).props, bucketOne());
    assert.equal((await bucket.diff("", bucketOne(), bucketOne())).changes, false);
    assert.equal((await drain.diff("", gate, gateInputs)).changes, false);
    assert.equal((await topologyCommit.diff("", commitInputs, commitInputs)).changes, false);
  });

  it("preview with what is not known yet, and name a mistake's property", async () => {
    const part = { platform: "platform", owner: unknown, logicalName: "dev/flow", generation: unknown };
    const first = await topology.check({} as never, { ...part, plan: straight });
    assert.deepEqual([first.failures, first.inputs?.computedFrom], [[], 0]);
    const later = { ...streamInputs, topologyGeneration: unknown as unknown as number };
    assert.deepEqual((await stream.check(later, later)).failures, []);
    assert.deepEqual(await stream.diff("", streamInputs, later), {
      changes: true,
      replaces: [],
      deleteBeforeReplace: true,
    });
    const wrong = { ...gateInputs, phase: "running" as "Running" };
    assert.deepEqual(
      (await drain.check(wrong, wrong)).failures?.map(({ property }) => property),
      ["phase"],
    );
  });

  it("replace a stream only where JetStream cannot change it", async () => {
    const { config } = streamInputs;
    const diff = async (change: Partial<typeof config>) =>
      (await stream.diff("", streamInputs, { ...streamInputs, config: { ...config, ...change } })).replaces;
    assert.deepEqual(await diff({ maxMessages: 1, maxAgeSeconds: 100, ackWaitSeconds: 5 }), []);
    assert.deepEqual(await diff({ retention: "interest" }), []);
    assert.deepEqual(await diff({ retention: "workqueue" }), ["config"]);
    const elsewhere = await stream.diff("", streamInputs, { ...streamInputs, account: "A" });
    assert.deepEqual(elsewhere.replaces, ["account"]);
  });

  it("show by a refresh what somebody changed, or deleted", async () => {
    const held = (await readClaim(stores.etcd, tenant.logicalName)) ?? assert.fail();
    const admin = await JetStream.connect(await natsInside(stores, held, "somebody"));
    const { config, digest, name } = streamInputs;
    await admin.updateBuffer(name, { ...config, maxMessages: 3 }, { generation: 1, digest });
    const seen = (await stream.read("", streamInputs)).props ?? assert.fail();
    assert.equal(seen.config.maxMessages, 3);
    assert.equal((await stream.diff("", seen, streamInputs)).changes, true);
    await stream.update("", seen, streamInputs);
    await admin.deleteBucket(bucketOne().name);
    assert.equal((await bucket.read("", bucketOne())).id, "");
    await bucket.create(bucketOne());
    await admin.close();
    await assertIs(stores, tenant, straight);
  });

  it("have all made right after a destroy that was killed when it had deleted what state still has", async () => {
    await drain.delete("", gate);
    await stream.delete("", streamInputs);
    assert.equal((await topology.diff("", made, topologyInputs)).changes, true);
    made = (await topology.update("", made, topologyInputs)).outs;
    const { topologyGeneration } = made;
    const again = { ...streamInputs, topologyGeneration };
    assert.equal((await stream.diff("", streamInputs, again)).changes, true);
    await stream.update("", streamInputs, again);
    assert.deepEqual((await stream.read("", again)).props, again);
    assert.equal((await topology.diff("", made, topologyInputs)).changes, false);
  });

  it("see that another run has begun a topology, and keep what a plan was computed from", async () => {
    const news = { ...topologyInputs, plan: roomier };
    const base = made.topologyGeneration;
    const checked = (await topology.check(topologyInputs, news)).inputs;
    assert.equal(checked?.computedFrom, base);
    // By a run that was killed before Pulumi noted it.
    await beginTopology(newProcess(), tenant, { plan: roomier, discard: false, base });
    assert.equal((await topology.diff("", made, topologyInputs)).changes, true);
    // The engine compares inputs with those of a saved plan.
    assert.equal((await topology.check(topologyInputs, news)).inputs?.computedFrom, base + 1);
    const read = (await topology.read("", made)).props ?? assert.fail();
    assert.deepEqual([read.topologyGeneration, read.plan.digest], [base + 1, roomier.digest]);
  });
});
