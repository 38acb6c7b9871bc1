// Article 000 (Dynamo's leftovers in etcd) replayed: first its symptoms, where deployments share etcd's root, then the
// same steps by pipelines that have a root of their own each.
import assert from "node:assert/strict";
import type { Etcd3 } from "etcd3";
import type { Stores } from "../../components/tenancy/access.ts";
import { adoptExternal } from "../../components/tenancy/adopt.ts";
import { type Claimed, claimTenant } from "../../components/tenancy/claim.ts";
import { deleteLedger } from "../../components/tenancy/ledger.ts";
import type { TenantRef } from "../../components/tenancy/live-claim.ts";
import { compareSnapshots, type Snapshot, takeSnapshot } from "../../components/tenancy/outside.ts";
import type { Receipt } from "../../components/tenancy/receipt.ts";
import { readClaim } from "../../components/tenancy/registry.ts";
import { release } from "../../components/tenancy/release.ts";
import { closeRoots, Frontend, keysOf, ownRoot, sharedRoot, Worker } from "./dynamo.ts";
import { newLedger, newProcess, newRealm, provision, recorded, type Tenant, tidy } from "./scene.ts";

const A = { namespace: "dynamo", model: "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", engine: "engine-of-a" };
const B = { namespace: "dynamo", model: "Qwen/Qwen3-0.6B", engine: "engine-of-b" };

interface Deployed {
  tenant: Tenant;
  root: Etcd3;
  frontend: Frontend;
}

describe("article 000", () => {
  const realm = newRealm();
  let stores: Stores;
  let untouched: Snapshot;

  before(async () => {
    stores = newProcess();
    untouched = await takeSnapshot(stores);
  });
  after(async () => {
    await closeRoots();
    await tidy();
  });

  describe("as it was, with one root for all", () => {
    let root: Etcd3;
    before(() => {
      root = sharedRoot();
    });
    afterEach(async () => {
      for (const { key } of [A, B].flatMap((served) => keysOf(served, "0"))) await root.delete().key(key).exec();
    });

    it("the next frontend lists a model that nobody serves any more", async () => {
      await (await Worker.start(root, A)).stop();
      const next = await Worker.start(root, B);
      const frontend = await Frontend.open(root);
      assert.deepEqual(frontend.models(), [A.model, B.model].sort());
      assert.deepEqual(frontend.workers(), [next.id]);
      assert.deepEqual(frontend.engines(), [A.engine, B.engine]);
      await next.stop();
    });

    it("two pipelines of one model send requests to each other's workers", async () => {
      const [one, two] = await Promise.all([
        Worker.start(root, A),
        Worker.start(root, { ...A, namespace: "dynamo2", engine: B.engine }),
      ]);
      assert.deepEqual((await Frontend.open(root)).workers(), [one.id, two.id].sort());
      await Promise.all([one.stop(), two.stop()]);
    });

    it("leaves nothing behind that this test does not know of", async () => {
      assert.deepEqual(compareSnapshots(untouched, await takeSnapshot(stores)), []);
    });
  });

  describe("with a tenant for each pipeline", () => {
    /** As a stack of its own. */
    const deploy = async (name: string): Promise<Deployed> => {
      const process = newProcess();
      const tenant = await provision(process, await newLedger(process), `${realm}/${name}`);
      const root = await ownRoot(tenant.etcd);
      return { tenant, root, frontend: await Frontend.open(root) };
    };
    const destroy = async ({ tenant }: Deployed): Promise<Receipt | undefined> => {
      const process = newProcess();
      const receipt = await release(process, { ...tenant, ...tenant.claimed });
      await deleteLedger(process, tenant.owner);
      return receipt;
    };

    it("deploy A, delete it, deploy B: only B's model is listed, by A's frontend neither", async () => {
      const first = await deploy("llm");
      const worker = await Worker.start(first.root, A);
      await first.frontend.hears(worker);
      assert.deepEqual(first.frontend.models(), [A.model]);
      const receipt = await destroy(first);
      assert.equal(receipt?.removed.keys, worker.keys.length);
      assert.equal(receipt?.residue, 0);

      const second = await deploy("llm");
      assert.deepEqual(second.frontend.keys(), []);
      const next = await Worker.start(second.root, B);
      await second.frontend.hears(next);
      assert.deepEqual(second.frontend.models(), [B.model]);
      assert.deepEqual(second.frontend.workers(), [next.id]);
      assert.deepEqual(second.frontend.engines(), [B.engine]);
      // Its watch outlives its user: it hears of its own end, and of nothing that came after.
      await first.frontend.isEmpty();
      await destroy(second);
    });

    it("two pipelines of one model see neither each other's workers nor NIXL metadata, and outlive each other", async () => {
      const [one, two] = await Promise.all([deploy("one"), deploy("two")]);
      const [left, right] = await Promise.all([
        Worker.start(one.root, A),
        Worker.start(two.root, { ...A, engine: B.engine }),
      ]);
      await Promise.all([one.frontend.hears(left), two.frontend.hears(right)]);
      for (const [{ frontend }, worker] of [
        [one, left],
        [two, right],
      ] as const) {
        assert.deepEqual(frontend.models(), [A.model]);
        assert.deepEqual(frontend.workers(), [worker.id]);
        assert.deepEqual(frontend.engines(), [worker.served.engine]);
        assert.deepEqual(frontend.keys(), worker.keys.map(({ key }) => key).sort());
      }

      // Both wrote the same global keys: the one that stays keeps its own, untouched.
      const before = await stores.etcd.list(two.tenant.etcd.prefix);
      assert.equal((await destroy(one))?.removed.keys, left.keys.length);
      assert.deepEqual(await stores.etcd.list(two.tenant.etcd.prefix), before);
      assert.deepEqual(two.frontend.models(), [A.model]);
      assert.deepEqual(two.frontend.workers(), [right.id]);
      assert.ok(await right.isServing(two.root));
      await destroy(two);
    });
  });

  describe("for a deployment that is there already", () => {
    const logicalName = `${realm}/chat`;
    const dynamo = `${realm}-chat`;
    const OLD = { namespace: dynamo, model: `${realm}/old`, engine: `${realm}-old` };
    /** Its namespace begins with the other's. */
    const OTHER = { namespace: `${dynamo}-2`, model: `${realm}/other`, engine: `${realm}-other` };
    let root: Etcd3;
    let old: Worker;
    let other: Worker;
    let owner: string;
    let tenant: TenantRef & Claimed;

    /** What is at the root of a worker's keys: a change of one shows in its revision. */
    const found = async (keys: Worker["keys"]) => {
      const entries = await Promise.all(keys.map(({ key }) => stores.etcd.get(key)));
      return entries.flatMap((entry) => (entry ? [`${entry.key} ${entry.modRevision} ${entry.lease}`] : []));
    };
    const everything = () => found([...old.keys, ...other.keys]);

    before(async () => {
      root = sharedRoot();
      owner = await newLedger(stores);
      [old, other] = await Promise.all([Worker.start(root, OLD), Worker.start(root, OTHER)]);
    });
    after(async () => {
      await Promise.all([old.stop(), other.stop()]);
      for (const { key } of [...old.keys, ...other.keys]) await root.delete().key(key).exec();
    });

    it("adopts its keys of all layouts while its workers keep serving", async () => {
      const before = await everything();
      const adopted = await adoptExternal(stores, { logicalName, dynamo: [dynamo], recorded: recorded("adopt") });
      assert.equal(adopted.total, old.keys.filter(({ told }) => told !== "nothing").length);
      assert.deepEqual(await everything(), before);
      assert.ok(await old.isServing(root));
    });

    it("keeps others from the name, and from the same keys under another name", async () => {
      const request = { owner, logicalName, recorded: recorded("thief") };
      await assert.rejects(claimTenant(newProcess(), request), /is held by a deployment from outside .*'adopt: true'/);
      const again = { logicalName: `${realm}/again`, dynamo: [dynamo], recorded: recorded("again") };
      await assert.rejects(adoptExternal(stores, again), new RegExp(`'${dynamo}', which belongs to '${logicalName}'`));
    });

    it("is taken over by a claim that says so, and keeps serving", async () => {
      const before = await everything();
      const request = { owner, logicalName, recorded: recorded("up"), adopt: true };
      tenant = { owner, logicalName, ...(await claimTenant(stores, request)) };
      assert.deepEqual(await everything(), before);
      assert.ok(await old.isServing(root));
    });

    it("takes its keys of all layouts with it when it is released, and nobody else's", async () => {
      const staying = [...old.keys.filter(({ told }) => told === "nothing"), ...other.keys];
      const before = await found(staying);
      const receipt = await release(stores, tenant);
      const going = old.keys.filter(({ told }) => told !== "nothing");
      assert.deepEqual(await found(going), []);
      assert.equal(receipt?.removed.keys, going.length);
      assert.deepEqual(await found(staying), before);
      assert.equal(await old.isServing(root), false);
      assert.deepEqual(receipt?.notes, []);
      assert.ok(await other.isServing(root));
      assert.deepEqual((await Frontend.open(root)).models(), [OTHER.model]);
    });
  });

  describe("for what a deployment left that is gone", () => {
    const dynamo = `${realm}-gone`;
    const logicalName = `${realm}/search`;
    const request = { logicalName, recorded: recorded("up"), dynamoNamespace: dynamo };
    let gone: Worker;
    let root: Etcd3;

    before(async () => {
      root = sharedRoot();
      gone = await Worker.start(root, { namespace: dynamo, model: `${realm}/gone`, engine: `${realm}-gone` });
      await gone.stop();
    });
    after(async () => {
      for (const { key } of gone.keys) await root.delete().key(key).exec();
    });

    it("says so before the next one starts, and starts nothing", async () => {
      const owner = await newLedger(stores);
      await assert.rejects(
        claimTenant(stores, { ...request, owner }),
        new RegExp(
          `^ResidueFound: .*1 keys .*'${dynamo}', for example public/components/http/models/chat/${realm}/gone`,
        ),
      );
      assert.equal(await readClaim(stores.etcd, logicalName), undefined);
    });

    it("removes it when it is told to, and leaves what names nobody", async () => {
      const owner = await newLedger(stores);
      await claimTenant(stores, { ...request, owner, onResidue: "purge" });
      const left = await Promise.all(gone.keys.map(({ key }) => stores.etcd.get(key)));
      assert.deepEqual(
        left.flatMap((entry) => entry?.key ?? []).sort(),
        gone.keys
          .filter(({ told }) => told === "nothing")
          .map(({ key }) => key)
          .sort(),
      );
    });
  });

  describe("all of it", () => {
    it("leaves nothing behind", async () => {
      await closeRoots();
      await tidy();
      stores = newProcess();
      assert.deepEqual(compareSnapshots(untouched, await takeSnapshot(stores)), []);
    });
  });
});
