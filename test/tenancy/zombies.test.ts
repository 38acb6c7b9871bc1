import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { until } from "../../components/stores/errors.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { fenceAccount, openAccount } from "../../components/tenancy/account.ts";
import { claimTenant, recordClaim } from "../../components/tenancy/claim.ts";
import { listGraves } from "../../components/tenancy/graves.ts";
import { deleteLedger } from "../../components/tenancy/ledger.ts";
import { fencePrefix, openPrefix } from "../../components/tenancy/prefix.ts";
import { intents, keys, readClaim } from "../../components/tenancy/registry.ts";
import { release } from "../../components/tenancy/release.ts";
import { Superseded } from "../../components/tenancy/run.ts";
import { faulty } from "./faults.ts";
import {
  bound,
  etcdOf,
  jetStream,
  natsOf,
  newLedger,
  newProcess,
  newRealm,
  provision,
  recorded,
  tidy,
  tracesOf,
} from "./scene.ts";

/** A process that hangs right before a call, between its look at the lock and the call itself, until it may go on. */
function hangingAt(call: string) {
  const [gate, at] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const process = newProcess();
  const gated = <T extends object>(server: T): T =>
    new Proxy(server, {
      get: (target, name) => {
        const member = bound(target, name) as (...args: unknown[]) => unknown;
        if (name !== call) return member;
        return async (...args: unknown[]) => {
          at.resolve();
          await gate.promise;
          return member(...args);
        };
      },
    });
  const stores: Stores = { ...process, etcd: gated(process.etcd), nats: async () => gated(await process.nats()) };
  return { stores, reached: at.promise, goOn: gate.resolve };
}

describe("a run that outlives its command", () => {
  const realm = newRealm();
  let stores: Stores;
  const claim = (at: Stores, owner: string, logicalName: string) =>
    claimTenant(at, { owner, logicalName, recorded: recorded(logicalName) });

  before(() => {
    stores = newProcess();
  });
  after(tidy);

  it("writes nothing more once a newer run of its stack has acted, and says why", async () => {
    const logicalName = `${realm}/overtaken`;
    const owner = await newLedger(stores);
    const zombie = newProcess();
    const { generation } = await claim(zombie, owner, logicalName);
    const ref = { owner, logicalName, generation };
    const next = await provision(newProcess(), owner, logicalName);
    assert.equal(next.generation, generation);

    const seen = await readClaim(stores.etcd, logicalName);
    const superseded = (error: Error) => {
      assert(error instanceof Superseded, error.stack);
      assert.match(error.message, /a newer run has taken over.*let that one finish, then run again/);
      return true;
    };
    await assert.rejects(openPrefix(zombie, ref), superseded);
    await assert.rejects(openAccount(zombie, ref, { users: ["late"], jetStream }), superseded);
    await assert.rejects(recordClaim(zombie, ref, recorded("late")), superseded);
    await assert.rejects(release(zombie, { ...ref, attempt: next.claimed.attempt }), superseded);
    await assert.rejects(claim(zombie, owner, `${realm}/overtaken-too`), superseded);
    assert.deepEqual(await readClaim(stores.etcd, logicalName), seen);
    assert.equal(await readClaim(stores.etcd, `${realm}/overtaken-too`), undefined);
  });

  // Once the newer run has taken the tenant's lock as well, and once it has only begun.
  for (const first of ["halfway", "elsewhere"]) {
    it(`stops between two of its calls when a newer run has begun with ${first === "halfway" ? "the same" : "another"} tenant; what it left in doubt ends in a grave`, async () => {
      const logicalName = `${realm}/${first}-halfway`;
      const owner = await newLedger(stores);
      const zombie = newProcess();
      let pushes = 0;
      let goOn = () => {};
      let reached = () => {};
      const atCall = new Promise<void>((resolve) => {
        reached = resolve;
      });
      const overtaken = new Promise<void>((resolve) => {
        goOn = resolve;
      });
      const nats = new Proxy(await zombie.nats(), {
        get: (target, name) =>
          name === "push"
            ? async (jwt: string) => {
                pushes++;
                reached();
                await overtaken;
                return target.push(jwt);
              }
            : bound(target, name),
      });
      const late = provision({ ...zombie, nats: async () => nats }, owner, logicalName).catch((error: Error) => error);
      await atCall;
      const next = newProcess();
      await claim(next, owner, first === "halfway" ? logicalName : `${realm}/elsewhere`);
      goOn();
      assert((await late) instanceof Superseded, String(await late));
      const { generation } = (await readClaim(stores.etcd, logicalName))?.claim ?? assert.fail("no claim");
      const { username } = intents(logicalName, generation);
      assert.equal(pushes, 1, "the zombie went on after its call");

      await provision(next, owner, logicalName);
      assert.equal((await readClaim(stores.etcd, logicalName))?.claim.suspect, true);
      const begun = Date.now();
      await deleteLedger(newProcess(), owner);
      const grave = (await listGraves(stores)).find((each) => each.generation === generation);
      assert.equal(grave?.username, username);
      assert(grave.notBefore > begun + 60_000, "the grave must outlive the JWT that a late push may bring back");
    });
  }

  it("fences nothing that a later run hands out, however late its calls come", async () => {
    const logicalName = `${realm}/late-fence`;
    const owner = await newLedger(stores);
    const tenant = await provision(newProcess(), owner, logicalName);
    await etcdOf(tenant).put(`${tenant.etcd.prefix}a`).value("1");
    const { generation, etcd, nats } = tenant;
    const ref = { owner, logicalName, generation };

    const late = (error: Error) => error;
    const [atUser, atAccount] = [hangingAt("deleteUser"), hangingAt("push")];
    const fences = [fencePrefix(atUser.stores, ref).catch(late)];
    await atUser.reached;
    fences.push(fenceAccount(atAccount.stores, ref, nats.account).catch(late));
    await atAccount.reached;

    const next = newProcess();
    const opened = await openPrefix(next, ref, { existing: etcd });
    const account = await openAccount(next, ref, { users: ["worker"], jetStream, existing: nats });
    assert.notEqual(opened.username, etcd.username);
    assert.notEqual(account.account, nats.account);
    await assert.rejects(etcdOf(tenant).get("/").exec(), /authentication failed/);
    await assert.rejects(natsOf(tenant), /Authorization Violation/);

    for (const { goOn } of [atUser, atAccount]) goOn();
    for (const fence of fences) assert((await fence) instanceof Superseded, String(await fence));
    const carriedOn = { ...tenant, etcd: opened, nats: account };
    assert.equal(await etcdOf(carriedOn).get(`${opened.prefix}a`), "1", "it has its data");
    await (await natsOf(carriedOn)).close();
    assert.equal((await readClaim(stores.etcd, logicalName))?.claim.state, "active");
    await release(newProcess(), { ...ref, attempt: tenant.claimed.attempt });
    assert.deepEqual(await tracesOf(stores, logicalName), []);
  });

  it("cannot claim while its stack is being destroyed, nor after", async () => {
    const logicalName = `${realm}/destroyed`;
    const owner = await newLedger(stores);
    const zombie = newProcess();
    const tenant = await provision(zombie, owner, logicalName);
    const { stores: failing } = faulty(newProcess(), "refused", "deleteUser");
    await assert.rejects(deleteLedger(failing, owner), /deleteUser: refused/);

    for (const at of [newProcess(), failing]) {
      await assert.rejects(claim(at, owner, `${realm}/other`), /is being destroyed, so nothing may be claimed for it/);
      await assert.rejects(openPrefix(at, tenant), /is being destroyed/);
    }
    await assert.rejects(claim(zombie, owner, logicalName), Superseded);

    await deleteLedger(newProcess(), owner);
    await assert.rejects(claim(newProcess(), owner, logicalName), /is not in the registry.*run 'pulumi refresh'/);
    await assert.rejects(claim(zombie, owner, logicalName), Superseded);
    assert.deepEqual(await tracesOf(stores, `${realm}/destroyed`), []);
    assert.equal(await stores.etcd.get(`/ringfence/v1/stacks/${owner}`), undefined);
  });

  it("loses its lock to the next run of its stack at once, and to another stack when its lease is over", async () => {
    const holder = fileURLToPath(new URL("holder.ts", import.meta.url));
    /** A holder that was killed, and whose lock's lease lives on until `release`. */
    const killedHolder = async (owner: string, logicalName: string) => {
      const child = fork(holder, [owner, logicalName], { execArgv: [] });
      const ended = once(child, "exit").then(() => assert.fail("the holder ended by itself"));
      const exit = once(child, "exit");
      await Promise.race([once(child, "message"), ended]);
      const { lease } = (await stores.etcd.get(keys.lock(logicalName))) ?? assert.fail("no lock");
      const release = stores.etcd.keepAlive(lease, 1_000);
      child.kill("SIGKILL");
      ended.catch(() => {});
      await exit;
      return { lease, release };
    };
    const [own, stranger] = [await newLedger(stores), await newLedger(stores)];
    const same = await killedHolder(own, `${realm}/same`);
    await claim(newProcess(), own, `${realm}/same`);
    same.release();

    const free = await killedHolder(own, `${realm}/free`);
    const waiting = newProcess();
    let looks = 0;
    const etcd = new Proxy(waiting.etcd, {
      get: (target, name) => {
        if (name !== "get") return bound(target, name);
        return (key: string) => {
          if (key === keys.lock(`${realm}/free`)) looks++;
          return target.get(key);
        };
      },
    });
    let through = false;
    const claimed = claim({ ...waiting, etcd }, stranger, `${realm}/free`).finally(() => {
      through = true;
    });
    await until(async () => looks > 10 || through || undefined, {
      deadlineMs: 60_000,
      late: () => new Error(`${looks} looks at the lock`),
    });
    assert.equal(through, false, "it took the lock of a holder whose lease lived");
    free.release();
    await claimed;
    assert.equal(await stores.etcd.leasedKeys(free.lease), "gone");
  });
});
