import assert from "node:assert/strict";
import { CoreV1Api, KubeConfig } from "@kubernetes/client-node";
import { OWNER_LABEL } from "../../components/plan/labels.ts";
import * as ledgerResource from "../../components/provider/v1/ledger.ts";
import * as tenantClaim from "../../components/provider/v1/tenant-claim.ts";
import { op } from "../../components/stores/etcd-txn.ts";
import { encodeDeletion } from "../../components/stores/nats-jwt.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { audit } from "../../components/tenancy/audit.ts";
import { claimTenant } from "../../components/tenancy/claim.ts";
import { openPrefix } from "../../components/tenancy/prefix.ts";
import { keys, readClaim } from "../../components/tenancy/registry.ts";
import { release } from "../../components/tenancy/release.ts";
import { adoptFromState, type KnownTenant } from "../../components/tenancy/restored.ts";
import {
  access,
  deleteNamespace,
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

/** What Pulumi's state has of a tenant. */
const known = ({ claimed, etcd, nats, ...tenant }: Tenant): KnownTenant => ({
  ...tenant,
  ...claimed,
  handedOut: { username: etcd.username, account: nats.account },
  recorded: recorded(tenant.logicalName),
});

describe("a registry that was restored from a backup", () => {
  const realm = newRealm();
  let stores: Stores;

  before(() => {
    stores = newProcess();
  });
  after(tidy);

  /** etcd forgets a tenant, as when it was made after the backup; its slot was free then, if there was one. */
  async function forget({ owner, logicalName, generation, claimed }: Tenant, slot?: string): Promise<void> {
    const { etcd } = stores;
    const gone = [keys.claim(logicalName), keys.generation(generation), keys.stack(owner)];
    const back = slot ? [op.put(keys.slot(generation), slot)] : [];
    await etcd.txn([], [...gone.map(op.remove), ...back]);
    if (slot) return;
    await etcd.deleteUser(claimed.username);
    await etcd.deleteRole(claimed.username);
  }
  /** The record that a tenant's slot had. */
  const slotOf = async ({ logicalName }: Tenant) =>
    JSON.stringify({ state: "ready", password: (await readClaim(stores.etcd, logicalName))?.claim.password });
  const newTenant = async (name: string) => provision(newProcess(), await newLedger(stores), `${realm}/${name}`);

  for (const slot of [false, true])
    it(`is given back a tenant that Pulumi's state has, with the credentials that its pods have${slot ? ", when its slot was free" : ""}`, async () => {
      const tenant = await newTenant(`back-${slot}`);
      await forget(tenant, slot ? await slotOf(tenant) : undefined);
      assert.equal(await adoptFromState(newProcess(), known(tenant)), "restored");
      assert.equal(await adoptFromState(newProcess(), known(tenant)), "there");
      assert.equal(await stores.etcd.get(keys.slot(tenant.generation)), undefined);

      const { username, password } = await openPrefix(newProcess(), tenant, { existing: tenant.etcd });
      assert.deepEqual([username, password], [tenant.etcd.username, tenant.etcd.password]);
      await etcdOf(tenant).put(`${tenant.etcd.prefix}a`).value("1");
      await (await natsOf(tenant)).close();
      const { claim } = (await readClaim(stores.etcd, tenant.logicalName)) ?? assert.fail();
      assert.equal(claim.state, "active");
      assert.deepEqual([claim.accounts, claim.signers], [[tenant.nats.account], [tenant.nats.signingKey]]);
      assert.deepEqual((await audit(stores)).findings, []);
      await release(newProcess(), { ...tenant, ...tenant.claimed });
      assert.deepEqual(await tracesOf(stores, tenant.logicalName), []);
      assert.equal(await adoptFromState(newProcess(), known(tenant)), "released");
    });

  it("never hands a slot out that NATS knows to be taken", async () => {
    const tenant = await newTenant("taken");
    await forget(tenant, await slotOf(tenant));
    const others = (await stores.etcd.list(keys.slots)).filter(({ key }) => key !== keys.slot(tenant.generation));
    // One by one: how many there are is up to the suites before this one, and a transaction takes 128.
    for (const { key } of others) await stores.etcd.txn([], [op.remove(key)]);
    try {
      const other = await newTenant("other");
      assert.notEqual(other.generation, tenant.generation);
    } finally {
      for (const { key, value } of others) await stores.etcd.txn([], [op.put(key, value)]);
    }
    await adoptFromState(newProcess(), known(tenant));
    await release(newProcess(), { ...tenant, ...tenant.claimed });
  });

  it("does not take a name from whoever has it by now", async () => {
    const tenant = await newTenant("renewed");
    await forget(tenant);
    const { logicalName, generation } = tenant;
    const owner = await newLedger(stores);
    const request = { owner, logicalName, recorded: recorded("other") } as const;
    await assert.rejects(claimTenant(newProcess(), request), /found residue of earlier deployments: generation/);
    await claimTenant(newProcess(), { ...request, onResidue: "adopt" });
    await assert.rejects(
      adoptFromState(newProcess(), known(tenant)),
      new RegExp(`tenant '${logicalName}' is held by project 'suite', stack 'test', resource 'other': choose another`),
    );
    assert.equal((await readClaim(stores.etcd, logicalName))?.claim.generation, generation);
  });

  it("does not keep a destroy from removing all that is left", async () => {
    const tenant = await newTenant("destroyed");
    const { logicalName, owner, claimed } = tenant;
    await etcdOf(tenant).put(`${tenant.etcd.prefix}a`).value("1");
    const slot = await slotOf(tenant);
    await forget(tenant, slot);
    const state = { platform: "platform", owner, logicalName, project: "p", stack: "s", resource: "r", ...claimed };
    await tenantClaim.delete("", state);
    await assert.rejects(natsOf(tenant), /Authorization Violation/);
    await assert.rejects(etcdOf(tenant).get("/").exec(), /authentication failed/);
    assert.deepEqual(await tracesOf(stores, logicalName), []);
  });

  it("does not have a ledger forgotten whose namespaces the cluster has", async () => {
    const ledger = `ledger-of-${realm}`;
    const config = new KubeConfig();
    config.loadFromDefault();
    const core = config.makeApiClient(CoreV1Api);
    assert.deepEqual(await ledgerResource.read(ledger, { platform: "platform" }), { id: "", props: {} });
    await core.createNamespace({ body: { metadata: { name: realm, labels: { [OWNER_LABEL]: ledger } } } });
    try {
      const restored = new RegExp(
        `ledger ${ledger}: .* the cluster has its namespaces ${realm}\\. etcd was restored .* --from-state`,
      );
      const inputs = { platform: "platform" };
      await assert.rejects(ledgerResource.read(ledger, inputs), restored);
      await assert.rejects(ledgerResource.diff(ledger, inputs, inputs), restored);
    } finally {
      await deleteNamespace(core, realm);
    }
  });

  it("has a tenant that was destroyed since: an up does not carry on with it", async () => {
    const tenant = await newTenant("undead");
    const { logicalName, owner, generation, nats } = tenant;
    const deletion = await encodeDeletion({ operatorSeed: access.nats.operatorSeed, accounts: [nats.account] });
    await (await stores.nats()).deleteAccounts(deletion);
    await assert.rejects(
      claimTenant(newProcess(), { owner, logicalName, recorded: recorded("again") }),
      new RegExp(
        `tenant '${logicalName}': the registry has generation ${generation} of it, .* NATS has no account of it \\(${nats.account}\\).*'ringfence sweep --claim ${logicalName}#${generation}', then run again`,
      ),
    );
  });
});
