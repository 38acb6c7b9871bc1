import assert from "node:assert/strict";
import { type Etcd3, type IPermissionRequest, type IWatchResponse, Range } from "etcd3";
import { connect, credsAuthenticator, type NatsConnection, StringCodec } from "nats";
import { until } from "../../components/stores/errors.ts";
import { decodeAccount } from "../../components/stores/nats-jwt.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import {
  access,
  etcdOf,
  jetStream,
  natsOf,
  newLedger,
  newProcess,
  newRealm,
  provision,
  type Tenant,
  tidy,
} from "./scene.ts";

describe("a tenant with its own credentials", () => {
  const realm = newRealm();
  const { encode } = StringCodec();
  let stores: Stores;
  let chat: Tenant;
  let search: Tenant;
  let admin: Stores["etcd"];

  before(async () => {
    stores = newProcess();
    admin = stores.etcd;
    const owner = await newLedger(stores);
    chat = await provision(stores, owner, `${realm}/chat`);
    search = await provision(stores, owner, `${realm}/search`);
  });
  after(tidy);

  describe("in etcd", () => {
    let own: Etcd3;
    before(async () => {
      own = etcdOf(chat);
      await etcdOf(search).put(`${search.etcd.prefix}secret`).value("theirs");
    });

    it("does all that it likes below its prefix", async () => {
      const { prefix } = chat.etcd;
      await own.put(`${prefix}a`).value("1");
      assert.equal(await own.get(`${prefix}a`), "1");
      const { succeeded } = await own
        .if(`${prefix}a`, "Value", "==", "1")
        .then(own.put(`${prefix}b`).value("2"))
        .commit();
      assert(succeeded);
      const lease = own.lease(30);
      await lease.put(`${prefix}leased`).value("3");
      await lease.revoke();
      assert.equal(await own.get(`${prefix}leased`), null);
      const watcher = await own.watch().prefix(prefix).create();
      const event = new Promise((resolve) => watcher.once("put", resolve));
      await own.put(`${prefix}c`).value("4");
      await event;
      await watcher.cancel();
      assert.equal((await own.delete().prefix(prefix)).deleted, "3");
    });

    /** Each is tried on the neighbour's key, on everything, and on the registry. */
    const attempts: Record<string, (key: string, all: Range) => Promise<unknown>> = {
      "read a key": (key) => own.get(key).exec(),
      "read a range": (_, all) => own.getAll().inRange(all).exec(),
      "count keys": (_, all) => own.getAll().inRange(all).count(),
      "write a key": (key) => own.put(key).value("mine now").exec(),
      "delete a key": (key) => own.delete().key(key).exec(),
      "delete a range": (_, all) => own.delete().range(all).exec(),
      "attach a key to a lease": (key) => own.lease(30, { autoKeepAlive: false }).put(key).value("leased").exec(),
      "write in a transaction": (key) => own.if(key, "Create", ">", 0).then(own.put(key).value("mine now")).commit(),
      "read in a transaction that also writes its own": (key) =>
        own
          .if(`${chat.etcd.prefix}x`, "Create", "==", 0)
          .then(own.put(`${chat.etcd.prefix}x`).value("1"), own.get(key))
          .commit(),
      "guess in a transaction's compare": (key) =>
        own
          .if(key, "Value", "==", "theirs")
          .then(own.get(`${chat.etcd.prefix}x`))
          .commit(),
      "watch a key": (key) => watch({ key: Buffer.from(key) }),
      "watch a range": (_, { start, end }) => watch({ key: start, range_end: end }),
    };
    /** Asks for a watch on the wire: etcd3's own watcher asks again and again when it is refused. */
    const watch = async (range: { key: Buffer; range_end?: Buffer }) => {
      const stream = await own.watchClient.watch();
      stream.write({ create_request: range });
      const answer = await new Promise<IWatchResponse>((resolve) => stream.on("data", resolve));
      stream.end();
      if (answer.canceled) throw new Error(answer.cancel_reason);
    };

    for (const [what, attempt] of Object.entries(attempts)) {
      it(`may not ${what} of a neighbour, of everybody, or of the registry`, async () => {
        const { prefix } = search.etcd;
        const targets: Array<[string, Range]> = [
          [`${prefix}secret`, Range.prefix(prefix)],
          ["/", Range.prefix("")],
          [`/ringfence/v1/claims/${realm}/search/`, Range.prefix("/ringfence/v1/")],
          // Its own range, and one key more.
          [
            chat.etcd.prefix.slice(0, -1),
            new Range(chat.etcd.prefix.slice(0, -1), chat.etcd.prefix.replace(/.$/, "0")),
          ],
        ];
        for (const [key, all] of targets)
          await assert.rejects(attempt(key, all), /permission denied/i, `${what}: ${key}`);
        assert.equal((await admin.get(`${prefix}secret`))?.value, "theirs");
      });
    }

    it("may not change users, roles or authentication", async () => {
      const everything: IPermissionRequest = { permission: "Readwrite", range: Range.prefix("") };
      const { username } = chat.etcd;
      for (const act of [
        () => own.user("intruder").create("x"),
        () => own.user(username).addRole("root"),
        () => own.user(search.etcd.username).delete(),
        () => own.role("wide").create(),
        () => own.role(username).grant(everything),
        () => own.role(search.etcd.username).delete(),
        () => own.auth.authDisable(),
        () => own.getUsers(),
        () => own.getRoles(),
      ]) {
        await assert.rejects(act(), /permission denied/i, String(act));
      }
    });

    it("cannot revoke a neighbour's lease once it holds a key", async () => {
      const theirs = etcdOf(search).lease(60, { autoKeepAlive: false });
      await theirs.put(`${search.etcd.prefix}leased`).value("x");
      await assert.rejects(own.leaseClient.leaseRevoke({ ID: await theirs.grant() }), /permission denied/i);
      assert((await admin.get(`${search.etcd.prefix}leased`)) !== undefined);
      await theirs.revoke();
    });
  });

  describe("in NATS", () => {
    let own: NatsConnection;
    let theirs: NatsConnection;
    beforeEach(async () => {
      [own, theirs] = await Promise.all([natsOf(chat), natsOf(search)]);
    });
    afterEach(() => Promise.all([own.close(), theirs.close()]));

    it("hears nothing of a neighbour's messages, whatever it subscribes to", async () => {
      const heard: string[] = [];
      for (const subject of [">", "*", "orders", "$JS.>", "$SYS.>", "$KV.>", "_INBOX.>"])
        own.subscribe(subject, { callback: (error, message) => error ?? heard.push(message.subject) });
      await own.flush();
      const reached = new Promise((resolve) => theirs.subscribe("orders", { callback: resolve }));
      theirs.publish("orders", encode("for search alone"));
      await reached;
      // A message of its own comes through the same server after the neighbour's.
      own.publish("marker", encode("mine"));
      await own.flush();
      assert.deepEqual([...new Set(heard)], ["marker"]);
    });

    it("reaches nobody with what it publishes", async () => {
      const heard: string[] = [];
      theirs.subscribe(">", { callback: (_, message) => heard.push(message.subject) });
      await theirs.flush();
      own.publish("orders", encode("spoofed"));
      await own.flush();
      theirs.publish("marker");
      await theirs.flush();
      assert.deepEqual(heard, ["marker"]);
      await assert.rejects(own.request("orders", "", { timeout: 60_000 }), /503/);
    });

    it("sees its own streams only, under the same names as a neighbour's", async () => {
      const [ours, others] = await Promise.all([own.jetstreamManager(), theirs.jetstreamManager()]);
      await others.streams.add({ name: "EVENTS", subjects: ["events.>"] });
      assert.deepEqual(await ours.streams.names().next(), []);
      await assert.rejects(ours.streams.info("EVENTS"), /stream not found/);
      await ours.streams.add({ name: "EVENTS", subjects: ["events.>"] });
      await theirs.jetstream().publish("events.a", encode("1"));
      assert.equal((await ours.streams.info("EVENTS")).state.messages, 0);
      await ours.streams.delete("EVENTS");
      assert.equal((await others.streams.info("EVENTS")).state.messages, 1);
    });

    it("has no way to the system account", async () => {
      for (const subject of [
        "$SYS.REQ.CLAIMS.LIST",
        "$SYS.REQ.CLAIMS.UPDATE",
        "$SYS.REQ.CLAIMS.DELETE",
        `$SYS.REQ.ACCOUNT.${search.nats.account}.CLAIMS.LOOKUP`,
        `$SYS.REQ.ACCOUNT.${search.nats.account}.CONNZ`,
        "$SYS.REQ.SERVER.PING.JSZ",
        "$SYS.REQ.SERVER.PING",
      ]) {
        await assert.rejects(own.request(subject, "", { timeout: 60_000 }), /503/, subject);
      }
    });

    it("is shown its own connections alone by the requests that NATS opens to every account", async () => {
      for (const subject of ["$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.ACCOUNT.PING.CONNZ"]) {
        const connected = async () => {
          const answer = await own.request(subject, JSON.stringify({ acc: search.nats.account }), { timeout: 60_000 });
          const { connections } = answer.json<{ data: { connections: Array<{ cid: number }> } }>().data;
          return connections.map(({ cid }) => cid);
        };
        const before = await connected();
        assert(!before.includes(theirs.info?.client_id ?? assert.fail()), "it is shown the neighbour's");
        // Those of its own that it has closed go a moment later.
        await until(async () => (String(await connected()) === String(own.info?.client_id) ? true : undefined), {
          deadlineMs: 60_000,
          late: async () => new Error(`it is shown the connections ${await connected()}`),
        });
      }
    });

    it("cannot purge a neighbour's streams", async () => {
      const purge = `$JS.API.ACCOUNT.PURGE.${search.nats.account}`;
      await assert.rejects(own.request(purge, "", { timeout: 1000 }), /503|TIMEOUT/);
      const streams = await (await stores.nats()).streams(search.nats.account);
      assert.deepEqual(
        streams.map(({ name, messages }) => `${name}: ${messages}`),
        ["EVENTS: 1"],
      );
    });

    it("is held to the limits that it asked for, and every other one is stated", async () => {
      const jwt = await (await stores.nats()).lookup(chat.nats.account);
      assert.deepEqual(decodeAccount(jwt ?? "").limits, {
        subs: -1,
        data: -1,
        payload: -1,
        imports: -1,
        exports: -1,
        wildcards: true,
        conn: -1,
        leaf: -1,
        mem_storage: jetStream.memoryBytes,
        disk_storage: jetStream.diskBytes,
        streams: jetStream.streams,
        consumer: jetStream.consumers,
      });
      const manager = await own.jetstreamManager();
      await assert.rejects(
        manager.streams.add({ name: "TOO_BIG", subjects: ["big"], max_bytes: jetStream.diskBytes + 1 }),
        /insufficient storage|exceed/i,
      );
    });

    it("cannot log in as a user of another account's making", async () => {
      const [jwtOfChat] = (chat.nats.creds.worker ?? "").split("-----BEGIN USER NKEY SEED-----");
      const [, seedOfSearch] = (search.nats.creds.worker ?? "").split("-----BEGIN USER NKEY SEED-----");
      const forged = `${jwtOfChat}-----BEGIN USER NKEY SEED-----${seedOfSearch}`;
      await assert.rejects(
        connect({
          servers: access.nats.servers,
          authenticator: credsAuthenticator(new TextEncoder().encode(forged)),
          reconnect: false,
        }),
        /Authorization Violation/,
      );
    });
  });
});
