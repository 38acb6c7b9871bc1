import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { CoreV1Api, KubeConfig } from "@kubernetes/client-node";
import { GENERATION_LABEL, OWNER_LABEL } from "../../components/plan/labels.ts";
import { op } from "../../components/stores/etcd-txn.ts";
import { encodeAccount, encodeDeletion, generateNkey } from "../../components/stores/nats-jwt.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { audit, type Finding } from "../../components/tenancy/audit.ts";
import { listGraves, reap } from "../../components/tenancy/graves.ts";
import { dropNamespace } from "../../components/tenancy/namespace.ts";
import { intents, keys } from "../../components/tenancy/registry.ts";
import { release } from "../../components/tenancy/release.ts";
import { faulty } from "./faults.ts";
import {
  access,
  etcdOf,
  holdTime,
  jetStream,
  natsOf,
  newLedger,
  newProcess,
  newRealm,
  passTime,
  provision,
  type Tenant,
  tidy,
  tracesOf,
} from "./scene.ts";

const { operatorSeed } = access.nats;

/** The cluster, as its admin. */
function cluster(): CoreV1Api {
  const config = new KubeConfig();
  config.loadFromDefault();
  return config.makeApiClient(CoreV1Api);
}

describe("what may come back after a release", () => {
  const realm = newRealm();
  let stores: Stores;
  let chat: Tenant;
  const graveOf = async ({ generation }: Tenant) =>
    (await listGraves(stores)).find((grave) => grave.generation === generation);
  const findings = async () =>
    (await audit(stores)).findings.filter(({ name, detail }) => `${name} ${detail}`.includes(realm));

  before(async () => {
    stores = newProcess();
    chat = await provision(stores, await newLedger(stores), `${realm}/chat`);
  });
  after(tidy);

  it("has no grave when the release was certain of everything", async () => {
    const sure = await provision(stores, chat.owner, `${realm}/sure`);
    await release(stores, { ...sure, ...sure.claimed });
    assert.equal(await graveOf(sure), undefined);
  });

  it("is noted in a grave when a call got no answer", async () => {
    const { stores: failing } = faulty(newProcess(), "in doubt", "deleteAccounts");
    await assert.rejects(release(failing, { ...chat, ...chat.claimed }), /deleteAccounts: in doubt/);
    await release(newProcess(), { ...chat, ...chat.claimed });
    const { username, prefix, namespace } = chat.claimed;
    const { modRevision, notBefore, ...grave } = (await graveOf(chat)) ?? assert.fail("no grave");
    const { generation, logicalName } = chat;
    assert.deepEqual(grave, { generation, logicalName, username, prefix, namespace, accounts: [chat.nats.account] });
  });

  it("is left alone, and no residue, while its time is not over", async () => {
    await holdTime(stores);
    // What calls that were on their way do when they arrive at last.
    const { username, prefix } = chat.claimed;
    const { etcd } = stores;
    await etcd.addRole(username);
    await etcd.grantPrefix(username, prefix);
    await etcd.addUser(username, chat.etcd.password);
    await etcd.grantRole(username, username);
    await etcdOf(chat).put(`${prefix}back`).value("1");
    const name = `ringfence:${chat.logicalName}:${chat.generation}`;
    const publicKey = chat.nats.account;
    const signingKeys = [chat.nats.signingKey];
    await (await stores.nats()).push(await encodeAccount({ name, publicKey, operatorSeed, jetStream, signingKeys }));
    const nats = await natsOf(chat);
    await (await nats.jetstreamManager()).streams.add({ name: "BACK", subjects: ["back"] });
    const labels = { [OWNER_LABEL]: chat.owner, [GENERATION_LABEL]: chat.generation };
    await cluster().createNamespace({ body: { metadata: { name: chat.claimed.namespace, labels } } });

    assert.deepEqual(await findings(), []);
    assert((await audit(stores)).graves > 0);
    assert.notEqual(await graveOf(chat), undefined);
    assert.equal(await etcdOf(chat).get(`${prefix}back`), "1");
  });

  it("is removed with its grave when its time is over, and who was connected is not any more", async () => {
    const nats = await natsOf(chat);
    const closed = nats.closed();
    await passTime(stores);
    assert((await reap(stores)) > 0);
    await closed;
    assert.equal(await graveOf(chat), undefined);
    assert.deepEqual(await tracesOf(stores, realm), []);
    assert.deepEqual(await (await stores.nats()).streams(chat.nats.account), []);
    assert.equal(await (await stores.kubernetes()).namespace(chat.claimed.namespace), undefined);
    await assert.rejects(natsOf(chat), /Authorization Violation/);
    assert.deepEqual(await findings(), []);
  });

  it("is emptied by the next claim as well", async () => {
    const { stores: failing } = faulty(newProcess(), "killed after", "push");
    await assert.rejects(provision(failing, chat.owner, `${realm}/killed`), /killed/);
    const tenant = await provision(newProcess(), chat.owner, `${realm}/killed`);
    await release(newProcess(), { ...tenant, ...tenant.claimed });
    assert.notEqual(await graveOf(tenant), undefined);
    await passTime(stores);
    await provision(newProcess(), chat.owner, `${realm}/next`);
    assert.equal(await graveOf(tenant), undefined);
  });
});

describe("an audit", () => {
  const realm = newRealm();
  const generation = randomBytes(12).toString("hex");
  const { username, prefix, namespace } = intents(`${realm}/${realm}`, generation);
  const { publicKey } = generateNkey("account");
  const lostGeneration = "2".repeat(24);
  let stores: Stores;
  let core: CoreV1Api;

  before(() => {
    stores = newProcess();
    core = cluster();
  });
  after(tidy);

  it("lists every tenant with its holder", async () => {
    const tenant = await provision(stores, await newLedger(stores), `${realm}/whole`);
    await etcdOf(tenant).put(`${tenant.etcd.prefix}a`).value("1");
    const { tenants, findings } = await audit(stores);
    assert.deepEqual(
      tenants.filter(({ logicalName }) => logicalName === tenant.logicalName),
      [
        {
          logicalName: tenant.logicalName,
          generation: tenant.generation,
          state: "active",
          owner: tenant.owner,
          recorded: { project: "suite", stack: "test", resource: tenant.logicalName },
          keys: 1,
          dynamo: [],
        },
      ],
    );
    assert.deepEqual(findings, []);
    await release(stores, { ...tenant, ...tenant.claimed });
  });

  it("finds what no live claim accounts for, of each kind", async () => {
    const { etcd } = stores;
    const nats = await stores.nats();
    await etcd.addRole(username);
    await etcd.addUser(username, "x");
    await etcd.txn([], [op.put(`${prefix}a`, "1")]);
    await nats.push(
      await encodeAccount({ name: `ringfence:${realm}/${realm}:${generation}`, publicKey, operatorSeed, jetStream }),
    );
    const labels = { [OWNER_LABEL]: "nobody", [GENERATION_LABEL]: generation };
    await core.createNamespace({ body: { metadata: { name: namespace, labels } } });
    const claim = {
      state: "active",
      owner: "gone",
      generation: "1".repeat(24),
      attempt: 1,
      accounts: [],
      recorded: { project: "p", stack: "s", resource: "r" },
    };
    await etcd.txn(
      [],
      [
        op.put(keys.claim(`${realm}/lost`), JSON.stringify(claim)),
        op.put(keys.generation(lostGeneration), `${realm}/forgotten`),
        op.put(`v1/instances/${realm}/backend/generate/1`, "{}"),
        op.put(`mdc/model-of-${realm}`, JSON.stringify({ endpoint: { namespace: realm } })),
        op.put(`mdc/model-of-nobody`, "{}"),
      ],
    );

    const unclaimed = "no live claim accounts for it";
    const expected: Finding[] = [
      {
        kind: "claim",
        name: `${realm}/lost#${"1".repeat(24)}`,
        detail: "its ledger gone is gone: release it with 'ringfence sweep'",
      },
      {
        kind: "generation",
        name: lostGeneration,
        detail: `its claim on '${realm}/forgotten' was lost: bring that tenant up with onResidue 'purge' or 'adopt'`,
      },
      { kind: "keys", name: prefix, detail: `1 keys, ${unclaimed}` },
      { kind: "user", name: username, detail: unclaimed },
      { kind: "role", name: username, detail: unclaimed },
      { kind: "account", name: publicKey, detail: `${unclaimed}; it was made for ${realm}/${realm}` },
      { kind: "namespace", name: namespace, detail: unclaimed },
      {
        kind: "dynamo",
        name: realm,
        detail: `2 keys in Dynamo's layouts, of no tenant, for example v1/instances/${realm}/backend/generate/1: register them with 'ringfence adopt', or delete them`,
      },
    ];
    assert.deepEqual((await audit(stores)).findings, expected);
  });

  it("is clean when they are gone", async () => {
    const { etcd } = stores;
    const nats = await stores.nats();
    await etcd.deleteUser(username);
    await etcd.deleteRole(username);
    const gone = [
      `${prefix}a`,
      keys.claim(`${realm}/lost`),
      keys.generation(lostGeneration),
      `v1/instances/${realm}/backend/generate/1`,
      `mdc/model-of-${realm}`,
      "mdc/model-of-nobody",
    ];
    await etcd.txn([], gone.map(op.remove));
    await nats.deleteAccounts(await encodeDeletion({ operatorSeed, accounts: [publicKey] }));
    await dropNamespace(stores, namespace, generation, (act) => act());
    assert.deepEqual((await audit(stores)).findings, []);
  });
});
