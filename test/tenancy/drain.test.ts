import assert from "node:assert/strict";
import { CoreV1Api, KubeConfig } from "@kubernetes/client-node";
import type { NatsConnection } from "nats";
import { StoreError, until } from "../../components/stores/errors.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { type Gate, passForGood, passGate } from "../../components/tenancy/drain.ts";
import { readTopology } from "../../components/tenancy/topology-record.ts";
import { natsOf, newLedger, newProcess, newRealm, provision, type Tenant, tidy } from "./scene.ts";
import { assertIs, down, newState, planOf, plans, SHARE, type State, up } from "./topology-engine.ts";

const { straight, through, forked } = plans;

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
    assert.equal(await passGate(stores, tenant, gate(), 60), "drained");
    assert.equal(software.read.out_0, 40);
    assert.equal(told.at(-1), `${tenant.logicalName}: drained`);
  });

  it("says what is left when the grace is over, and what it waits for until then", async () => {
    await up(stores, tenant, state, { plan: through, phase: "Running" });
    await software.send("cat_0", 3);
    await software.send("out_0", 1);
    await software.takeOne("out_0");
    assert.equal(await passGate(stores, tenant, gate(), 0), "timed out, 4 messages left in cat_0 (3), out_0 (1)");
    assert.equal(await passGate(stores, tenant, gate(), 1), "timed out, 4 messages left in cat_0 (3), out_0 (1)");
    assert.match(
      told.join("\n"),
      /^draining .*: 4 messages left in cat_0 \(3\), out_0 \(1\), 1 s of its grace to go$/m,
    );
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
      deadlineMs: 20_000,
      late: () => new Error("no pod can be made"),
    });
    await core.createNamespacedPod({ namespace, body: pod("cat-1", "cat") });
    assert.equal(
      await passGate(stores, tenant, gate({ namespace }), 0),
      "timed out, pods of sources are still there: in-1",
    );
    const passing = passGate(stores, tenant, gate({ namespace }), 60);
    await until(async () => (told.some((line) => line.includes("in-1, 60 s")) ? true : undefined), {
      deadlineMs: 20_000,
      late: () => new Error(told.join("\n")),
    });
    await core.deleteNamespacedPod({ name: "in-1", namespace, gracePeriodSeconds: 0 });
    assert.equal(await passing, "drained");
    await core.deleteNamespace({ name: namespace });
    // The suites that come after this one take snapshots of the cluster.
    const kubernetes = await stores.kubernetes();
    await until(async () => ((await kubernetes.namespace(namespace)) ? undefined : true), {
      deadlineMs: 60_000,
      late: () => new Error(`namespace ${namespace} is still there`),
    });
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
    assert.equal(await passGate(stores, tenant, gate(), 60), "drained");
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
    await until(async () => (Date.now() > old ? true : undefined), { deadlineMs: 5_000, late: () => new Error() });
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

  it("keeps what left the topology until its reader has read it", async () => {
    await up(stores, tenant, state, { plan: forked, phase: "Running" });
    await software.send("dog_0", 30);
    const edit = up(stores, tenant, state, { plan: through, phase: "Running", graceSeconds: 60 });
    await until(async () => (told.some((line) => line.includes("30 messages left in dog_0")) ? true : undefined), {
      deadlineMs: 20_000,
      late: () => new Error(told.join("\n")),
    });
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

    const begun = Date.now();
    assert.equal(await passForGood(stores, tenant, gate(), 3_600), timedOut);
    assert(Date.now() - begun < 60_000);
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
    await up(stores, tenant, state, { plan: through, phase: phases.paused, graceSeconds: 60 });
    assert.equal(state.gate?.outcome, "drained");
    assert.equal(software.read.out_0, 40);
    await assertIs(stores, tenant, through);
    await software.stop();

    software = new Software(await natsOf(tenant));
    await up(stores, tenant, state, { plan: through, phase: phases.running });
    software.forward("cat_0", "out_0");
    software.forward("out_0");
    await software.send("cat_0", 40);
    await up(stores, tenant, state, { plan: through, phase: phases.paused, graceSeconds: 60 });
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

  /** Takes a message and never says a word about it. */
  async takeOne(buffer: string): Promise<void> {
    assert(await (await this.#connection.jetstream().consumers.get(buffer, buffer)).next({ expires: 5_000 }));
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
