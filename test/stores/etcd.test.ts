import assert from "node:assert/strict";
import { Etcd3 } from "etcd3";
import { StoreError } from "../../components/stores/errors.ts";
import { Etcd } from "../../components/stores/etcd.ts";
import { EtcdSession } from "../../components/stores/etcd-session.ts";
import { op, when } from "../../components/stores/etcd-txn.ts";
import { freePort } from "../../dev/platform/ports.ts";
import { timed } from "../support/patience.ts";
import { BlackHole, OwnEtcd } from "./servers.ts";

/** The promise of the command line: a store that is down is named within this, milliseconds. */
const NAMED_WITHIN = 30_000;

const password = "correct-horse-1";

async function failureOf(act: Promise<unknown>): Promise<StoreError> {
  const { result: error, ms } = await timed<unknown>(
    act.then(
      () => assert.fail("it succeeded"),
      (reason: unknown) => reason,
    ),
  );
  assert(error instanceof StoreError, (error as Error).stack);
  assert(ms < NAMED_WITHIN, `took ${ms} ms`);
  assert(!`${error.message} ${JSON.stringify(error)}`.includes(password), "it shows the password");
  assert(!error.message.includes("\n"), error.message);
  return error;
}

describe("etcd, as the protocol uses it", () => {
  let server: OwnEtcd;
  let etcd: Etcd;
  const as = (secret: string, endpoint = server.endpoint) =>
    new Etcd({ endpoints: [endpoint], username: "root", password: secret });

  before(async () => {
    server = await OwnEtcd.start();
  });
  after(async () => {
    etcd?.close();
    server.resume();
    await server.remove();
  });

  it("is refused while its authentication is off", async () => {
    const open = as(password);
    const error = await failureOf(open.requireAuthentication());
    assert.equal(
      error.message,
      `etcd at ${server.endpoint} has authentication off, so nothing would keep tenants apart: run 'etcdctl auth enable'`,
    );
    open.close();
    await server.guard(password);
    etcd = as(password);
    await etcd.requireAuthentication();
  });

  it("compares a range of keys as a whole, and a key with the slash that ends it", async () => {
    const claim = () => etcd.txn([when.noneBelow("/a/")], [op.put("/a/x", "1")], [op.list("/a/", 1)]);
    await etcd.txn([], [op.put("/ab/x", "sibling")]);
    assert.equal((await claim()).succeeded, true);
    const { succeeded, read } = await claim();
    assert.equal(succeeded, false);
    assert.deepEqual(
      read[0]?.map(({ key, value }) => `${key}=${value}`),
      ["/a/x=1"],
    );
    await etcd.txn([], [op.remove("/a/x")]);
    assert.equal(await etcd.count("/a/"), 0);
    assert.equal((await etcd.get("/ab/x"))?.value, "sibling");
  });

  it("keeps its keys apart by the revision at which they were written", async () => {
    await etcd.txn([], [op.put("/rev", "1")]);
    const { modRevision } = (await etcd.get("/rev")) ?? assert.fail();
    await etcd.txn([], [op.put("/rev", "2")]);
    assert.equal((await etcd.txn([when.unchanged("/rev", modRevision)], [op.put("/rev", "3")])).succeeded, false);
    assert.equal((await etcd.get("/rev"))?.value, "2");
  });

  it("can be told twice to make or remove a role, a user, a grant or a lease", async () => {
    for (let i = 0; i < 2; i++) {
      await etcd.addRole("twice");
      await etcd.grantPrefix("twice", "/twice/");
      await etcd.addUser("twice", "secret");
      await etcd.grantRole("twice", "twice");
    }
    assert.deepEqual(await etcd.rolesOf("twice"), ["twice"]);
    assert.deepEqual(await etcd.permissionsOf("twice"), ["readwrite /twice/ /twice0"]);
    const lease = await etcd.grantLease(60);
    for (let i = 0; i < 2; i++) {
      await etcd.revokePermission("twice", Etcd.boundTo("/twice/"));
      await etcd.revokeRole("twice", "twice");
      await etcd.revokeLease(lease);
    }
    assert.deepEqual(await etcd.permissionsOf("twice"), []);
    for (let i = 0; i < 2; i++) {
      await etcd.deleteUser("twice");
      await etcd.deleteRole("twice");
    }
    assert.equal(await etcd.rolesOf("twice"), undefined);
    assert.equal(await etcd.permissionsOf("twice"), undefined);
  });

  it("does not fail a call while a neighbour adds and deletes users all the while, which fails a plain client", async () => {
    const neighbour = as(password);
    const plain = new Etcd3({ hosts: server.endpoint, auth: { username: "root", password } });
    const session = await EtcdSession.open({ endpoints: [server.endpoint], username: "root", password });
    let plainFailures = 0;
    let calls = 0;
    const end = Date.now() + 120_000;
    const done = () => plainFailures >= 5 && calls >= 200;
    const loop = async (act: () => Promise<unknown>) => {
      while (!done() && Date.now() < end) await act();
    };
    const ours = (act: () => Promise<unknown>) => loop(() => act().then(() => calls++));
    await Promise.all([
      ...[1, 2, 3].map((i) =>
        loop(async () => {
          await neighbour.addUser(`churn-${i}`, "x");
          await neighbour.deleteUser(`churn-${i}`);
        }),
      ),
      ...[1, 2, 3, 4].map(() =>
        loop(() =>
          plain
            .get("/ab/x")
            .exec()
            .catch(() => plainFailures++),
        ),
      ),
      ours(() => etcd.get("/ab/x")),
      ours(() => etcd.txn([], [op.put("/churned", "1")])),
      ours(() => etcd.rolesOf("root")),
      ours(async () => {
        const lease = await etcd.grantLease(60);
        const stop = etcd.keepAlive(lease, 1);
        await etcd.get("/ab/x");
        stop();
        await etcd.revokeLease(lease);
      }),
      ours(async () => {
        const { id } = await session.grantLease(60);
        await session.put("/session", "1", id);
        await session.remove("/session");
        await session.revokeLease(id);
      }),
    ]);
    session.close();
    neighbour.close();
    plain.close();
    assert(done(), `${plainFailures} failures of the plain client and ${calls} calls of ours in 120 s`);
  });

  it("goes on after a restart, which forgets every token", async () => {
    await etcd.get("/ab/x");
    await server.kill();
    const error = await failureOf(etcd.get("/ab/x"));
    assert.equal(error.unreachable, true);
    assert(error.message.startsWith(`etcd at ${server.endpoint} does not answer (`), error.message);
    await server.start();
    assert.equal((await etcd.get("/ab/x"))?.value, "sibling");
  });

  it("keeps a lease alive over a restart", async () => {
    const lease = await etcd.grantLease(10);
    await etcd.txn([], [op.put("/leased", "1", lease)]);
    const stop = etcd.keepAlive(lease, 500);
    await server.kill();
    await server.start();
    await new Promise((resolve) => setTimeout(resolve, 12_000));
    assert.notEqual(await etcd.get("/leased"), undefined);
    stop();
    await etcd.revokeLease(lease);
  });

  it("names a wrong password without showing it, from the start and after a change", async () => {
    const expected = `etcd at ${server.endpoint} refused the log-in of 'root': correct its password in the platform's access`;
    const wrong = as(`${password}-not`);
    assert.equal((await failureOf(wrong.get("/"))).message, expected);
    wrong.close();

    const stale = as(password);
    await stale.get("/");
    await etcd.changePassword("root", "another");
    assert.equal((await failureOf(stale.get("/"))).message, expected);
    stale.close();
    const rotated = as("another");
    await rotated.changePassword("root", password);
    rotated.close();
    etcd.close();
    etcd = as(password);
    await etcd.get("/");
  });

  it("names a server that hangs, and calls what was sent in doubt", async () => {
    await etcd.get("/");
    server.hang();
    const error = await failureOf(etcd.txn([], [op.put("/late", "1")]));
    assert(error.message.startsWith(`etcd at ${server.endpoint} does not answer (`), error.message);
    assert.deepEqual({ inDoubt: error.inDoubt, unreachable: error.unreachable }, { inDoubt: true, unreachable: true });
    server.resume();
    await etcd.get("/");
  });

  it("names an address where nobody listens, and knows that nothing was sent", async () => {
    const nowhere = as(password, `http://127.0.0.1:${await freePort()}`);
    const error = await failureOf(nowhere.txn([], [op.put("/a", "1")]));
    assert(error.message.startsWith(`${nowhere.label} does not answer (`), error.message);
    assert.deepEqual({ inDoubt: error.inDoubt, unreachable: error.unreachable }, { inDoubt: false, unreachable: true });
    nowhere.close();
  });

  it("names an address that answers nothing", async () => {
    const hole = await BlackHole.open();
    const nowhere = as(password, `http://${hole.host}`);
    assert((await failureOf(nowhere.get("/"))).message.includes(hole.host));
    nowhere.close();
    hole.close();
  });
});
