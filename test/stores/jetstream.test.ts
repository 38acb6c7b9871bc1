import assert from "node:assert/strict";
import { connect, credsAuthenticator, type JetStreamClient, type NatsConnection } from "nats";
import { StoreError, until } from "../../components/stores/errors.ts";
import { type BufferConfig, JetStream } from "../../components/stores/jetstream.ts";
import { Nats } from "../../components/stores/nats.ts";
import { encodeAccount, encodeDeletion, generateNkey, userCreds } from "../../components/stores/nats-jwt.ts";
import { resolveAccess } from "../../components/tenancy/resolve-access.ts";

const { servers, systemCreds, operatorSeed } = resolveAccess("platform", () =>
  assert.fail("RINGFENCE_PLATFORM is not set; run by npm test"),
).nats;

const config: BufferConfig = {
  retention: "limits",
  maxMessages: 1_000,
  maxAgeSeconds: 259_200,
  replicas: 1,
  dedupWindowSeconds: 60,
  ackWaitSeconds: 60,
  maxAckPending: 25_000,
};
const mark = { generation: 1, digest: "a" };

describe("JetStream, as the admin sees it inside an account", () => {
  const account = generateNkey("account");
  let system: Nats;
  let jetStream: JetStream;
  /** The tenant's own software. */
  let tenant: NatsConnection;
  let client: JetStreamClient;

  const credsOf = (seconds?: number) =>
    userCreds({
      name: "admin",
      accountSeed: account.seed,
      ...(seconds && { expires: new Date(Date.now() + seconds * 1000) }),
    });

  before(async () => {
    system = await Nats.connect({ servers, creds: systemCreds });
    const claim = { name: "jetstream", publicKey: account.publicKey, operatorSeed };
    await system.push(await encodeAccount({ ...claim, jetStream: {} }));
    const creds = await credsOf();
    jetStream = await JetStream.connect({ servers, creds });
    tenant = await connect({ servers, authenticator: credsAuthenticator(new TextEncoder().encode(creds)) });
    client = tenant.jetstream();
  });
  after(async () => {
    await tenant.close();
    await jetStream.close();
    await system.purge(account.publicKey);
    await system.deleteAccounts(await encodeDeletion({ operatorSeed, accounts: [account.publicKey] }));
    await system.close();
  });

  async function made(name: string, wanted = config): Promise<void> {
    await jetStream.createBuffer(name, wanted, mark);
    await jetStream.createConsumer(name, wanted);
  }

  const send = async (name: string, count: number) => {
    for (let i = 0; i < count; i++) await client.publish(name, String(i));
  };
  const take = async (name: string) => {
    const message = await (await client.consumers.get(name, name)).next({ expires: 60_000 });
    assert(message, `nothing in ${name}`);
    return message;
  };

  it("reads back a buffer as it was made, and made again, and changed", async () => {
    await made("cat_0");
    const wanted = { config, mark, pending: 0, ackPending: 0, lastSequence: 0, hasConsumer: true };
    assert.deepEqual(await jetStream.buffer("cat_0"), wanted);
    await made("cat_0");
    assert.deepEqual(await jetStream.buffer("cat_0"), wanted);

    const other: BufferConfig = {
      ...config,
      retention: "interest",
      maxMessages: 500,
      maxAgeSeconds: 0,
      dedupWindowSeconds: 30,
      ackWaitSeconds: 5,
      maxAckPending: 7,
    };
    await jetStream.updateBuffer("cat_0", other, { generation: 2, digest: "b" });
    await jetStream.updateConsumer("cat_0", other);
    assert.deepEqual(await jetStream.buffer("cat_0"), {
      ...wanted,
      config: other,
      mark: { generation: 2, digest: "b" },
    });
    await jetStream.deleteBuffer("cat_0");
    assert.equal(await jetStream.buffer("cat_0"), undefined);
    await jetStream.deleteBuffer("cat_0");
  });

  for (const retention of ["limits", "workqueue", "interest"] as const) {
    it(`counts what is not delivered, and what is not acknowledged (${retention})`, async () => {
      const name = `${retention}_0`;
      await made(name, { ...config, retention });
      const counts = async () => {
        const { pending, ackPending, lastSequence } = (await jetStream.buffer(name)) ?? assert.fail();
        return { pending, ackPending, lastSequence };
      };
      await send(name, 3);
      assert.deepEqual(await counts(), { pending: 3, ackPending: 0, lastSequence: 3 });
      const first = await take(name);
      assert.deepEqual(await counts(), { pending: 2, ackPending: 1, lastSequence: 3 });
      assert((await jetStream.oldestUnread(name)) instanceof Date);
      assert.equal(await first.ackAck(), true);
      for (let i = 0; i < 2; i++) await (await take(name)).ackAck();
      assert.deepEqual(await counts(), { pending: 0, ackPending: 0, lastSequence: 3 });
      assert.equal(await jetStream.oldestUnread(name), undefined);
      await jetStream.deleteBuffer(name);
    });
  }

  it("counts every message of a buffer whose consumer is gone as unread", async () => {
    await made("lost_0");
    await send("lost_0", 2);
    await (await tenant.jetstreamManager()).consumers.delete("lost_0", "lost_0");
    const { pending, hasConsumer } = (await jetStream.buffer("lost_0")) ?? assert.fail();
    assert.deepEqual({ pending, hasConsumer }, { pending: 2, hasConsumer: false });
    await jetStream.deleteBuffer("lost_0");
  });

  it("makes a bucket that clients take for a key-value store, and changes its mark only", async () => {
    await jetStream.createBucket("in_cat", 1, mark);
    const store = await client.views.kv("in_cat_OT", { bindOnly: true });
    await store.put("offset", "41");
    await jetStream.updateBucket("in_cat", 1, { generation: 2, digest: "b" });
    assert.deepEqual(await jetStream.bucket("in_cat"), { replicas: 1, mark: { generation: 2, digest: "b" } });
    assert.equal((await store.get("offset"))?.string(), "41");
    await jetStream.deleteBucket("in_cat");
    assert.equal(await jetStream.bucket("in_cat"), undefined);
  });

  it("says what JetStream refuses, and what to correct", async () => {
    await made("work_0", { ...config, retention: "workqueue" });
    await assert.rejects(jetStream.updateBuffer("work_0", config, mark), (error: StoreError) => {
      assert.match(
        error.message,
        /refused to change buffer 'work_0' \(.*retention.*\): correct the pipeline's 'buffers'/,
      );
      assert.equal(error.inDoubt, false);
      return true;
    });
    await assert.rejects(made("many_0", { ...config, replicas: 3 }), /refused to make buffer 'many_0' \(.*\): /);
    await jetStream.deleteBuffer("work_0");
  });

  it("is refused, and cut off, when its credentials have ended", async () => {
    // Whole seconds are what is left of them: time enough to log in on a machine that stands still for a while.
    const short = await JetStream.connect({ servers, creds: await credsOf(6) });
    assert.equal(await short.buffer("none_0"), undefined);
    // The server closes the connection at that time, not at the next request.
    const open = async () =>
      (await system.connections(account.publicKey)).filter((name) => name.startsWith("ringfence ")).length;
    await until(async () => ((await open()) === 1 ? true : undefined), {
      deadlineMs: 90_000,
      late: () => new Error("still connected"),
    });
    await assert.rejects(short.createBuffer("none_0", config, mark), (error: StoreError) => {
      assert.match(error.message, /did not answer when asked to make buffer 'none_0'/);
      assert.equal(error.inDoubt, true);
      return true;
    });
    assert.equal(await jetStream.buffer("none_0"), undefined);
    await assert.rejects(JetStream.connect({ servers, creds: await credsOf(-5) }), StoreError);
  });

  it("never takes a look that failed for an absent buffer", async () => {
    const lost = await JetStream.connect({ servers, creds: await credsOf() });
    await lost.close();
    for (const look of [() => lost.buffer("cat_0"), () => lost.bucket("in_cat"), () => lost.oldestUnread("cat_0")])
      await assert.rejects(look(), /did not answer when asked to read/);
  });
});
