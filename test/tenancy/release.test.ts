import assert from "node:assert/strict";
import { StringCodec } from "nats";
import { op } from "../../components/stores/etcd-txn.ts";
import type { Nats } from "../../components/stores/nats.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { claimTenant } from "../../components/tenancy/claim.ts";
import { deleteLedger } from "../../components/tenancy/ledger.ts";
import { compareSnapshots, type Snapshot, takeSnapshot } from "../../components/tenancy/outside.ts";
import { readClaim } from "../../components/tenancy/registry.ts";
import { release } from "../../components/tenancy/release.ts";
import {
  bound,
  etcdOf,
  natsOf,
  newLedger,
  newProcess,
  newRealm,
  provision,
  recorded,
  type Tenant,
  tidy,
  tracesOf,
} from "./scene.ts";

/** More than two purge batches, so that the last one is not full. */
const KEYS = 2_345;

describe("releasing a tenant", () => {
  const realm = newRealm();
  const { encode } = StringCodec();
  let stores: Stores;
  let owner: string;
  let neighbour: Tenant;
  let beforehand: Snapshot;
  let chat: Tenant;

  before(async () => {
    stores = newProcess();
    owner = await newLedger(stores);
    neighbour = await provision(stores, owner, `${realm}/chat2`);
    const theirs = etcdOf(neighbour);
    await theirs.put(`${neighbour.etcd.prefix}a`).value("1");
    // Beside the tenant's prefix in the key space, and nobody's: a purge that loses the slash would take it.
    await stores.etcd.txn([], [op.put(`/other-${realm}`, "x")]);
    const nats = await natsOf(neighbour);
    await (await nats.jetstreamManager()).streams.add({ name: "EVENTS", subjects: ["events"] });
    await nats.jetstream().publish("events", encode("1"));
    await nats.close();
    beforehand = await takeSnapshot(stores);
  });
  after(async () => {
    await tidy();
    const admin = newProcess();
    await admin.etcd.txn([], [op.remove(`/other-${realm}`)]);
    await tidy();
  });

  it("removes keys, streams, buckets, credentials and connections, proves it, and disturbs nobody", async () => {
    chat = await provision(stores, owner, `${realm}/chat`);
    const { prefix } = chat.etcd;
    const etcd = etcdOf(chat);
    for (let i = 0; i < KEYS; i += 100) {
      const puts = Array.from({ length: Math.min(100, KEYS - i) }, (_, j) => etcd.put(`${prefix}k${i + j}`).value("v"));
      await etcd
        .if(prefix, "Create", "==", 0)
        .then(...puts)
        .commit();
    }
    const watcher = await etcd.watch().prefix(prefix).create();
    watcher.on("error", () => {});
    const nats = await natsOf(chat);
    const closed = nats.closed();
    const manager = await nats.jetstreamManager();
    await manager.streams.add({ name: "ORDERS", subjects: ["orders.>"] });
    await manager.consumers.add("ORDERS", { durable_name: "worker" });
    const jetstream = nats.jetstream();
    for (let i = 0; i < 7; i++) await jetstream.publish(`orders.${i}`, encode("x"));
    const bucket = await jetstream.views.kv("state");
    await bucket.put("a", encode("1"));

    const receipt = await release(stores, { ...chat, ...chat.claimed });

    await closed;
    assert.deepEqual(receipt?.removed, {
      keys: KEYS,
      leases: 0,
      users: 1,
      accounts: 1,
      streams: 2,
      messages: 8,
      namespaces: 0,
    });
    assert.equal(receipt?.residue, 0);
    assert.deepEqual(receipt?.notes, []);
    assert(BigInt(receipt?.revisions.to ?? 0) > BigInt(receipt?.revisions.from ?? 0));
    assert.deepEqual(compareSnapshots(beforehand, await takeSnapshot(stores)), []);
    await assert.rejects(natsOf(chat), /Authorization Violation/);
    await assert.rejects(etcdOf(chat).get(`${prefix}k0`).exec(), /authentication failed/);
    await watcher.cancel().catch(() => {});
  });

  it("does nothing the second time", async () => {
    const count = await stores.etcd.get(`/other-${realm}`);
    assert.equal(await release(stores, { ...chat, ...chat.claimed }), undefined);
    assert.deepEqual(compareSnapshots(beforehand, await takeSnapshot(stores)), []);
    assert.deepEqual(await stores.etcd.get(`/other-${realm}`), count);
  });

  it("never gives a prefix, a user or an account key to the next generation, and lets no earlier delete touch it", async () => {
    const next = await provision(newProcess(), owner, `${realm}/chat`);
    assert.notEqual(next.generation, chat.generation);
    assert.notEqual(next.etcd.prefix, chat.etcd.prefix);
    assert.notEqual(next.etcd.username, chat.etcd.username);
    assert.notEqual(next.nats.account, chat.nats.account);
    assert.notEqual(next.claimed.namespace, chat.claimed.namespace);

    const earlier = newProcess();
    assert.equal(await release(earlier, { ...chat, ...chat.claimed }), undefined, "another generation's");
    const again = await claimTenant(newProcess(), { owner, logicalName: `${realm}/chat`, recorded: recorded("again") });
    assert.equal(await release(earlier, { ...next, attempt: next.claimed.attempt }), undefined, "an earlier attempt's");
    assert.equal((await readClaim(stores.etcd, `${realm}/chat`))?.claim.state, "active");
    assert.notEqual(await release(newProcess(), { ...next, ...again }), undefined);
    assert.deepEqual(await tracesOf(stores, `${realm}/chat`), []);
  });

  it("removes the keys that were written behind an open lease as well", async () => {
    const leased = await provision(newProcess(), owner, `${realm}/leased`);
    const lease = etcdOf(leased).lease(600, { autoKeepAlive: false });
    await lease.put(`${leased.etcd.prefix}a`).value("1");
    const receipt = await release(newProcess(), { ...leased, ...leased.claimed });
    assert.equal(receipt?.removed.keys, 1);
  });

  it("closes a tenant's connection before it purges, although the tenant goes on writing", async () => {
    const stubborn = await provision(newProcess(), owner, `${realm}/stubborn`);
    const nats = await natsOf(stubborn);
    const flood = setInterval(() => nats.isClosed() || nats.publish("noise"), 1);
    const process = newProcess();
    let connected: string[] | undefined;
    const atPurge = (admin: Nats) =>
      new Proxy(admin, {
        get: (target, name) =>
          name === "purge"
            ? async (account: string) => {
                connected = await target.connections(account);
                await target.purge(account);
              }
            : bound(target, name),
      });
    const receipt = await release(
      { ...process, nats: async () => atPurge(await process.nats()) },
      { ...stubborn, ...stubborn.claimed },
    );
    assert.deepEqual(connected, [], "somebody could still write when the purge began");
    await nats.closed();
    clearInterval(flood);
    assert.equal(receipt?.residue, 0);
  });

  it("releases all that a stack holds when its ledger goes, and then the ledger", async () => {
    const before = await tracesOf(stores, realm);
    const own = await newLedger(stores);
    const up = newProcess();
    await provision(up, own, `${realm}/one`);
    await claimTenant(up, { owner: own, logicalName: `${realm}/two`, recorded: recorded("two") });
    const receipts = await deleteLedger(newProcess(), own);
    assert.deepEqual(receipts.map(({ logicalName }) => logicalName).sort(), [`${realm}/one`, `${realm}/two`]);
    assert.deepEqual(await deleteLedger(newProcess(), own), []);
    assert.deepEqual(await tracesOf(stores, realm), before);
  });
});
