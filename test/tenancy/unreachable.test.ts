import assert from "node:assert/strict";
import { CoreV1Api, KubeConfig } from "@kubernetes/client-node";
import { op } from "../../components/stores/etcd-txn.ts";
import { type Stores, storesFor } from "../../components/tenancy/access.ts";
import { audit } from "../../components/tenancy/audit.ts";
import { deleteLedger } from "../../components/tenancy/ledger.ts";
import { dropNamespace } from "../../components/tenancy/namespace.ts";
import { keys, readClaim } from "../../components/tenancy/registry.ts";
import { release } from "../../components/tenancy/release.ts";
import { BlackHole, OwnEtcd } from "../stores/servers.ts";
import { timed } from "../support/patience.ts";
import {
  access,
  deleteNamespace,
  newLedger,
  newProcess,
  newRealm,
  provision,
  type Tenant,
  tidy,
  tracesOf,
} from "./scene.ts";

/** What a command may take to name a store that is down, milliseconds. */
const NAMED_WITHIN = 30_000;

describe("a store that is down", () => {
  const realm = newRealm();
  const config = new KubeConfig();
  config.loadFromDefault();
  const core = config.makeApiClient(CoreV1Api);
  let stores: Stores;
  let tenant: Tenant;

  before(() => {
    stores = newProcess();
  });
  beforeEach(async () => {
    tenant = await provision(newProcess(), await newLedger(stores), `${realm}/chat`);
  });
  after(tidy);

  const namespaceOf = async ({ claimed: { namespace: name, generation }, owner }: Tenant) => {
    const labels = { "ringfence.dev/owner": owner, "ringfence.dev/generation": generation };
    await core.createNamespace({ body: { metadata: { name, labels } } });
    return name;
  };
  const withoutCluster = () => {
    const kubeconfig = config.exportConfig().replace(/127\.0\.0\.1:\d+/g, "127.0.0.1:1");
    return newProcess({ ...access, kubernetes: { kubeconfig: JSON.stringify(JSON.parse(kubeconfig), null, 1) } });
  };
  const failure = async (act: Promise<unknown>) => {
    const { result, ms } = await timed(
      act.then(
        () => assert.fail("it succeeded"),
        (error: Error) => error.message,
      ),
    );
    assert(ms < NAMED_WITHIN, `took ${ms} ms`);
    return result;
  };

  it("is named at destroy, the claim stays, and the next destroy finishes (NATS)", async () => {
    const hole = await BlackHole.open();
    const servers = [`nats://${hole.host}`];
    const lame = newProcess({ ...access, nats: { ...access.nats, servers } });
    assert.match(
      await failure(release(lame, { ...tenant, ...tenant.claimed })),
      new RegExp(`^NATS at ${servers[0]} does not answer \\(.*\\): start it, or correct the servers`),
    );
    hole.close();
    assert.equal((await readClaim(stores.etcd, tenant.logicalName))?.claim.state, "releasing");
    assert.notEqual(await release(newProcess(), { ...tenant, ...tenant.claimed }), undefined);
    assert.deepEqual(await tracesOf(stores, realm), []);
  });

  it("is named at up and at destroy (etcd)", async () => {
    const hole = await BlackHole.open();
    const endpoints = [`http://${hole.host}`];
    const lame = newProcess({ ...access, etcd: { ...access.etcd, endpoints } });
    const named = new RegExp(`^etcd at ${endpoints[0]}.* does not answer \\(.*\\): start it, or correct the endpoints`);
    assert.match(await failure(provision(lame, tenant.owner, tenant.logicalName)), named);
    assert.match(await failure(release(lame, { ...tenant, ...tenant.claimed })), named);
    assert.match(await failure(deleteLedger(lame, tenant.owner)), named);
    hole.close();
    assert.equal((await readClaim(stores.etcd, tenant.logicalName))?.claim.state, "active");
    await deleteLedger(newProcess(), tenant.owner);
  });

  it("stops neither fence nor purge when it is the cluster, and the receipt says what was not looked at", async () => {
    const name = await namespaceOf(tenant);
    const lame = withoutCluster();
    const receipt = await release(lame, { ...tenant, ...tenant.claimed });
    assert.deepEqual(receipt?.removed.users, 1);
    assert.match(
      receipt.notes.join(),
      new RegExp(`^namespace '${name}' was not looked at: Kubernetes at .*127.0.0.1:1`),
    );
    assert.deepEqual(await tracesOf(stores, realm), [`namespace ${name}`]);
    await dropNamespace(stores, name, tenant.generation, (act) => act());
    assert.deepEqual(await tracesOf(stores, realm), []);
  });

  it("keeps an audit from nothing but the cluster when it is that, and the audit says so", async () => {
    const name = await namespaceOf(tenant);
    const generation = "f".repeat(24);
    const names = {
      username: `ringfence.${generation}`,
      prefix: `/ringfence/tenants/${generation}/`,
      namespace: "gone",
    };
    const grave = JSON.stringify({ logicalName: `${realm}/gone`, accounts: [], notBefore: 0, ...names });
    await stores.etcd.txn([], [op.put(keys.grave(generation), grave)]);
    const { tenants, notes, graves } = await audit(withoutCluster());
    assert(tenants.some(({ logicalName }) => logicalName === tenant.logicalName));
    assert.match(notes.join(), /^namespaces were not looked at: Kubernetes at .*127.0.0.1:1/);
    assert(graves > 0, "a grave that needs the cluster stays");
    assert.deepEqual((await audit(stores)).notes, []);
    assert.equal(await stores.etcd.get(keys.grave(generation)), undefined);
    await dropNamespace(stores, name, tenant.generation, (act) => act());
    await deleteLedger(newProcess(), tenant.owner);
  });

  it("is no excuse when it is there: the namespace goes, one of another generation stays", async () => {
    const name = await namespaceOf(tenant);
    const other = await provision(newProcess(), tenant.owner, `${realm}/other`);
    const foreign = await namespaceOf({ ...other, claimed: { ...other.claimed, generation: "0".repeat(24) } });
    const receipts = await deleteLedger(newProcess(), tenant.owner);
    assert.deepEqual(
      Object.fromEntries(receipts.map(({ logicalName, removed }) => [logicalName, removed.namespaces])),
      {
        [`${realm}/chat`]: 1,
        [`${realm}/other`]: 0,
      },
    );
    const kubernetes = await stores.kubernetes();
    assert.equal(await kubernetes.namespace(name), undefined);
    assert.notEqual(await kubernetes.namespace(foreign), undefined);
    await deleteNamespace(core, foreign);
  });

  it("is refused from the start when it keeps nobody apart: an etcd without authentication", async () => {
    const open = await OwnEtcd.start();
    try {
      const act = storesFor({ ...access, etcd: { ...access.etcd, endpoints: [open.endpoint] } });
      assert.match(await failure(act), /has authentication off.*run 'etcdctl auth enable'$/);
    } finally {
      await open.remove();
    }
  });
});
