import assert from "node:assert/strict";
import { EtcdSession } from "../../components/stores/etcd-session.ts";
import { viewPrefix } from "../../components/stores/etcd-view.ts";
import { startServer, stopServer } from "../../dev/platform/index.ts";
import { ensureTools, pathsOf } from "../../dev/tools/index.ts";
import type { Client } from "../../runtime/index.ts";
import { etcdClient } from "../support/etcd.ts";
import { access, etcdOf } from "../tenancy/scene.ts";
import { eventually, type Load, Scene, sleep, untilAnswered } from "./scene.ts";

describe("an outage of etcd or NATS under load", () => {
  let scene: Scene;
  let client: Client;
  const home = process.env.RINGFENCE_HOME ?? assert.fail("RINGFENCE_HOME is not set; run by npm test");
  before(async () => {
    scene = await Scene.make();
    client = await scene.client();
  });
  after(() => scene.close());

  /** Stops one of the platform's servers for a while. */
  const outage = async (server: "etcd" | "nats", during: () => Promise<unknown>) => {
    const tools = pathsOf(await ensureTools({ log: () => {} }));
    await stopServer({ home, server });
    try {
      await during();
    } finally {
      await startServer({ home, tools, server });
    }
  };

  const requireFlawless = async (load: Load, endpoint: string) => {
    await load.stop();
    assert.deepEqual(load.failures.map(String), []);
    assert.equal(load.answered, load.sent);
    assert.deepEqual(
      [...scene.runs(endpoint)].filter(([, times]) => times !== 1),
      [],
    );
  };

  const registered = async (endpoint: string) =>
    (
      await etcdOf(scene.tenant).getAll().prefix(`${scene.tenant.etcd.prefix}runtime/v1/instances/${endpoint}/`).keys()
    ).sort();
  /** The keys of two workers, once both are there: one that waits for a processor longer than its lease lives registers again. */
  const registeredBoth = async (endpoint: string) => {
    let keys: string[] = [];
    await eventually(`both of ${endpoint} are registered`, async () => {
      keys = await registered(endpoint);
      return keys.length === 2;
    });
    return keys;
  };

  it("serves on without etcd for longer than the leases, and registers each worker again, once", async () => {
    const workers = await scene.workers("no-etcd", 2);
    const load = scene.load(client, "no-etcd");
    await untilAnswered(load, 20);
    const before = await registeredBoth("no-etcd");
    await outage("etcd", async () => {
      // etcd grants two seconds at least; its clock stands still while it is away, so that a lease outlives a restart.
      await eventually("the workers have said so", () => workers.every(({ said }) => said().includes("serving on")));
      await untilAnswered(load, 100);
    });
    assert.deepEqual(await registeredBoth("no-etcd"), before);
    // Their keys are taken away as etcd does when it alone went on: by revoking their leases.
    const admin = etcdOf(scene.tenant);
    for (const key of before) {
      const { kvs } = await admin.getAll().prefix(key).exec();
      await admin.leaseClient.leaseRevoke({ ID: kvs[0]?.lease ?? "" });
    }
    assert.deepEqual(await registeredBoth("no-etcd"), before);
    await eventually("both say so", () =>
      workers.every(({ said }) => /its lease was lost .* registered again/.test(said())),
    );
    await untilAnswered(load, 20);
    await requireFlawless(load, "no-etcd");
    // Clients that begin now find both.
    const fresh = await scene.client();
    await fresh.request("no-etcd", { key: "after" });
    await eventually("a new client knows both", () => fresh.instances("no-etcd").length === 2);
  });

  it("loses no request to a restart of NATS, and runs none twice, and cuts no stream", async () => {
    await scene.workers("no-nats", 2);
    const load = scene.load(client, "no-nats", { task: { workMs: 30 } });
    const parts: number[] = [];
    const streaming = (async () => {
      for await (const { part } of client.stream<{ part: number }>("no-nats", { key: "stream", parts: 60, workMs: 50 }))
        parts.push(part);
    })();
    await untilAnswered(load, 20);
    await eventually("the stream has begun", () => parts.length > 3);
    await outage("nats", () => sleep(300));
    await untilAnswered(load, 50);
    await streaming;
    assert.deepEqual(
      parts,
      Array.from({ length: 60 }, (_, part) => part),
    );
    await requireFlawless(load, "no-nats");
  });

  it("works through a proxy before etcd, which hears of a kill when the lease is over", async () => {
    const env = await scene.throughProxy();
    const [victim, survivor] = [await scene.worker("proxied", { env }), await scene.worker("proxied", { env })];
    const inside = await scene.client({ env });
    const load = scene.load(inside, "proxied", { idempotent: true });
    await untilAnswered(load, 20);
    await registeredBoth("proxied");
    victim.process.kill("SIGKILL");
    const known = () => inside.instances("proxied").map(({ id }) => id);
    await eventually("it is forgotten", () => known().join() === survivor.instance);
    await load.stop();
    assert.deepEqual(load.failures.map(String), []);
  });

  it("lists again when the watch would begin before a compaction", async () => {
    const { username, password, prefix } = scene.tenant.etcd;
    const etcd = await EtcdSession.open({ endpoints: access.etcd.endpoints, username, password });
    const admin = etcdOf(scene.tenant);
    const operator = etcdClient(access.etcd.endpoints, access.etcd);
    await admin.put(`${prefix}view/a`).value("1");
    const { revision } = await etcd.list(`${prefix}view/`);
    for (const value of ["2", "3"]) await admin.put(`${prefix}view/b`).value(value);
    await operator.kv.compact({ revision: (await etcd.list(`${prefix}view/`)).revision });
    operator.close();
    // A list that was answered long ago, as after a pause of the process.
    const list = etcd.list.bind(etcd);
    let late = true;
    etcd.list = async (below) => {
      const found = await list(below);
      const answer = late ? { entries: found.entries.slice(0, 1), revision } : found;
      late = false;
      return answer;
    };
    const told: string[] = [];
    const keys: string[] = [];
    const stop = viewPrefix(etcd, `${prefix}view/`, {
      all: (entries) => keys.splice(0, keys.length, ...entries.map(({ key }) => key)),
      put: ({ key }) => keys.push(key),
      gone: (key) => keys.splice(keys.indexOf(key), 1),
      trouble: (message) => told.push(message),
    });
    const seen = (...names: string[]) => names.map((name) => `${prefix}view/${name}`).join() === keys.join();
    await eventually("it has listed again", () => seen("a", "b"));
    assert.match(told.join(), /the watch ended \(compacted at \d+\)/);
    await admin.put(`${prefix}view/c`).value("3");
    await admin.delete().key(`${prefix}view/a`);
    await eventually("it follows", () => seen("b", "c"));
    stop();
    etcd.close();
  });
});
