import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { CoreV1Api, KubeConfig } from "@kubernetes/client-node";
import { GENERATION_LABEL, LOGICAL_NAME_ANNOTATION, OWNER_LABEL } from "../../components/plan/labels.ts";
import { op } from "../../components/stores/etcd-txn.ts";
import { encodeAccount, generateNkey } from "../../components/stores/nats-jwt.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { adoptExternal } from "../../components/tenancy/adopt.ts";
import { audit } from "../../components/tenancy/audit.ts";
import { ClaimRefused, type ClaimRequest, claimTenant } from "../../components/tenancy/claim.ts";
import { deleteLedger } from "../../components/tenancy/ledger.ts";
import { compareSnapshots, type Snapshot, takeSnapshot } from "../../components/tenancy/outside.ts";
import { EXTERNAL, intents, keys, readClaim } from "../../components/tenancy/registry.ts";
import { release } from "../../components/tenancy/release.ts";
import { ResidueFound } from "../../components/tenancy/residue.ts";
import { sweepClaim } from "../../components/tenancy/sweep.ts";
import { access, jetStream, newLedger, newProcess, newRealm, provision, recorded, tidy } from "./scene.ts";

const config = new KubeConfig();
config.loadFromDefault();
const cluster = config.makeApiClient(CoreV1Api);

describe("residue of a name", () => {
  let realm: string;
  let name: string;
  let owner: string;
  let stores: Stores;
  let outside: Snapshot;

  before(async () => {
    stores = newProcess();
    outside = await takeSnapshot(stores);
  });
  beforeEach(async () => {
    realm = newRealm();
    name = `${realm}/chat-${realm}`;
    owner = await newLedger(stores);
  });
  after(tidy);

  const claim = (more: Partial<ClaimRequest> = {}) =>
    claimTenant(newProcess(), { owner, logicalName: name, recorded: recorded("chat"), ...more });

  /** Destroys what was claimed; nothing of it or of the residue is left then. */
  async function destroyed(claimed: { generation: string; attempt: number }): Promise<void> {
    await release(newProcess(), { owner, logicalName: name, ...claimed });
    await deleteLedger(newProcess(), owner);
    assert.deepEqual((await audit(stores)).findings, []);
    assert.deepEqual(compareSnapshots(outside, await takeSnapshot(stores)), []);
  }

  /** A deployment whose claim somebody deleted by hand. @returns its generation */
  async function lostClaim(): Promise<string> {
    const tenant = await provision(newProcess(), owner, name);
    await stores.etcd.txn([], [op.put(`${tenant.etcd.prefix}a`, "1"), op.put(`${tenant.etcd.prefix}b`, "1")]);
    await stores.etcd.txn([], [op.remove(keys.claim(name))]);
    return tenant.generation;
  }

  async function lostAccount(): Promise<string> {
    const generation = randomBytes(12).toString("hex");
    const { publicKey } = generateNkey("account");
    const { operatorSeed } = access.nats;
    const nats = await stores.nats();
    await nats.push(
      await encodeAccount({ name: `ringfence:${name}:${generation}`, publicKey, operatorSeed, jetStream }),
    );
    return generation;
  }

  async function lostNamespace(): Promise<string> {
    const generation = randomBytes(12).toString("hex");
    const labels = { [OWNER_LABEL]: "somebody", [GENERATION_LABEL]: generation };
    const annotations = { [LOGICAL_NAME_ANNOTATION]: name };
    const metadata = { name: intents(name, generation).namespace, labels, annotations };
    await cluster.createNamespace({ body: { metadata } });
    return generation;
  }

  async function dynamoKeys(): Promise<void> {
    const namespace = `chat-${realm}`;
    const entries = {
      [`v1/instances/${namespace}/backend/generate/1a`]: "{}",
      [`${namespace}/components/backend/generate:1a`]: "{}",
      [`public/components/http/models/chat/${namespace}-model`]: JSON.stringify({
        name: "m",
        endpoint: { namespace, component: "backend", name: "generate" },
      }),
    };
    await stores.etcd.txn(
      [],
      Object.entries(entries).map(([key, value]) => op.put(key, value)),
    );
  }

  const kinds: Record<string, { seed: () => Promise<unknown>; told: RegExp }> = {
    "an older generation whose claim was lost": {
      seed: lostClaim,
      told: /generation [0-9a-f]{24} with 2 keys below \/ringfence\/tenants\/[0-9a-f]{24}\/, NATS account A[A-Z2-7]{55}/,
    },
    "a NATS account": { seed: lostAccount, told: /with 0 keys below .*, NATS account A[A-Z2-7]{55}/ },
    "a Kubernetes namespace": { seed: lostNamespace, told: /Kubernetes namespace 'chat-t[0-9a-f]{10}-[0-9a-f]{8}'/ },
    "Dynamo's keys of several layouts": {
      seed: dynamoKeys,
      told: /3 keys at etcd's root that name Dynamo namespace 'chat-t[0-9a-f]{10}', for example v1\/instances\//,
    },
  };
  for (const [kind, { seed, told }] of Object.entries(kinds)) {
    it(`is refused by default, counted and named, and removed when that is asked for: ${kind}`, async () => {
      await seed();
      const before = await takeSnapshot(stores);
      await assert.rejects(claim(), (error: Error) => {
        assert(error instanceof ResidueFound, error.stack);
        assert.match(error.message, told);
        assert.match(error.message, /set onResidue to 'purge' \(removes it\) or 'adopt' \(takes it over\)$/);
        return true;
      });
      const changed = compareSnapshots(before, await takeSnapshot(stores));
      assert.deepEqual(
        changed.filter((line) => !line.includes(keys.stacks)),
        [],
      );
      const claimed = await claim({ onResidue: "purge" });
      const held = await readClaim(stores.etcd, name);
      assert.equal(held?.claim.generation, claimed.generation);
      assert.deepEqual((await audit(stores)).findings, []);
      await destroyed(claimed);
    });
  }

  it("is taken over when that is asked for, and goes with the tenant: a generation with its data and Dynamo's keys", async () => {
    const generation = await lostClaim();
    await dynamoKeys();
    const claimed = await claim({ onResidue: "adopt" });
    assert.equal(claimed.generation, generation);
    assert.equal(await stores.etcd.count(claimed.prefix), 2, "adopted data stay");
    assert.deepEqual((await audit(stores)).findings, []);
    const tenant = await provision(newProcess(), owner, name);
    assert.equal(tenant.generation, generation);
    await destroyed(tenant.claimed);
  });

  it("is taken over when it is Dynamo's keys alone: what is new gets a generation of its own", async () => {
    await dynamoKeys();
    const claimed = await claim({ onResidue: "adopt" });
    assert.deepEqual((await readClaim(stores.etcd, name))?.claim.dynamo, [`chat-${realm}`]);
    await destroyed(claimed);
  });

  it("is found as well when a claim that had adopted it was lost", async () => {
    await dynamoKeys();
    const claimed = await claim({ onResidue: "adopt" });
    await stores.etcd.txn([], [op.remove(keys.claim(name))]);
    await assert.rejects(claim(), /generation .* with 0 keys .*3 keys at etcd's root/);
    const again = await claim({ onResidue: "adopt" });
    assert.equal(again.generation, claimed.generation);
    assert.deepEqual((await readClaim(stores.etcd, name))?.claim.dynamo, [`chat-${realm}`]);
    await destroyed(again);
  });

  it("is not taken over when there are several generations of it", async () => {
    await lostNamespace();
    await lostAccount();
    await assert.rejects(claim({ onResidue: "adopt" }), /one can be adopted: remove the others/);
    await destroyed(await claim({ onResidue: "purge" }));
  });

  it("is none of a name what another deployment was registered with, under whatever name", async () => {
    await dynamoKeys();
    await adoptExternal(stores, { logicalName: `${realm}/old`, dynamo: [`chat-${realm}`], recorded: recorded("old") });
    const claimed = await claim();
    await release(newProcess(), { owner, logicalName: name, ...claimed });

    const other = { owner, logicalName: `${realm}/old`, recorded: recorded("new") };
    await assert.rejects(claimTenant(newProcess(), other), (error: Error) => {
      assert(error instanceof ClaimRefused);
      assert.match(error.message, /held by a deployment from outside.*: set 'adopt: true' under that name/);
      return true;
    });
    const taken = await claimTenant(newProcess(), { ...other, adopt: true });
    await release(newProcess(), { ...other, ...taken });
    await deleteLedger(newProcess(), owner);
    assert.deepEqual(compareSnapshots(outside, await takeSnapshot(stores)), []);
  });

  it("cannot be registered twice, nor under a name that overlaps a tenant's", async () => {
    await provision(newProcess(), owner, name);
    const register = (logicalName: string, dynamo = [`chat-${realm}`]) =>
      adoptExternal(stores, { logicalName, dynamo, recorded: recorded("old") });
    await assert.rejects(register(name), ClaimRefused);
    await assert.rejects(register(realm), ClaimRefused);
    await assert.rejects(register(`${realm}/old`, ["public"]), /Dynamo namespace 'public' is reserved/);
    await register(`${realm}/old`);
    await register(`${realm}/old`);
    await assert.rejects(
      register(`${realm}/older`),
      new RegExp(`asks for Dynamo namespace 'chat-${realm}', which belongs to '${realm}/old', held by a deployment`),
    );
    const taken = { owner, logicalName: `${realm}/old`, recorded: recorded("old"), adopt: true };
    await release(newProcess(), { ...taken, ...(await claimTenant(newProcess(), taken)) });
  });
});

describe("sweeping a claim", () => {
  const realm = newRealm();
  let stores: Stores;

  before(() => {
    stores = newProcess();
  });
  after(tidy);

  const seen = async (name: string) => (await readClaim(stores.etcd, name)) ?? assert.fail("no claim");

  it("releases it by the code of every release, and the ledger's record with its last one", async () => {
    const owner = await newLedger(stores);
    await provision(newProcess(), owner, `${realm}/one`);
    await provision(newProcess(), owner, `${realm}/two`);
    const receipt = await sweepClaim(newProcess(), await seen(`${realm}/one`), { ledgerGone: true });
    assert.equal(receipt.removed.accounts, 1);
    assert.notEqual(await stores.etcd.get(keys.stack(owner)), undefined, "it still has a claim");
    await sweepClaim(newProcess(), await seen(`${realm}/two`), { ledgerGone: true });
    assert.equal(await stores.etcd.get(keys.stack(owner)), undefined);
    assert.deepEqual((await audit(stores)).findings, []);
  });

  it("leaves it alone when it has changed since it was looked at", async () => {
    const owner = await newLedger(stores);
    await provision(newProcess(), owner, `${realm}/busy`);
    const before = await seen(`${realm}/busy`);
    await provision(newProcess(), owner, `${realm}/busy`);
    await assert.rejects(sweepClaim(newProcess(), before), /its claim has changed since it was looked at: run again/);
    assert.equal((await seen(`${realm}/busy`)).claim.state, "active");
  });

  it("never takes what was registered from outside", async () => {
    const external = { logicalName: `${realm}/legacy`, dynamo: [`legacy-${realm}`], recorded: recorded("legacy") };
    await adoptExternal(stores, external);
    const held = await seen(external.logicalName);
    assert.equal(held.claim.owner, EXTERNAL);
    await assert.rejects(sweepClaim(newProcess(), held), /no sweep takes: take it over by a Tenant with 'adopt: true'/);
    const owner = await newLedger(stores);
    await claimTenant(newProcess(), { owner, adopt: true, ...external });
  });
});
