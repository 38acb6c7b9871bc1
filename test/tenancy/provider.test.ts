import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as etcdPrefix from "../../components/provider/v1/etcd-prefix.ts";
import * as ledger from "../../components/provider/v1/ledger.ts";
import * as natsAccount from "../../components/provider/v1/nats-account.ts";
import * as retiredCredentials from "../../components/provider/v1/retired-credentials.ts";
import * as tenantClaim from "../../components/provider/v1/tenant-claim.ts";
import { Etcd } from "../../components/stores/etcd.ts";
import { op } from "../../components/stores/etcd-txn.ts";
import { encodeAccount, encodeDeletion, generateNkey } from "../../components/stores/nats-jwt.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { keys } from "../../components/tenancy/registry.ts";
import { access, newProcess, newRealm, tidy, tracesOf } from "./scene.ts";

const { operatorSeed } = access.nats;

/** How the engine writes what it does not know yet. */
const unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

/** As the engine acts on the dynamic resources: with what state holds, and no memory of its own. */
describe("the dynamic resources", () => {
  const realm = newRealm();
  const logicalName = `${realm}/chat`;
  const platform = "platform";
  const jetStream = { memoryBytes: 1024, diskBytes: 2048, streams: 3, consumers: 4 };
  let stores: Stores;
  let owner: string;
  let claimInputs: tenantClaim.TenantClaimInputs;
  let claim: tenantClaim.TenantClaimState;
  let partInputs: etcdPrefix.EtcdPrefixInputs;
  let accountInputs: natsAccount.NatsAccountInputs;
  let prefix: etcdPrefix.EtcdPrefixState;
  let account: natsAccount.NatsAccountState;

  before(async () => {
    stores = newProcess();
    owner = (await ledger.create({ platform })).id;
    claimInputs = { platform, owner, logicalName, project: "p", stack: "dev", resource: "chat" };
    claim = (await tenantClaim.create(claimInputs)).outs;
    partInputs = { platform, owner, logicalName, generation: claim.generation };
    accountInputs = { ...partInputs, users: ["worker"], jetStream };
    prefix = (await etcdPrefix.create(partInputs)).outs;
    account = (await natsAccount.create(accountInputs)).outs;
  });
  after(async () => {
    await ledger.delete(owner, { platform });
    assert.deepEqual(await tracesOf(stores, realm), []);
    await tidy();
  });

  /** Refreshes a resource, and expects drift; updates it, and expects none. */
  async function repaired<I, S extends I>(
    resource: {
      read: (id: string, state: S) => Promise<{ props?: S }>;
      diff: (id: string, state: S, inputs: I) => Promise<{ changes?: boolean; replaces?: string[] }>;
      update: (id: string, state: S, inputs: I) => Promise<{ outs?: S }>;
    },
    state: S,
    inputs: I,
  ): Promise<S> {
    const refreshed = (await resource.read("id", state)).props ?? assert.fail("read lost it");
    const seen = await resource.diff("id", refreshed, inputs);
    assert.deepEqual({ changes: seen.changes, replaces: seen.replaces }, { changes: true, replaces: [] });
    const updated = (await resource.update("id", refreshed, inputs)).outs ?? assert.fail("update gave nothing");
    const again = (await resource.read("id", updated)).props ?? assert.fail("read lost it");
    assert.deepEqual(again, updated);
    assert.equal((await resource.diff("id", again, inputs)).changes, false);
    return updated;
  }

  it("see no change in what they have just made", async () => {
    assert.equal((await tenantClaim.diff("", claim, claimInputs)).changes, false);
    assert.deepEqual((await etcdPrefix.read("", prefix)).props, prefix);
    assert.equal((await etcdPrefix.diff("", prefix, partInputs)).changes, false);
    assert.deepEqual((await natsAccount.read("", account)).props, account);
    assert.equal((await natsAccount.diff("", account, accountInputs)).changes, false);
    assert.deepEqual((await ledger.read(owner, { platform })).id, owner);
  });

  it("take the stub of a later version, which the engine stores with the update, and change nothing else", async () => {
    const later = { stub: 2 };
    const resources = [
      { resource: ledger, id: owner, state: { platform }, inputs: { platform } },
      { resource: tenantClaim, id: "", state: claim, inputs: claimInputs },
      { resource: etcdPrefix, id: "", state: prefix, inputs: partInputs },
      { resource: natsAccount, id: "", state: account, inputs: accountInputs },
    ];
    const before = await stores.etcd.revision();
    for (const { resource, id, state, inputs } of resources) {
      const seen = await resource.diff(id, state as never, { ...inputs, ...later } as never);
      assert.deepEqual({ changes: seen.changes, replaces: seen.replaces }, { changes: true, replaces: [] });
      const { outs } = await resource.update(id, state as never, { ...inputs, ...later } as never);
      assert.deepEqual(outs, { ...state, ...later });
    }
    assert(BigInt(await stores.etcd.revision()) > BigInt(before), "each operation is noted in the claim");
    assert(await stores.etcd.accepts(prefix.username, prefix.password));
  });

  const { etcd } = access;
  const widenings: Record<string, (admin: Etcd) => Promise<void>> = {
    "a role that was widened to everything": (admin) => admin.grantPrefix(prefix.username, "/"),
    "a role that was widened by keys that are no text": (admin) =>
      admin.grantPrefix(prefix.username, `/\u00ff 100%/${realm}/`),
    "a role that was taken its permission": (admin) =>
      admin.revokePermission(prefix.username, Etcd.boundTo(prefix.prefix)),
    "a user with a foreign role": async (admin) => {
      await admin.addRole(`${realm}-foreign`);
      await admin.grantRole(prefix.username, `${realm}-foreign`);
    },
    "a user without its role": (admin) => admin.revokeRole(prefix.username, prefix.username),
    "a user that was deleted": (admin) => admin.deleteUser(prefix.username),
    "a role that was deleted": (admin) => admin.deleteRole(prefix.username),
  };
  for (const [what, widen] of Object.entries(widenings)) {
    it(`show and repair ${what}, and keep the password`, async () => {
      await widen(stores.etcd);
      prefix = await repaired(etcdPrefix, prefix, partInputs);
      await stores.etcd.deleteRole(`${realm}-foreign`);
      const own = new Etcd({ ...etcd, username: prefix.username, password: prefix.password });
      await own.txn([], [op.put(`${prefix.prefix}a`, "1")]);
      await assert.rejects(own.get("/a"), /permission denied/);
      own.close();
    });
  }

  const forgeries: Record<string, (claim: Parameters<typeof encodeAccount>[0]) => Parameters<typeof encodeAccount>[0]> =
    {
      "more storage": (good) => ({ ...good, jetStream: { ...jetStream, diskBytes: -1 } }),
      "a limit of connections": (good) => ({ ...good, connections: 1 }),
      "all its users revoked": (good) => ({ ...good, revokedBefore: new Date() }),
      "another operator's signature": (good) => ({ ...good, operatorSeed: generateNkey("operator").seed }),
      "an expiry": (good) => ({ ...good, expires: new Date(Date.now() + 3_600_000) }),
    };
  for (const [what, forge] of Object.entries(forgeries)) {
    it(`show and repair an account whose JWT somebody pushed anew with ${what}`, async () => {
      const good = {
        name: `ringfence:${logicalName}:${claim.generation}`,
        publicKey: account.account,
        operatorSeed,
        jetStream,
      };
      await (await stores.nats()).push(await encodeAccount(forge(good)));
      const { seed, creds } = account;
      account = await repaired(natsAccount, account, accountInputs);
      assert.deepEqual({ seed: account.seed, creds: account.creds }, { seed, creds });
    });
  }

  it("push an account again that somebody deleted", async () => {
    await (await stores.nats()).deleteAccounts(await encodeDeletion({ operatorSeed, accounts: [account.account] }));
    account = await repaired(natsAccount, account, accountInputs);
  });

  it("give a further vertex a user, and keep the others'", async () => {
    const news = { ...accountInputs, users: ["worker", "router"] };
    assert.equal((await natsAccount.diff("", account, news)).changes, true);
    const { outs } = await natsAccount.update("", account, news);
    assert.deepEqual(Object.keys(outs.creds), ["worker", "router"]);
    assert.equal(outs.creds.worker, account.creds.worker);
    await natsAccount.update("", outs, accountInputs);
  });

  it("replace a tenant by one of another name or owner only where that is allowed, and only note a new place in the program", async () => {
    const renamed = { ...claimInputs, logicalName: `${realm}/other` };
    await assert.rejects(
      tenantClaim.diff("", claim, renamed),
      new RegExp(
        `^VisibleError: tenant '${logicalName}': logicalName would become '${realm}/other' instead of '${logicalName}', which makes another tenant and removes all data of this one: go back to '${logicalName}', or set 'allowReplace: true' on the pipeline$`,
      ),
    );
    const others = { logicalName: `${realm}/other`, owner: "other", platform: "other" };
    for (const [property, value] of Object.entries(others)) {
      const news = { ...claimInputs, [property]: value };
      await assert.rejects(tenantClaim.diff("", claim, news), new RegExp(`: ${property} would become '`));
      const allowed = await tenantClaim.diff("", claim, { ...news, allowReplace: true });
      assert.deepEqual([allowed.replaces, allowed.deleteBeforeReplace], [[property], true]);
      const later = await tenantClaim.diff("", claim, { ...claimInputs, [property]: unknown });
      assert.deepEqual(later.replaces, [property], "what is not known yet is judged when it is");
    }
    const moved = { ...claimInputs, resource: "chat2" };
    const seen = await tenantClaim.diff("", claim, moved);
    assert.deepEqual({ changes: seen.changes, replaces: seen.replaces }, { changes: true, replaces: [] });
    const { outs } = await tenantClaim.update("", claim, moved);
    const { generation, attempt } = outs as tenantClaim.TenantClaimState;
    assert.deepEqual({ generation, attempt }, { generation: claim.generation, attempt: claim.attempt });
  });

  it("rotate credentials when that is asked for by another text, and by nothing else", async () => {
    const changes = async (olds: { rotation?: string }, news: { rotation?: string }) => [
      (await etcdPrefix.diff("", { ...prefix, ...olds }, { ...partInputs, ...news })).changes,
      (await natsAccount.diff("", { ...account, ...olds }, { ...accountInputs, ...news })).changes,
    ];
    const [none, first, second] = [{}, { rotation: "2026-11" }, { rotation: "2026-12" }];
    assert.deepEqual(await changes(none, first), [true, true]);
    assert.deepEqual(await changes(first, second), [true, true]);
    assert.deepEqual(await changes(first, first), [false, false]);
    assert.deepEqual(await changes(first, none), [false, false]);
    const { outs: news } = await etcdPrefix.update("", prefix, { ...partInputs, ...first });
    assert.notEqual(news.username, prefix.username);
    assert.equal(news.role, prefix.username);
    assert.deepEqual((await etcdPrefix.read("", news)).props, news);
    const { outs } = await natsAccount.update("", account, { ...accountInputs, ...first });
    assert.deepEqual([outs.account, outs.seed], [account.account, account.seed]);
    assert.deepEqual((await natsAccount.read("", outs)).props, outs);
    const { username } = news;
    const { account: key, signingKey } = outs;
    const retired = { ...partInputs, username, account: key, signingKey, jetStream, namespace: "n", credentials: "c" };
    assert.deepEqual((await retiredCredentials.check(retired, retired)).failures, []);
    const { id, outs: noted } = await retiredCredentials.create(retired);
    assert.equal((await retiredCredentials.diff(id, noted, retired)).changes, false);
    assert.equal((await retiredCredentials.diff(id, noted, { ...retired, username: "u2" })).changes, true);
    assert.equal(await stores.etcd.rolesOf(prefix.username), undefined);
    prefix = news;
    account = outs;
    assert.deepEqual((await natsAccount.read("", account)).props, account, "what was retired is no drift");
  });

  it("name the property of an input that is wrong, and let one that is not known yet pass", async () => {
    const wrong = await tenantClaim.check(claimInputs, { ...claimInputs, logicalName: "Chat/A" });
    assert.deepEqual(
      wrong.failures?.map(({ property }) => property),
      ["logicalName"],
    );
    assert.match(wrong.failures?.[0]?.reason ?? "", /'Chat\/A' has the segment 'Chat'/);
    assert.deepEqual((await tenantClaim.check(claimInputs, { ...claimInputs, owner: unknown })).failures, []);
    const jet = { ...accountInputs, jetStream: { ...jetStream, streams: -1 } };
    assert.deepEqual(
      (await natsAccount.check(accountInputs, jet)).failures?.map(({ property }) => property),
      ["jetStream.streams"],
    );
  });

  it("make a tenant anew whose release was begun or ended by a run that Pulumi never heard from again", async () => {
    const recorded = { project: "p", stack: "s", resource: "r" };
    const tenant = { owner, logicalName: `${realm}/killed` };
    const inputs = { ...claimInputs, logicalName: tenant.logicalName };
    const { outs } = await tenantClaim.create(inputs);
    const state = outs as tenantClaim.TenantClaimState;
    assert.deepEqual((await tenantClaim.diff("", state, inputs)).replaces, []);

    const key = keys.claim(tenant.logicalName);
    const { value } = (await stores.etcd.get(key)) ?? assert.fail();
    await stores.etcd.txn([], [op.put(key, JSON.stringify({ ...JSON.parse(value), state: "releasing", recorded }))]);
    assert.deepEqual((await tenantClaim.diff("", state, inputs)).replaces, ["generation"]);

    await tenantClaim.delete("", state);
    assert.deepEqual((await tenantClaim.diff("", state, inputs)).replaces, ["generation"]);
    assert.deepEqual((await tenantClaim.read("", state)).props, state);
    const { outs: anew } = await tenantClaim.create(inputs);
    assert.notEqual(anew.generation, state.generation);
    await tenantClaim.delete("", anew as tenantClaim.TenantClaimState);
  });

  it("put another ledger in the place of one whose destroy Pulumi never heard the end of", async () => {
    const inputs = { platform };
    const { id } = await ledger.create(inputs);
    assert.deepEqual((await ledger.diff(id, inputs, inputs)).replaces, []);
    const key = keys.stack(id);
    await stores.etcd.txn([], [op.put(key, JSON.stringify({ state: "closing", run: 1 }))]);
    assert.deepEqual((await ledger.diff(id, inputs, inputs)).replaces, ["platform"]);
    await ledger.delete(id, inputs);
    assert.deepEqual((await ledger.diff(id, inputs, inputs)).replaces, ["platform"]);
    await ledger.delete(id, inputs);
  });

  it("leave a ledger in its place that has claims, although somebody took its record away", async () => {
    const inputs = { platform };
    const { id } = await ledger.create(inputs);
    await tenantClaim.create({ ...claimInputs, owner: id, logicalName: `${realm}/kept` });
    await stores.etcd.txn([], [op.remove(keys.stack(id))]);
    assert.equal((await ledger.diff(id, inputs, inputs)).changes, false);
    await ledger.delete(id, inputs);
  });

  it("call a claim that the registry lacks an error with a way out, never gone", async () => {
    const key = keys.claim(logicalName);
    const { value } = (await stores.etcd.get(key)) ?? assert.fail();
    await stores.etcd.txn([], [op.remove(key)]);
    const lost = new RegExp(
      `tenant '${logicalName}', generation ${claim.generation}: the registry has no claim of it. etcd was restored from a backup, .* 'ringfence adopt --from-state state.json'`,
    );
    await assert.rejects(tenantClaim.read("", claim), lost);
    await assert.rejects(tenantClaim.diff("", claim, claimInputs), lost);
    await stores.etcd.txn([], [op.put(key, value)]);
    assert.deepEqual((await tenantClaim.read("", claim)).props, claim);
  });

  it("call a store that is not there an error that names it, and find it again where it moved", async () => {
    const directory = mkdtempSync(join(tmpdir(), "ringfence-provider-"));
    const file = process.env.RINGFENCE_PLATFORM;
    const point = (at: unknown) => {
      process.env.RINGFENCE_PLATFORM = join(directory, "platform.json");
      writeFileSync(process.env.RINGFENCE_PLATFORM, JSON.stringify({ platform: at }));
    };
    try {
      point({ ...access, etcd: { ...etcd, endpoints: ["http://127.0.0.1:1"] } });
      const noEtcd = /etcd at http:\/\/127\.0\.0\.1:1 does not answer .*: start it, or correct the endpoints/;
      await assert.rejects(tenantClaim.read("", claim), noEtcd);
      await assert.rejects(etcdPrefix.read("", prefix), noEtcd);
      await assert.rejects(ledger.read(owner, { platform }), noEtcd);
      await assert.rejects(tenantClaim.delete("", claim), noEtcd);
      point({ ...access, nats: { ...access.nats, servers: ["nats://127.0.0.1:1"] } });
      const noNats = /NATS at nats:\/\/127\.0\.0\.1:1 does not answer .*: start it, or correct the servers/;
      await assert.rejects(natsAccount.read("", account), noNats);
      await assert.rejects(natsAccount.delete("", account), noNats);
      await assert.rejects(tenantClaim.delete("", claim), noNats);
    } finally {
      process.env.RINGFENCE_PLATFORM = file;
      rmSync(directory, { recursive: true });
    }
    await tenantClaim.delete("", claim);
    assert.deepEqual(await tracesOf(stores, realm), []);
  });
});
