import assert from "node:assert/strict";
import { CoreV1Api, KubeConfig } from "@kubernetes/client-node";
import type { JsMsg, NatsConnection } from "nats";
import { StoreError, until } from "../../components/stores/errors.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { type Gate, passForGood, passGate } from "../../components/tenancy/drain.ts";
import { readTopology } from "../../components/tenancy/topology-record.ts";
import { deleteNamespace, natsOf, newLedger, newProcess, newRealm, provision, type Tenant, tidy } from "./scene.ts";
import { assertIs, down, newState, planOf, plans, SHARE, type State, up } from "./topology-engine.ts";

const { straight, through, wide, forked } = plans;

/** Seconds: more than draining takes on a machine that is busy with something else. */
const GRACE = 200;

describe("the gate between sources and the rest", () => {
  const realm = newRealm();
  const core = (() => {
    const config = new KubeConfig();
    config.loadFromDefault();
    return config.makeApiClient(CoreV1Api);
  })();
  let stores: Stores;
  let tenant: Tenant;
  let state: State;
  let software: Software;
  let told: string[];
  let tenants = 0;

  beforeEach(async () => {
    told = [];
    stores = { ...newProcess(), progress: (line) => told.push(line) };
    tenant = await provision(stores, await newLedger(stores), `${realm}/gate-${++tenants}`, SHARE);
    state = newState();
    software = new Software(await natsOf(tenant));
  });
  afterEach(() => software.stop());
  after(tidy);

  const tells = (line: RegExp) =>
    until(async () => (told.some((each) => line.test(each)) ? true : undefined), {
      deadlineMs: 60_000,
      late: () => new Error(told.join("\n")),
    });
  const gate = (more: Partial<Gate> = {}): Gate => ({
    account: tenant.nats.account,
    namespace: "none",
    phase: "Paused",
    sources: ["in"],
    buffers: ["cat_0", "out_0"],
    ...more,
  });

  it("lets a running pipeline through at once, and one that is paused when all is read", async () => {
    await up(stores, tenant, state, { plan: through, phase: "Running" });
    await software.send("cat_0", 40);
    assert.equal(await passGate(stores, tenant, gate({ phase: "Running" }), 0), "running");
    software.forward("cat_0", "out_0");
    software.forward("out_0");
    assert.equal(await passGate(stores, tenant, gate(), GRACE), "drained");
    assert.equal(software.read.out_0, 40);
    assert.equal(told.at(-1), `${tenant.logicalName}: drained`);
  });

  it("says what is left when the grace is over, and what it waits for until then", async () => {
    await up(stores, tenant, state, { plan: through, phase: "Running" });
    await software.send("cat_0", 3);
    await software.send("out_0", 1);
    const taken = await software.takeOne("out_0");
    assert.equal(await passGate(stores, tenant, gate(), 0), "timed out, 4 messages left in cat_0 (3), out_0 (1)");
    assert.equal(await passGate(stores, tenant, gate(), 1), "timed out, 4 messages left in cat_0 (3), out_0 (1)");
    told = [];
    const passing = passGate(stores, tenant, gate(), GRACE);
    await tells(/^draining .*: 4 messages left in cat_0 \(3\), out_0 \(1\), \d+ s of its grace to go$/);
    taken.ack();
    software.forward("cat_0");
    assert.equal(await passing, "drained");
  });

  it("waits for the sources' pods, whatever the buffers hold", async () => {
    await up(stores, tenant, state, { plan: through, phase: "Running" });
    const { namespace } = tenant.claimed;
    await core.createNamespace({ body: { metadata: { name: namespace } } });
    const pod = (name: string, vertex: string) => ({
      metadata: { name, labels: { "ringfence.dev/vertex": vertex } },
      spec: { containers: [{ name: "main", image: "none" }], nodeSelector: { "ringfence.test/no": "node" } },
    });
    // A namespace's account for pods is made a moment after it.
    await until(() => core.createNamespacedPod({ namespace, body: pod("in-1", "in") }).catch(() => undefined), {
      deadlineMs: 120_000,
      late: () => new Error("no pod can be made"),
    });
    await core.createNamespacedPod({ namespace, body: pod("cat-1", "cat") });
    assert.equal(
      await passGate(stores, tenant, gate({ namespace }), 0),
      "timed out, pods of sources are still there: in-1",
    );
    const passing = passGate(stores, tenant, gate({ namespace }), GRACE);
    await tells(/in-1, \d+ s of its grace/);
    await core.deleteNamespacedPod({ name: "in-1", namespace, gracePeriodSeconds: 0 });
    assert.equal(await passing, "drained");
    await deleteNamespace(core, namespace);
  });

  it("never takes a look that failed for a drained buffer, and lets through when the grace is over", async () => {
    await up(stores, tenant, state, { plan: through, phase: "Running" });
    const down = () => Promise.reject(new StoreError("it does not answer", { unreachable: true }));
    for (const broken of [
      { ...stores, jetStream: down },
      { ...stores, kubernetes: down },
    ])
      assert.equal(
        await passGate(broken, tenant, gate(), 1),
        "timed out, and it could not be looked at all: it does not answer",
      );
    assert.equal(await passGate(stores, tenant, gate(), 0), "drained");
  });

  it("does not lose sight of a message that moves on behind its back", async () => {
    await up(stores, tenant, state, { plan: through, phase: "Running" });
    await software.send("cat_0", 1);
    let hops = 0;
    const moving = () => ++hops < 300;
    software.forward("cat_0", "out_0", moving);
    software.forward("out_0", "cat_0", moving);
    assert.equal(await passGate(stores, tenant, gate(), GRACE), "drained");
    assert(hops >= 300, `it was drained after ${hops} hops`);
  });

  it("refuses to take unread messages away, and lets them go when that is said", async () => {
    await up(stores, tenant, state, { plan: forked, phase: "Running" });
    await software.send("dog_0", 2);
    await assert.rejects(
      up(stores, tenant, state, { plan: through, phase: "Paused" }),
      /what leaves the topology is not drained \(timed out, 2 messages left in dog_0 \(2\)\): go back to the topology before .*'buffers.discard: true'/,
    );
    const small = planOf({ in: 1, cat: 1, dog: 1, out: 1 }, ["in>cat", "in>dog", "cat>out", "dog>out"], {
      maxMessages: 1,
    });
    const brief = planOf({ in: 1, cat: 1, dog: 1, out: 1 }, ["in>cat", "in>dog", "cat>out", "dog>out"], {
      maxAgeSeconds: 1,
      dedupWindowSeconds: 1,
    });
    const queue = planOf({ in: 1, cat: 1, dog: 1, out: 1 }, ["in>cat", "in>dog", "cat>out", "dog>out"], {
      retention: "workqueue",
    });
    const old = Date.now() + 1_000;
    await until(async () => (Date.now() > old ? true : undefined), { deadlineMs: 60_000, late: () => new Error() });
    for (const [plan, why] of [
      [small, /buffer 'dog_0' has 2 unread messages, and may hold no more than 'buffers.maxMessages: 1' then/],
      [
        brief,
        /buffer 'dog_0' has 2 unread messages, and may hold none as old as the oldest by 'buffers.maxAgeSeconds: 1'/,
      ],
      [queue, /buffer 'dog_0' has 2 unread messages, and leaves the topology/],
    ] as const)
      await assert.rejects(up(stores, tenant, state, { plan, phase: "Running" }), why);
    assert.equal(await software.count("dog_0"), 2);

    await up(stores, tenant, state, { plan: through, phase: "Running", discard: true });
    await assertIs(stores, tenant, through);
  });

  it("says to pause first where a vertex stays and gives up a buffer with messages, and so it goes", async () => {
    await up(stores, tenant, state, { plan: wide, phase: "Running" });
    await software.send("cat_1", 2);
    await assert.rejects(
      up(stores, tenant, state, { plan: through, phase: "Running" }),
      /what leaves the topology is not drained \(timed out, 2 messages left in cat_1 \(2\)\): nobody reads it any more, for it was taken from cat; pause first: run 'pulumi up' with the topology before, then make this change with lifecycle\.desiredPhase 'Paused', which drains it\. Or let /,
    );
    await up(stores, tenant, state, { plan: wide, phase: "Running" });
    await assertIs(stores, tenant, wide);
    assert.equal(await software.count("cat_1"), 2);
    software.forward("cat_1", "out_0");
    software.forward("out_0");
    await up(stores, tenant, state, { plan: through, phase: "Paused", graceSeconds: GRACE });
    assert.deepEqual([state.gate?.outcome, software.read.out_0], ["drained", 2]);
    await up(stores, tenant, state, { plan: through, phase: "Running" });
    await assertIs(stores, tenant, through);
  });

  it("keeps what left the topology until its reader has read it", async () => {
    await up(stores, tenant, state, { plan: forked, phase: "Running" });
    await software.send("dog_0", 30);
    const edit = up(stores, tenant, state, { plan: through, phase: "Running", graceSeconds: GRACE });
    await tells(/30 messages left in dog_0/);
    software.forward("dog_0", "out_0");
    await edit;
    await assertIs(stores, tenant, through);
    assert.equal(await software.count("out_0"), 30);
  });

  it("lets a deletion through for good: drained, or told what goes with it; a paused pipeline waits for nobody", async () => {
    await up(stores, tenant, state, { plan: through, phase: "Running" });
    await software.send("cat_0", 2);
    const timedOut = "timed out, 2 messages left in cat_0 (2)";
    assert.equal(await passForGood(stores, tenant, gate({ phase: "Running" }), 1), timedOut);
    // A destroy that was killed then, and an up: the gate stands again.
    assert.equal((await readTopology(stores.etcd, tenant))?.record.leaving, true);
    await up(stores, tenant, state, { plan: through, phase: "Running" });
    assert.equal((await readTopology(stores.etcd, tenant))?.record.leaving, false);
    await assert.rejects(up(stores, tenant, state, { plan: straight, phase: "Running" }), /is not drained/);

    // Longer than this test may take.
    assert.equal(await passForGood(stores, tenant, gate(), 3_600), timedOut);
    await down(stores, tenant, state);
    assert.deepEqual(await (await stores.nats()).streams(tenant.nats.account), []);
    assert.equal(await passForGood(stores, { ...tenant, generation: "0".repeat(24) }, gate(), 0), undefined);
  });

  it("goes through article 003: run, change, pause, in→out becomes in→cat→out, run; no message is lost", async () => {
    const phases = { running: "Running", paused: "Paused" } as const;
    await up(stores, tenant, state, { plan: straight, phase: phases.running });
    await software.send("out_0", 20);
    const roomier = planOf({ in: 1, out: 1 }, ["in>out"], { maxMessages: 200_000 });
    await up(stores, tenant, state, { plan: roomier, phase: phases.running });
    await assertIs(stores, tenant, roomier);
    await software.send("out_0", 20);

    software.forward("out_0");
    // The change together with the pause: what is on its way is read by the topology before.
    await up(stores, tenant, state, { plan: through, phase: phases.paused, graceSeconds: GRACE });
    assert.equal(state.gate?.outcome, "drained");
    assert.equal(software.read.out_0, 40);
    await assertIs(stores, tenant, through);
    await software.stop();

    software = new Software(await natsOf(tenant));
    await up(stores, tenant, state, { plan: through, phase: phases.running });
    software.forward("cat_0", "out_0");
    software.forward("out_0");
    await software.send("cat_0", 40);
    await up(stores, tenant, state, { plan: through, phase: phases.paused, graceSeconds: GRACE });
    assert.deepEqual([state.gate?.outcome, software.read.cat_0, software.read.out_0], ["drained", 40, 40]);
  });
});

/** The tenant's own: sends, and reads what it sends on before it acknowledges. */
class Software {
  /** Messages that were read and acknowledged, by buffer. */
  readonly read: Record<string, number> = {};
  readonly #connection: NatsConnection;
  readonly #ends: Array<() => Promise<unknown>> = [];

  constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  async send(buffer: string, count: number): Promise<void> {
    const jetStream = this.#connection.jetstream();
    for (let i = 0; i < count; i++) await jetStream.publish(buffer, `${i}`);
  }

  /** Takes a message and says no word about it. */
  async takeOne(buffer: string): Promise<JsMsg> {
    const consumer = await this.#connection.jetstream().consumers.get(buffer, buffer);
    return (await consumer.next({ expires: 60_000 })) ?? assert.fail(`nothing in ${buffer}`);
  }

  async count(buffer: string): Promise<number> {
    const { num_pending } = await (await this.#connection.jetstreamManager()).consumers.info(buffer, buffer);
    return num_pending;
  }

  /** Reads a buffer and sends on to another one, for as long as it shall. */
  forward(from: string, to?: string, shall: () => boolean = () => true): void {
    const jetStream = this.#connection.jetstream();
    this.read[from] = 0;
    const work = (async () => {
      const messages = await (await jetStream.consumers.get(from, from)).consume();
      this.#ends.push(() => messages.close());
      for await (const message of messages) {
        if (to && shall()) await jetStream.publish(to, message.data);
        await message.ackAck();
        this.read[from] = (this.read[from] ?? 0) + 1;
      }
    })();
    work.catch(() => undefined);
  }

  async stop(): Promise<void> {
    for (const end of this.#ends.splice(0)) await end();
    await this.#connection.close();
  }
}
