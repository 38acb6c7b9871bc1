// Tenants behind etcd's own proxy, as `isolation: "proxy"` declares it: real binary, real authentication, tokens that live
// two seconds, and an etcd that forgets them when it restarts.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Etcd3, Lease, Watcher } from "etcd3";
import { issue, makeAuthority } from "../../dev/platform/certificates.ts";
import { freePort } from "../../dev/platform/ports.ts";
import { OwnEtcd } from "../stores/servers.ts";
import { Frontend, Worker } from "../tenancy/dynamo.ts";
import { closeClients, connect, Discovery, eventually, newTenant, ProxyPod, ROOT, type TenantOfEtcd } from "./scene.ts";

const TOKEN_TTL_S = 2;

/** The same in every pipeline: model, namespace, engine. */
const SERVED = { namespace: "chat", model: "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", engine: "engine-0" };

/** What a watch hears, from the revision on that it was opened at. */
class Ear {
  readonly heard: string[] = [];
  watcher: Watcher | undefined;

  /** @returns at once; a watch that is never confirmed hears nothing */
  constructor(root: Etcd3, key: string) {
    const asked = root.watch().key(key).create();
    asked.then(
      (watcher) => {
        this.watcher = watcher;
        watcher.on("put", ({ value }) => this.heard.push(value.toString()));
      },
      () => {},
    );
  }
}

/** A stream of etcd3's, whose types are no emitter's. */
interface Stream {
  on(event: "data" | "error", listener: (it: unknown) => void): unknown;
}
const answerOf = (stream: Stream) =>
  new Promise((resolve, reject) => {
    stream.on("data", resolve);
    stream.on("error", reject);
  });
const failureOf = (stream: Stream) => answerOf(stream).catch((error: unknown) => error);

describe("tenants behind etcd proxies", () => {
  let etcd: OwnEtcd;
  let admin: Etcd3;
  let tenants: [TenantOfEtcd, TenantOfEtcd];
  let pods: [ProxyPod, ProxyPod];
  /** Of the first tenant, as etcd's proxy is by itself. */
  let naked: ProxyPod;
  let roots: [Etcd3, Etcd3];

  before(async () => {
    // It keeps no token that is older than ten requests when it restarts; at the default, ten thousand.
    etcd = await OwnEtcd.start(`--auth-token-ttl=${TOKEN_TTL_S}`, "--snapshot-count=10");
    await etcd.guard(ROOT.password);
    admin = connect(etcd.endpoint, ROOT);
    tenants = [await newTenant(admin, "a"), await newTenant(admin, "b")];
    pods = [await ProxyPod.start(etcd.endpoint, tenants[0]), await ProxyPod.start(etcd.endpoint, tenants[1])];
    naked = await ProxyPod.start(etcd.endpoint, tenants[0], { fronted: false });
    roots = [connect(pods[0].endpoint, tenants[0]), connect(pods[1].endpoint, tenants[1])];
  });
  after(async () => {
    closeClients();
    await Promise.all([...(pods ?? []), naked].map((pod) => pod?.stop()));
    await etcd?.remove();
  });

  /** Every key of a tenant as etcd has it, the proxy's own left out. */
  const keysOf = async ({ prefix }: TenantOfEtcd): Promise<string[]> =>
    Object.keys(await admin.getAll().prefix(prefix).strings())
      .map((key) => key.slice(prefix.length))
      .filter((key) => !key.startsWith("ringfence/"))
      .sort();
  /** What a frontend knows, the proxy's own key left out. */
  const known = (frontend: Frontend) => frontend.keys().filter((key) => !key.startsWith("ringfence/"));

  it("write the same global keys, list and watch the whole root, and never meet", async () => {
    const frontends = [await Frontend.open(roots[0]), await Frontend.open(roots[1])] as const;
    const workers = [await Worker.start(roots[0], SERVED), await Worker.start(roots[1], SERVED)] as const;
    await Promise.all([frontends[0].hears(workers[0]), frontends[1].hears(workers[1])]);
    for (const at of [0, 1] as const) {
      const own = workers[at].keys.map(({ key }) => key).sort();
      assert.deepEqual(known(frontends[at]), own);
      assert.deepEqual(known(await Frontend.open(roots[at])), own);
      assert.deepEqual(await keysOf(tenants[at]), own);
      assert.deepEqual(frontends[at].workers(), [workers[at].id]);
    }
    // Nothing is at etcd's root.
    const outside = Object.keys(await admin.getAll().strings()).filter((key) => !key.startsWith("/ringfence/tenants/"));
    assert.deepEqual(outside, []);

    // The end of one worker's lease, and then of everything that one pipeline can see, is the end of its own alone.
    const others = await keysOf(tenants[1]);
    await workers[0].stop();
    await roots[0].delete().all().exec();
    assert.deepEqual(await keysOf(tenants[0]), []);
    assert.deepEqual(await keysOf(tenants[1]), others);
    assert.deepEqual(known(frontends[1]), others);
    assert.ok(await workers[1].isServing(roots[1]));
    await workers[1].stop();
  });

  it("hold a lock of one name side by side, and compare and swap keys of one name apart", async () => {
    const locks = roots.map((root) => root.lock("router"));
    await Promise.all(locks.map((lock) => lock.acquire()));
    await Promise.all(locks.map((lock) => lock.release()));
    const created = roots.map((root) =>
      root.if("leader", "Create", "==", 0).then(root.put("leader").value("me")).commit(),
    );
    assert.deepEqual(
      (await Promise.all(created)).map(({ succeeded }) => succeeded),
      [true, true],
    );
    await Promise.all(roots.map((root) => root.delete().all().exec()));
  });

  it("are kept apart by their roles as well: a log-in is worth nothing at another's proxy", async () => {
    await roots[0].put("secret").value("of a");
    const thief = connect(pods[0].endpoint, tenants[1]);
    await assert.rejects(thief.get("secret").string(), /permission denied/);
    await assert.rejects(thief.put("secret").value("of b").exec(), /permission denied/);
    await assert.rejects(thief.getAll().strings(), /permission denied/);
    await assert.rejects(thief.watch().prefix("").create(), /permission denied/);
    await roots[0].delete().all().exec();
  });

  it("cannot list, revoke or use each other's leases, nor read, shape or rule the whole store", async () => {
    const lease = roots[0].lease(30);
    await lease.put("kept").value("by a");
    const ID = await lease.grant();
    const other = connect(pods[1].endpoint, tenants[1]);
    const { username } = tenants[1];
    const everything = { permType: "Readwrite", key: Buffer.from([0]), range_end: Buffer.from([0]) } as const;
    const attempts: Record<string, () => Promise<unknown>> = {
      listLeases: () => other.leaseClient.leaseLeases(),
      revoke: () => other.leaseClient.leaseRevoke({ ID }),
      attach: () => other.put("mine").value("").lease(ID).exec(),
      look: () => other.leaseClient.leaseTimeToLive({ ID, keys: true }),
      defragment: () => other.maintenance.defragment(),
      compact: () => other.kv.compact({ revision: "1" }),
      addUser: () => other.auth.userAdd({ name: "spare", password: "spare" }),
      widen: () => other.auth.roleGrantPermission({ name: username, perm: everything }),
      turnOff: () => other.auth.authDisable(),
      snapshot: async () => Promise.reject(await failureOf(await other.maintenance.snapshot())),
      prolong: async () => {
        const stream = await other.leaseClient.leaseKeepAlive();
        stream.write({ ID });
        return answerOf(stream);
      },
    };
    for (const [what, attempt] of Object.entries(attempts)) {
      // etcd's proxy hands the token on with what tenants may ask for, and asks for the rest as nobody.
      await assert.rejects(attempt, /permission denied|user name is empty/, what);
    }
    assert.equal(await roots[0].get("kept").string(), "by a");
    await lease.revoke();
  });

  it("can still prolong or end a lease of another's that holds no key, as docs/threat-model.md says", async () => {
    const ID = await roots[0].lease(30, { autoKeepAlive: false }).grant();
    const other = connect(pods[1].endpoint, tenants[1]);
    const stream = await other.leaseClient.leaseKeepAlive();
    stream.write({ ID });
    const { TTL } = (await answerOf(stream)) as { TTL: string };
    assert.equal(TTL, "30");
    stream.end();
    await other.leaseClient.leaseRevoke({ ID });
  });

  it("keep their leases for as long as they ask to, as they cannot through etcd's proxy alone", async () => {
    const TTL_S = 3;
    const [kept, lost] = [connect(pods[0].endpoint, tenants[0]), connect(naked.endpoint, tenants[0])].map((root) => ({
      root,
      lease: root.lease(TTL_S),
    })) as [{ root: Etcd3; lease: Lease }, { root: Etcd3; lease: Lease }];
    for (const { lease } of [kept, lost]) lease.on("lost", () => {});
    await kept.lease.put("kept").value("");
    await lost.lease.put("lost").value("");
    // Should this one not run out, etcd has mended its proxy, and its front need not know of leases.
    await eventually("the lease runs out", async () => (await kept.root.get("lost").string()) === null);
    // Longer than the lease and the token would live by themselves.
    await sleep((TTL_S + TOKEN_TTL_S) * 1000);
    assert.equal(await connect(pods[0].endpoint, tenants[0]).get("kept").string(), "");
    await kept.lease.revoke();
  });

  it("hear of what comes after their tokens have expired, as watches do not that only etcd's proxy serves", async () => {
    // What stays of the tests before keeps its stream open, with its own token.
    await naked.killProxy();
    await naked.startProxy();
    const [watched, plain] = [pods[0], naked].map(({ endpoint }) => connect(endpoint, tenants[0])) as [Etcd3, Etcd3];
    // The first watch of each proxy opens its only stream to etcd, with the token of that moment.
    const first = [new Ear(watched, "first"), new Ear(plain, "first")];
    await eventually("both first watches", () => first.every(({ watcher }) => watcher !== undefined));
    // Nothing may be asked with that token meanwhile, for that would prolong it.
    await sleep((TOKEN_TTL_S + 2) * 1000);

    const late = connect(pods[0].endpoint, tenants[0]);
    const lateToo = connect(naked.endpoint, tenants[0]);
    const [hears, silent] = [new Ear(late, "late"), new Ear(lateToo, "late")];
    await eventually("the late watch", () => hears.watcher !== undefined);
    await late.put("late").value("1");
    await late.put("first").value("1");
    await eventually("what was written", () => hears.heard.length === 1 && first[0]?.heard.length === 1);
    assert.equal(pods[0].restarts, 0);
    // Should this one fail, etcd has mended its proxy (etcd#19296), and its front need not watch.
    assert.deepEqual(silent.heard, []);
    await late.delete().all().exec();
  });

  it("survive a restart of their proxy: leases live on, watches miss nothing", async () => {
    const root = connect(pods[0].endpoint, tenants[0]);
    const frontend = await Discovery.open(pods[0].endpoint, tenants[0]);
    const worker = await Worker.start(root, SERVED);
    await eventually("the frontend hears", () => worker.keys.every(({ key }) => frontend.keys.has(key)));
    await pods[0].killProxy();
    await admin.put(`${tenants[0].prefix}meanwhile`).value("while the proxy was away");
    await pods[0].startProxy();
    await eventually("the frontend hears what it has missed", () => frontend.keys.has("meanwhile"));
    assert.ok(await worker.isServing(connect(pods[0].endpoint, tenants[0])));
    await admin.delete().prefix(tenants[0].prefix);
    await eventually("the frontend hears of the end", () => worker.keys.every(({ key }) => !frontend.keys.has(key)));
    frontend.close();
  });

  it("survive a restart of etcd that forgets every token, as watches do not that only etcd's proxy serves", async () => {
    // The last test has left it with an expired token: until it starts afresh it confirms no watch at all.
    await naked.killProxy();
    await naked.startProxy();
    const watched = await Discovery.open(pods[0].endpoint, tenants[0]);
    const silent = await Discovery.open(naked.endpoint, tenants[0]);
    const worker = await Worker.start(connect(pods[0].endpoint, tenants[0]), SERVED);
    const both = [watched, silent];
    await eventually("both hear", () => both.every(({ keys }) => worker.keys.every(({ key }) => keys.has(key))));
    // A snapshot, behind which the log has no log-ins any more.
    for (let n = 0; n < 30; n++) await admin.put("/filler").value(String(n));
    const { restarts, complaints } = pods[0];
    await etcd.kill();
    await eventually("the front has noticed", () => pods[0].complaints >= complaints + 2);
    assert.equal(pods[0].restarts, restarts, "no proxy can help against an etcd that is away");
    await etcd.start();
    const fresh = connect(etcd.endpoint, ROOT);
    await fresh.delete().key("/filler");
    await fresh.put(`${tenants[0].prefix}after`).value("the restart");
    await eventually("the watch hears again", () => watched.keys.has("after"));
    assert.ok(pods[0].restarts > restarts, "nobody started the proxy again");
    assert.deepEqual([silent.watches, silent.keys.has("after")], [1, false]);

    // Whoever comes next finds what was there, and what comes.
    const next = await Discovery.open(pods[0].endpoint, tenants[0]);
    assert.ok(worker.keys.every(({ key }) => next.keys.has(key)));
    await fresh.put(`${tenants[0].prefix}later`).value("");
    await eventually("both hear of the next", () => watched.keys.has("later") && next.keys.has("later"));
    for (const each of [watched, silent, next]) each.close();
  });
});

describe("a tenant behind an etcd proxy whose etcd asks for certificates", () => {
  const directory = mkdtempSync(join(tmpdir(), "ringfence-proxy-tls-"));
  let etcd: OwnEtcd;
  let pod: ProxyPod;
  let tenant: TenantOfEtcd;

  before(async () => {
    const { cert: ca } = makeAuthority(directory);
    const server = issue(directory, "server", "/CN=server");
    const guarded = `https://127.0.0.1:${await freePort()}`;
    etcd = await OwnEtcd.start(
      `--listen-client-urls=${guarded}`,
      `--cert-file=${server.cert}`,
      `--key-file=${server.key}`,
      `--trusted-ca-file=${ca}`,
      "--client-cert-auth",
    );
    await etcd.guard(ROOT.password);
    tenant = await newTenant(connect(etcd.endpoint, ROOT), "secured");
    // No CN, which would be a user's name to etcd.
    const tls = { ca, ...issue(directory, "client", "/O=tenant") };
    pod = await ProxyPod.start(guarded, tenant, { tls });
  });
  after(async () => {
    closeClients();
    await pod?.stop();
    await etcd?.remove();
    rmSync(directory, { recursive: true });
  });

  it("logs in by password through it, writes, leases and watches as without TLS", async () => {
    const root = connect(pod.endpoint, tenant);
    const discovery = await Discovery.open(pod.endpoint, tenant);
    const worker = await Worker.start(root, SERVED);
    await eventually("the watch hears", () => worker.keys.every(({ key }) => discovery.keys.has(key)));
    await worker.stop();
    await root.delete().all().exec();
    await eventually("the watch hears of the end", () => worker.keys.every(({ key }) => !discovery.keys.has(key)));
    discovery.close();
    await assert.rejects(
      connect(pod.endpoint, { ...tenant, password: "another" })
        .get("key")
        .string(),
    );
    assert.equal(pod.restarts, 0);
  });
});
