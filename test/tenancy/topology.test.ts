import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { op } from "../../components/stores/etcd-txn.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { audit } from "../../components/tenancy/audit.ts";
import { observeBuffer, openBuffer } from "../../components/tenancy/buffer.ts";
import { deleteLedger } from "../../components/tenancy/ledger.ts";
import { keys, readClaim } from "../../components/tenancy/registry.ts";
import { beginTopology, commitTopology } from "../../components/tenancy/topology.ts";
import { actKey, readPlan, readTopology } from "../../components/tenancy/topology-record.ts";
import { topologyStatus } from "../../components/tenancy/topology-status.ts";
import { faulty } from "./faults.ts";
import { bound, etcdOf, natsOf, newLedger, newProcess, newRealm, provision, type Tenant, tidy } from "./scene.ts";
import {
  assertIs,
  down,
  newState,
  passActs,
  planOf,
  plans,
  refresh,
  SHARE,
  up,
  type Wanted,
} from "./topology-engine.ts";

const { straight, through, wide } = plans;

const running = (plan: Wanted["plan"]): Wanted => ({ plan, phase: "Running" });

describe("a tenant's topology", () => {
  let stores: Stores;
  const realm = newRealm();
  let tenants = 0;

  before(async () => {
    stores = newProcess();
  });
  after(tidy);

  /** Of a stack of its own: a run of one ends no run of another. */
  const tenantOf = async (ledger?: string): Promise<Tenant> =>
    provision(stores, ledger ?? (await newLedger(stores)), `${realm}/flow-${++tenants}`, SHARE);

  it("is begun, applied and committed, and its tenant can read of it", async () => {
    const tenant = await tenantOf();
    const state = newState();
    const copy = async () =>
      JSON.parse((await etcdOf(tenant).get(`${tenant.etcd.prefix}ringfence/topology`)) ?? assert.fail("no copy"));

    await up(stores, tenant, state, running(straight));
    await assertIs(stores, tenant, straight);
    const places = (plan: Wanted["plan"]) =>
      Object.fromEntries(Object.entries(plan.vertices).map(([name, { digest }]) => [name, digest]));
    const committed = { generation: 1, digest: straight.digest, state: "committed", vertices: places(straight) };
    assert.deepEqual(await copy(), committed);

    await beginTopology(stores, tenant, { plan: through, discard: false, base: 1 });
    assert.deepEqual(await copy(), {
      generation: 2,
      digest: through.digest,
      state: "applying",
      vertices: places(through),
      before: places(straight),
    });
    const held = (await readClaim(stores.etcd, tenant.logicalName)) ?? assert.fail();
    assert.deepEqual((await topologyStatus(stores, held))?.retired, ["in_out"]);
    assert.equal((await topologyStatus(stores, held))?.agrees, false);

    // Killed before Pulumi noted that; the spec before restores exactly what was.
    await up(stores, tenant, state, running(straight));
    await assertIs(stores, tenant, straight);
    assert.equal((await topologyStatus(stores, held))?.agrees, true);
    assert.equal((await copy()).generation, 3);
  });

  it("refuses whoever computed from an older generation, and names the one that won", async () => {
    const tenant = await tenantOf();
    const [here, there] = [newState(), newState()];
    await up(stores, tenant, here, running(straight));
    Object.assign(there, structuredClone(here));
    await up(stores, tenant, here, running(through));

    for (const [state, knows] of [
      [there, "this update was computed from generation 1"],
      [newState(), "this update knows of none"],
    ] as const)
      await assert.rejects(up(newProcess(), tenant, state, running(wide)), (error: Error) => {
        assert(error.message.includes(`generation 2 (committed, digest ${through.digest}, written by `), error.message);
        assert(error.message.includes(`, and ${knows}, so it writes nothing: run 'pulumi refresh'`), error.message);
        return true;
      });
    await assertIs(stores, tenant, through);

    const late = newProcess();
    await refresh(late, tenant, there);
    await up(late, tenant, there, running(wide));
    await assertIs(stores, tenant, wide);
  });

  it("lets one of two machines through that change it at once; the other writes nothing more", async () => {
    const tenant = await tenantOf();
    const state = newState();
    await up(stores, tenant, state, running(straight));
    const machines = [through, wide].map((plan) => ({ plan, stores: newProcess(), state: structuredClone(state) }));
    const results = await Promise.allSettled(
      machines.map((each) => up(each.stores, tenant, each.state, running(each.plan))),
    );
    const won = results.flatMap(({ status }, i) => (status === "fulfilled" ? [machines[i] ?? assert.fail()] : []));
    const lost = results.flatMap((result) => (result.status === "rejected" ? [(result.reason as Error).message] : []));
    assert.equal(won.length, 1, lost.join("\n"));
    assert.match(lost.join(), /a newer run has taken over|so it writes nothing/);
    await passActs(stores, tenant);
    const [winner = assert.fail()] = won;
    const next = newProcess();
    await up(next, tenant, winner.state, running(winner.plan));
    await assertIs(next, tenant, winner.plan);
  });

  it("waits for the credentials of an act that was killed, and acts then", async () => {
    const tenant = await tenantOf();
    const state = newState();
    await up(stores, tenant, state, running(straight));
    const { stores: dying } = faulty(newProcess(), "killed before", "createBuffer");
    const begun = Date.now();
    await assert.rejects(up(dying, tenant, state, running(through)), /killed/);
    const told: string[] = [];
    const process = newProcess();
    const act = actKey(tenant.generation);
    const { until } = JSON.parse((await process.etcd.get(act))?.value ?? assert.fail("no act is noted"));
    assert(until > begun + 15_000, "credentials of less than 15 s would not do for an act");
    let end = 0;
    // As it would be near its end, whenever it is looked at.
    const etcd = new Proxy(process.etcd, {
      get: (target, name) => {
        if (name !== "get") return bound(target, name);
        return async (key: string) => {
          const entry = await target.get(key);
          if (key !== act || !entry || end > 0) return entry;
          end = Date.now() + 1_500;
          return { ...entry, value: JSON.stringify({ until: end }) };
        };
      },
    });
    const next = { ...process, etcd, progress: (line: string) => told.push(line) };
    await up(next, tenant, state, running(through));
    assert(end > 0 && Date.now() >= end, "it did not wait");
    assert.match(told[0] ?? "", /waiting [12] s, until an earlier run's credentials have ended/);
    await assertIs(next, tenant, through);
  });

  it("belongs to one generation: a run of an older one changes no buffer, and deletes none that the newer one has", async () => {
    const tenant = await tenantOf();
    const state = newState();
    await up(stores, tenant, state, running(through));
    const { account } = tenant.nats;
    const { name, config, digest } = through.buffers.cat_0 ?? assert.fail();
    const request = { account, name, config: { ...config, maxMessages: 5 }, digest, topologyGeneration: 7 };
    await assert.rejects(
      openBuffer(stores, tenant, request),
      /this update is part of generation 7, so it writes nothing/,
    );
    const commit = { topologyGeneration: 0, account, namespace: "none", phase: "Running", graceSeconds: 0 } as const;
    await assert.rejects(commitTopology(stores, tenant, commit), /this update is part of generation 0/);
    await assertIs(stores, tenant, through);
  });

  it("is made right again where somebody changed or deleted a buffer", async () => {
    const tenant = await tenantOf();
    const state = newState();
    await up(stores, tenant, state, running(through));
    const nats = await natsOf(tenant);
    const manager = await nats.jetstreamManager();
    await manager.consumers.delete("cat_0", "cat_0");
    await manager.streams.update("out_0", { max_msgs: 3 });
    await manager.streams.delete("KV_in_cat_OT");
    const { account } = tenant.nats;
    const seen = await observeBuffer(stores, tenant, { account, name: "cat_0" });
    assert(seen && seen !== "unknown" && !seen.hasConsumer);
    // As a refresh finds them.
    for (const name of ["cat_0", "out_0"]) delete state.buffers[name];
    delete state.buckets.in_cat;
    await up(stores, tenant, state, running(through));
    await assertIs(stores, tenant, through);
  });

  it("goes with its tenant, and what a lost claim leaves of it is found", async () => {
    const ledger = await newLedger(stores);
    const tenant = await tenantOf(ledger);
    await up(stores, tenant, newState(), running(straight));
    const below = keys.topology(tenant.generation);
    assert.deepEqual(
      (await stores.etcd.list(below)).map(({ key }) => key.slice(below.length)),
      ["plan", "record"],
    );
    await deleteLedger(newProcess(), ledger);
    assert.deepEqual(await stores.etcd.list(below), []);

    await stores.etcd.txn([], [op.put(`${below}record`, "{}")]);
    const found = (await audit(stores)).findings.filter(({ kind }) => kind === "topology");
    assert.deepEqual(
      found.map(({ name }) => name),
      [below],
    );
    await stores.etcd.txn([], [op.remove(`${below}record`)]);
  });

  it("may have a thousand vertices, which etcd would not take as they are, and then a thousand others", async () => {
    const tenant = await tenantOf();
    const chain = (unlike: string) => {
      const names = Array.from({ length: 1_000 }, (_, i) =>
        i === 0
          ? "in"
          : i === 999
            ? "out"
            : `v${createHash("sha256").update(`${unlike}${i}`).digest("hex").slice(0, 43)}`,
      );
      const partitions = names.map((name): [string, number] => [name, name === "in" ? 1 : 2]);
      return planOf(
        Object.fromEntries(partitions),
        names.slice(1).map((name, i) => `${names[i]}>${name}`),
      );
    };
    for (const [base, plan] of [chain("these"), chain("those")].entries()) {
      assert(JSON.stringify(plan).length > 1.5 * 2 ** 20);
      assert.equal(await beginTopology(stores, tenant, { plan, discard: false, base }), base + 1);
      assert.deepEqual(await readPlan(stores.etcd, tenant), JSON.parse(JSON.stringify(plan)));
    }
  });

  it("can be taken away and begun again, and goes on counting", async () => {
    const tenant = await tenantOf();
    const state = newState();
    await up(stores, tenant, state, running(wide));
    const stale = structuredClone(state);
    await down(stores, tenant, state);
    assert.deepEqual(await (await stores.nats()).streams(tenant.nats.account), []);
    const { record } = (await readTopology(stores.etcd, tenant)) ?? assert.fail();
    assert.deepEqual([record.state, record.generation], ["none", 2]);
    await assert.rejects(up(stores, tenant, stale, running(straight)), /generation 2 \(none/);
    await up(stores, tenant, state, running(straight));
    await assertIs(stores, tenant, straight);
    assert.equal(state.topology?.generation, 3);
  });
});
