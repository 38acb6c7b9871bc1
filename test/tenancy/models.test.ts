import assert from "node:assert/strict";
import { Range } from "etcd3";
import { aliasKeys } from "../../components/plan/models.ts";
import * as resource from "../../components/provider/v1/model-registration.ts";
import { until } from "../../components/stores/errors.ts";
import { adoptExternal } from "../../components/tenancy/adopt.ts";
import { audit } from "../../components/tenancy/audit.ts";
import { claimTenant } from "../../components/tenancy/claim.ts";
import { deleteLedger } from "../../components/tenancy/ledger.ts";
import { listModels, publishModel, withdrawModel } from "../../components/tenancy/models.ts";
import { keys } from "../../components/tenancy/registry.ts";
import { enterRun } from "../../components/tenancy/run.ts";
import { etcdClient } from "../support/etcd.ts";
import { faulty } from "./faults.ts";
import { leavesTheOutsideAlone, modelScene } from "./models-scene.ts";
import { access, newLedger, newProcess, newRealm, recorded } from "./scene.ts";

/** How the engine writes what it does not know yet. */
const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

describe("models", () => {
  const { realm, ONE, TWO, stores, claim, publication, publish, destroy, view, told, takeKeys, write, remove } =
    modelScene();
  leavesTheOutsideAlone(stores);

  it("are registered by each pipeline that serves them; the newest comes first", async () => {
    const a = await claim("a");
    const { since } = await publish(a, ONE);
    assert.equal((await publish(a, ONE)).since, since, "the same again is no other registration");
    const b = await claim("b");
    await publish(b, ONE);
    await publish(b, TWO);
    assert.deepEqual(await view(), { [ONE]: ["b", "a"], [TWO]: ["b"] });
    const [newest] = (await listModels(stores().etcd)).find(({ model }) => model === ONE)?.registrations ?? [];
    assert.ok(newest);
    const { modRevision: _, since: published, ...said } = newest;
    assert.deepEqual(said, { ...publication(b, ONE), logicalName: b.logicalName, generation: b.generation });
    assert.ok(published >= since);
    await publishModel(newProcess(), a, { ...publication(a, ONE), url: "http://other" });
    assert.deepEqual((await view())[ONE], ["b", "a"], "a change makes none newer");
    await destroy(a, [ONE]);
    assert.deepEqual(await view(), { [ONE]: ["b"], [TWO]: ["b"] });
    await destroy(b, [ONE, TWO]);
    assert.deepEqual(await view(), {});
  });

  it("have keys that are read by one prefix and watched, by a user who may read nothing else", async () => {
    const { endpoints } = access.etcd;
    const admin = etcdClient(endpoints, access.etcd);
    const reader = `${realm}-models`;
    const [role, user] = [admin.role(reader), admin.user(reader)];
    await role.create();
    await role.grant({ permission: "Read", range: Range.prefix(keys.models) });
    await user.create("secret");
    await user.addRole(reader);
    const client = etcdClient(endpoints, { username: reader, password: "secret" });
    try {
      const heard: string[] = [];
      const watcher = await client.watch().prefix(keys.models).create();
      watcher.on("put", ({ key }) => heard.push(`put ${key}`));
      watcher.on("delete", ({ key }) => heard.push(`delete ${key}`));
      const a = await claim("a");
      await publish(a, ONE);
      const key = keys.registration(ONE, a.generation);
      assert.deepEqual(await client.getAll().prefix(keys.model(ONE)).keys(), [key]);
      await assert.rejects(client.getAll().prefix(keys.claims).keys(), /permission denied/);
      await assert.rejects(client.put(key).value("{}").exec(), /permission denied/);
      await destroy(a, [ONE]);
      await until(async () => heard.length >= 2 || undefined, {
        deadlineMs: 60_000,
        late: () => new Error(`heard ${heard.join(", ")}`),
      });
      assert.deepEqual(heard, [`put ${key}`, `delete ${key}`]);
    } finally {
      client.close();
      await user.delete();
      await role.delete();
      admin.close();
    }
  });

  it("are withdrawn with whatever a destroy finds that state never learnt of", async () => {
    const a = await claim("a");
    await publish(a, ONE, true);
    await publish(a, TWO);
    await deleteLedger(newProcess(), a.owner);
    assert.deepEqual(await view(), {});
    assert.deepEqual(await told(ONE), ["nobody", "nobody"]);
    await withdrawModel(newProcess(), a, ONE);
  });

  it("are registered by nobody who was overtaken, and for nothing that is not claimed", async () => {
    const a = await claim("a");
    const zombie = newProcess();
    await enterRun(zombie, a.owner, "create");
    await publish(a, ONE);
    await assert.rejects(publish(a, TWO, true, zombie), /a newer run has taken over/);
    await assert.rejects(withdrawModel(zombie, a, ONE), /a newer run has taken over/);
    assert.deepEqual(await view(), { [ONE]: ["a"] });
    const late = newProcess();
    await enterRun(late, a.owner, "create");
    await destroy(a, [ONE]);
    await assert.rejects(publish(a, ONE, false, late), /a newer run has taken over|the registry has no claim of it/);
    await assert.rejects(publish(a, ONE), /is not in the registry/);
    assert.deepEqual(await view(), {});
  });

  describe("of old frontends", () => {
    it("have keys from the first registration that asks for them to the last, which move when their holder goes", async () => {
      const [a, b, c] = [await claim("a"), await claim("b"), await claim("c")];
      await publish(c, ONE);
      assert.deepEqual(await told(ONE), ["nobody", "nobody"], "nobody asked for them");
      await publish(a, ONE, true);
      const keysOfA = await Promise.all(aliasKeys(ONE).map((key) => stores().etcd.get(key)));
      assert.deepEqual(
        keysOfA.map((entry) => JSON.parse(entry?.value ?? "")),
        ["Chat", "Completion"].map((model_type) => ({
          name: ONE,
          endpoint: { namespace: "a", component: "backend", name: "generate" },
          model_type,
          ringfence: { generation: a.generation, namespace: a.claimed.namespace, url: publication(a, ONE).url },
        })),
      );
      await publish(b, ONE, true);
      await destroy(c, [ONE]);
      assert.deepEqual(await Promise.all(aliasKeys(ONE).map((key) => stores().etcd.get(key))), keysOfA, "left alone");
      await destroy(a, [ONE]);
      assert.deepEqual(await told(ONE), ["b", "b"]);
      await publish(b, ONE, false);
      assert.deepEqual(await told(ONE), ["nobody", "nobody"], "it asks no more");
      await publish(b, ONE, true);
      const moved = { ...publication(b, ONE, true), dynamoNamespace: "elsewhere" };
      await publishModel(newProcess(), b, moved);
      assert.deepEqual(await told(ONE), ["elsewhere", "elsewhere"]);
      await destroy(b, [ONE]);
      assert.deepEqual(await told(ONE), ["nobody", "nobody"]);
    });

    it("are left alone where somebody outside wrote them, before or after", async () => {
      const [chat, completion] = aliasKeys(ONE) as [string, string];
      const written = JSON.stringify({ name: ONE, endpoint: { namespace: "mine" }, model_type: "Chat" });
      const [a, b] = [await claim("a"), await claim("b")];
      const said: string[] = [];
      const process = { ...newProcess(), progress: (line: string) => void said.push(line) };
      await write(chat, written);
      assert.deepEqual((await publish(a, ONE, true, process)).foreign, [chat]);
      assert.match(said.join(), /chat\/.* was written by somebody outside .* left as it is/);
      assert.deepEqual(await told(ONE), ["mine", "a"]);
      await publish(b, ONE, true);
      await destroy(a, [ONE]);
      assert.deepEqual(await told(ONE), ["mine", "b"]);

      await remove(chat);
      await publish(b, ONE, true);
      assert.deepEqual(await told(ONE), ["b", "b"], "what is not there is nobody's");
      await write(completion, written);
      const { revision } = await write(chat, written);
      assert.deepEqual((await publish(b, ONE, true)).foreign, [chat, completion]);
      await destroy(b, [ONE]);
      assert.equal((await stores().etcd.get(chat))?.modRevision, revision);
      assert.deepEqual(await told(ONE), ["mine", "mine"]);
      await remove(chat, completion);
    });

    it("are not asked for by a Dynamo namespace that is another deployment's there", async () => {
      const logicalName = `${realm}/external`;
      await adoptExternal(newProcess(), { logicalName, dynamo: [realm], recorded: recorded("external") });
      const a = await claim("a");
      const wanted = { ...publication(a, ONE, true), dynamoNamespace: realm };
      await assert.rejects(
        publishModel(newProcess(), a, wanted),
        /to the workers of Dynamo namespace .*external', held by/,
      );
      await publishModel(newProcess(), a, { ...wanted, legacyAlias: false });
      await destroy(a, [ONE]);
      await remove(keys.claim(logicalName), keys.dynamo(realm));
    });

    it("are nobody's residue, and no release but their holder's touches them", async () => {
      const a = await claim("a");
      await publish(a, ONE, true);
      const before = await Promise.all(aliasKeys(ONE).map((key) => stores().etcd.get(key)));
      const process = newProcess();
      const namesake = { owner: await newLedger(process), logicalName: `${newRealm()}/a`, recorded: recorded("a") };
      await claimTenant(process, { ...namesake, onResidue: "fail" });
      await deleteLedger(process, namesake.owner);
      assert.deepEqual((await audit(stores())).findings, []);
      assert.deepEqual(await Promise.all(aliasKeys(ONE).map((key) => stores().etcd.get(key))), before);
      await destroy(a, [ONE]);
    });

    it("are settled by whoever acts next, when their holder's run was killed on the way", async () => {
      const [a, b, c] = [await claim("a"), await claim("b"), await claim("c")];
      await publish(a, ONE, true);
      await publish(b, ONE, true);
      const { stores: counted, writes } = faulty(newProcess());
      await withdrawModel(counted, a, ONE);
      await takeKeys(a, b);
      // The last but two gives the keys to somebody else; then come a look that finds nothing to do, and the lock's end.
      const { stores: failing } = faulty(newProcess(), "killed before", writes.length - 3);
      await withdrawModel(failing, a, ONE).catch(() => {});
      assert.deepEqual([await view(), await told(ONE)], [{ [ONE]: ["b"] }, ["nobody", "nobody"]]);
      await publish(c, TWO);
      assert.deepEqual(await told(ONE), ["b", "b"]);
      for (const one of [a, b, c]) await destroy(one, [ONE, TWO]);
    });
  });

  it("of a claim that was lost are found, and go with its residue", async () => {
    const a = await claim("a");
    await publish(a, ONE, true);
    const [chat] = aliasKeys(ONE) as [string];
    const written = (await stores().etcd.get(chat))?.value as string;
    await remove(keys.claim(a.logicalName));
    const lost = (await audit(stores())).findings.filter(({ kind }) => kind === "model");
    assert.deepEqual(
      lost.map(({ name }) => name),
      [keys.registration(ONE, a.generation)],
    );
    const process = newProcess();
    const request = { owner: a.owner, logicalName: a.logicalName, recorded: recorded("a") };
    await claimTenant(process, { ...request, onResidue: "purge" });
    assert.deepEqual([await view(), await told(ONE)], [{}, ["nobody", "nobody"]]);
    await deleteLedger(process, a.owner);
    // As a restore of some keys brings it back.
    await write(chat, written);
    assert.deepEqual(
      (await audit(stores())).findings.map(({ kind, name }) => [kind, name]),
      [["alias", chat]],
    );
    await remove(chat);
  });

  describe("as Pulumi's resource", () => {
    it("are looked up at each preview, mended by the next up, and withdrawn while the pipeline is paused", async () => {
      const a = await claim("a");
      const inputs = { platform: "platform", ...a, ...publication(a, ONE, true), serving: true };
      const state: resource.ModelRegistrationState = (await resource.create(inputs)).outs;
      const changes = async (news: object = {}) => (await resource.diff("", state, { ...inputs, ...news })).changes;
      assert.equal(await changes(), false);
      for (const news of [{ url: "http://other" }, { serving: false }, { legacyAlias: false }, { namespace: UNKNOWN }])
        assert.equal(await changes(news), true, JSON.stringify(news));
      assert.deepEqual((await resource.diff("", state, { ...inputs, model: TWO })).replaces, ["model"]);

      await remove(keys.registration(ONE, a.generation));
      assert.equal(await changes(), true, "it is gone");
      await resource.update("", state, inputs);
      assert.deepEqual([await view(), await told(ONE)], [{ [ONE]: ["a"] }, ["a", "a"]]);
      const paused = await resource.update("", state, { ...inputs, serving: false });
      assert.deepEqual([paused.outs.since, await view(), await told(ONE)], ["", {}, ["nobody", "nobody"]]);
      await write(keys.registration(ONE, a.generation), JSON.stringify({ ...publication(a, ONE), ...a }));
      assert.equal((await resource.diff("", paused.outs, { ...inputs, serving: false })).changes, true, "it is back");
      await resource.delete("", state);
      await resource.delete("", state);
      assert.deepEqual(await view(), {});
      await destroy(a, []);
    });

    it("are refused at preview when a model cannot be called so", async () => {
      const news = { model: "/data/llama", serving: true } as resource.ModelRegistrationInputs;
      const { failures = [] } = await resource.check(news, news);
      assert.match(failures.find(({ property }) => property === "model")?.reason ?? "", /it may hold letters, digits/);
      const later = await resource.check(news, { ...news, model: UNKNOWN });
      assert.ok(!later.failures?.some(({ property }) => property === "model"));
    });
  });
});
