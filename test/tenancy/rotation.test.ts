import assert from "node:assert/strict";
import { CoreV1Api, KubeConfig } from "@kubernetes/client-node";
import fc from "fast-check";
import { CREDENTIALS_ANNOTATION } from "../../components/plan/labels.ts";
import { op } from "../../components/stores/etcd-txn.ts";
import { encodeAccount, userCreds } from "../../components/stores/nats-jwt.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { expectedAccount, observeAccount, openAccount } from "../../components/tenancy/account.ts";
import { openPrefix, usersOf } from "../../components/tenancy/prefix.ts";
import { keys, readClaim } from "../../components/tenancy/registry.ts";
import { release } from "../../components/tenancy/release.ts";
import { retireCredentials } from "../../components/tenancy/rotation.ts";
import { seed, seedText } from "../support/sample.ts";
import { faults, faulty } from "./faults.ts";
import {
  access,
  deleteNamespace,
  etcdOf,
  jetStream,
  natsOf,
  newLedger,
  newProcess,
  newRealm,
  presentOf,
  provision,
  type Tenant,
  tidy,
  tracesOf,
  untilPodsMayCome,
} from "./scene.ts";

const { operatorSeed } = access.nats;

/** Failures that are drawn; each at any of the writes. */
const CRASHES = 6;

/** Calls that make etcd fail what is in flight, of all users. */
const isChange = (write: string) => /User|Role|Permission|Password|grantPrefix/.test(write);

/** What the update of a tenant's parts with another `rotation` does. */
async function rotate(stores: Stores, { etcd, nats, ...tenant }: Tenant): Promise<Tenant> {
  const users = ["worker"];
  return {
    ...tenant,
    etcd: await openPrefix(stores, tenant, { existing: etcd, rotate: true }),
    nats: await openAccount(stores, tenant, { users, jetStream, existing: nats, rotate: true }),
  };
}

/** The tenant by a user that somebody made with the account's own seed. */
async function withFurtherUser({ nats, ...tenant }: Tenant): Promise<Tenant> {
  return {
    ...tenant,
    nats: { ...nats, creds: { worker: await userCreds({ name: "further", accountSeed: nats.seed }) } },
  };
}

async function assertGood(tenant: Tenant): Promise<void> {
  await etcdOf(tenant).put(`${tenant.etcd.prefix}good`).value("1");
  await (await natsOf(tenant)).close();
}

async function assertEnded(tenant: Tenant): Promise<void> {
  await assert.rejects(etcdOf(tenant).get(tenant.etcd.prefix).exec(), /authentication failed/);
  await assert.rejects(natsOf(tenant), /Authorization Violation/);
}

describe(`the rotation of a tenant's credentials (${seedText})`, () => {
  const realm = newRealm();
  let stores: Stores;
  let owner: string;

  before(async () => {
    stores = newProcess();
    owner = await newLedger(stores);
  });
  after(tidy);

  it("gives new ones while the old ones stay good, then ends the old ones and closes their connections", async () => {
    const old = await provision(stores, owner, `${realm}/chat`);
    const { account } = old.nats;
    const further = await withFurtherUser(old);
    const counted = faulty(newProcess());
    const now = await rotate(counted.stores, old);
    assert.deepEqual(counted.writes.filter(isChange), ["addUser", "grantRole"]);
    assert.notEqual(now.etcd.username, old.etcd.username);
    assert.deepEqual([now.nats.seed, now.nats.account], [old.nats.seed, account], "the account, and its seed, stay");
    assert.notEqual(now.nats.signingKey, old.nats.signingKey);
    for (const each of [old, now, further]) await assertGood(each);

    const open = await natsOf(old);
    const closed = open.closed();
    const retiring = faulty(newProcess());
    await retireCredentials(retiring.stores, old, presentOf(now));
    assert.deepEqual(retiring.writes.filter(isChange), ["deleteUser"]);
    await closed;
    for (const each of [old, further]) await assertEnded(each);
    await assertGood(now);
    await assertGood(await withFurtherUser(now));
    const { claim } = (await readClaim(stores.etcd, old.logicalName)) ?? assert.fail();
    assert.deepEqual(await observeAccount(stores, account, claim), expectedAccount(jetStream));

    const again = faulty(newProcess());
    await retireCredentials(again.stores, old, presentOf(now));
    assert.deepEqual(
      again.writes.filter((write) => isChange(write) || write === "push"),
      [],
      "nothing is left to retire",
    );
    await release(newProcess(), { ...old, ...old.claimed });
    assert.deepEqual(await tracesOf(stores, old.logicalName), []);
    await assertEnded(now);
  });

  it("ends what the account's own seed has signed, as version 0.1.0 did", async () => {
    const logicalName = `${realm}/legacy`;
    const made = await provision(newProcess(), owner, logicalName);
    const { signingKey, signingSeed, ...nats } = made.nats;
    const { account } = nats;
    const creds = { worker: await userCreds({ name: "worker", accountSeed: nats.seed }) };
    const name = `ringfence:${logicalName}:${made.generation}`;
    await (await stores.nats()).push(await encodeAccount({ name, publicKey: account, operatorSeed, jetStream }));
    const { value } = (await stores.etcd.get(keys.claim(logicalName))) ?? assert.fail();
    const { signers, handedOut, ...claim } = JSON.parse(value);
    await stores.etcd.txn([], [op.put(keys.claim(logicalName), JSON.stringify(claim))]);
    const old = { ...made, nats: { ...nats, creds } } as unknown as Tenant;
    await assertGood(old);

    const process = newProcess();
    const now = await rotate(process, old);
    for (const each of [old, now]) await assertGood(each);
    await retireCredentials(process, old, presentOf(now));
    await assertEnded(old);
    await assertGood(now);
    await release(newProcess(), { ...old, ...old.claimed });
  });

  it("waits for the last pod that has old ones, and names it when it stays", async () => {
    const config = new KubeConfig();
    config.loadFromDefault();
    const core = config.makeApiClient(CoreV1Api);
    const old = await provision(newProcess(), owner, `${realm}/pods`);
    const now = await rotate(newProcess(), old);
    const { namespace } = old.claimed;
    await core.createNamespace({ body: { metadata: { name: namespace } } });
    const pod = async (podName: string, credentials: string) =>
      core.createNamespacedPod({
        namespace,
        body: {
          metadata: {
            name: podName,
            annotations: { [CREDENTIALS_ANNOTATION]: credentials },
            finalizers: ["test/hold"],
          },
          spec: { containers: [{ name: "main", image: "x" }], automountServiceAccountToken: false },
        },
      });
    try {
      await untilPodsMayCome(core, namespace);
      await pod("first", "old");
      await pod("second", "new");
      await assert.rejects(
        retireCredentials(newProcess(), old, presentOf(now), 0),
        /in namespace '\S+', pods still have the credentials from before the rotation after 0 s: first\. Those credentials stay good: let the pods end, then run again/,
      );
      for (const each of [old, now]) await assertGood(each);
      const retiring = retireCredentials(newProcess(), old, presentOf(now));
      await core.deleteNamespacedPod({ namespace, name: "first", gracePeriodSeconds: 0 });
      await assertGood(old);
      await unhold("first");
      await retiring;
      await assertEnded(old);
      await assertGood(now);
    } finally {
      for (const each of ["first", "second"]) await unhold(each).catch(() => {});
      await deleteNamespace(core, namespace);
    }

    async function unhold(name: string): Promise<void> {
      await core.patchNamespacedPod({ namespace, name, body: [{ op: "remove", path: "/metadata/finalizers" }] });
    }
  });

  it("refuses to end anything when the credentials were made anew since", async () => {
    const old = await provision(newProcess(), owner, `${realm}/since`);
    const now = await rotate(newProcess(), old);
    await rotate(newProcess(), now);
    await assert.rejects(
      retireCredentials(newProcess(), old, presentOf(now)),
      /were made anew since: run 'pulumi up' again/,
    );
    await assertGood(old);
  });

  it("is carried on with after a failure at any of its writes", async () => {
    const probe = await provision(newProcess(), owner, `${realm}/probe`);
    const { stores: counted, writes } = faulty(newProcess());
    const rotated = await rotate(counted, probe);
    const beginning = writes.length;
    await retireCredentials(counted, probe, presentOf(rotated));
    assert(beginning > 8 && writes.length > beginning + 3, writes.join(" "));

    const crash = fc.record({ at: fc.nat(writes.length - 1), fault: fc.constantFrom(...faults) });
    const crashes = fc.sample(crash, { seed, numRuns: CRASHES });
    await Promise.all(
      crashes.map(async ({ at, fault }, i) => {
        const old = await provision(newProcess(), await newLedger(stores), `${realm}/crash-${i}`);
        const { stores: failing } = faulty(newProcess(), fault, at);
        await rotate(failing, old)
          .then((now) => retireCredentials(failing, old, presentOf(now)))
          .catch(() => {});
        // Pulumi has noted nothing of it: the next run begins with what its state has.
        const next = newProcess();
        const now = await rotate(next, old);
        await retireCredentials(next, old, presentOf(now));
        const because = (cause: Error) => assert.fail(`${fault} write ${at}, ${writes[at]}: ${cause}`);
        await assertEnded(old).catch(because);
        await assertGood(now).catch(because);
        assert.deepEqual(await usersOf(stores, old.claimed.username), [now.etcd.username]);
      }),
    );
  });
});
