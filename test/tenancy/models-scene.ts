/** What the suites of models share: pipelines of stacks of their own, as far as models go, and who is said to serve what. */
import assert from "node:assert/strict";
import { aliasKeys } from "../../components/plan/models.ts";
import { until } from "../../components/stores/errors.ts";
import { op } from "../../components/stores/etcd-txn.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { readModel } from "../../components/tenancy/alias.ts";
import { type Claimed, claimTenant } from "../../components/tenancy/claim.ts";
import { deleteLedger } from "../../components/tenancy/ledger.ts";
import { listModels, publishModel, withdrawModel } from "../../components/tenancy/models.ts";
import { compareSnapshots, type Snapshot, takeSnapshot } from "../../components/tenancy/outside.ts";
import { keys } from "../../components/tenancy/registry.ts";
import { release } from "../../components/tenancy/release.ts";
import { etcdClient } from "../support/etcd.ts";
import { access, bound, newLedger, newProcess, newRealm, recorded, tidy } from "./scene.ts";

/** A pipeline of a stack of its own, as far as models go: the other parts of a tenant have no say here. */
export interface Serving {
  owner: string;
  logicalName: string;
  generation: string;
  claimed: Claimed;
}

/** A realm with two models of its own: the platform's view has other suites' models, too. */
export function modelScene() {
  const realm = newRealm();
  const [ONE, TWO] = [`${realm}/One-8B`, `${realm}/Two-70B`] as const;
  let open: Stores | undefined;
  /** Opened when they are first asked for: an earlier suite's end closes all that is open. */
  const stores = (): Stores => {
    open ??= newProcess();
    return open;
  };

  const claim = async (name: string, owner?: string): Promise<Serving> => {
    const process = newProcess();
    const ledger = owner ?? (await newLedger(process));
    const logicalName = `${realm}/${name}`;
    const claimed = await claimTenant(process, { owner: ledger, logicalName, recorded: recorded(name) });
    return { owner: ledger, logicalName, generation: claimed.generation, claimed };
  };
  const publication = ({ logicalName, claimed }: Serving, model: string, legacyAlias = false) => ({
    model,
    dynamoNamespace: logicalName.split("/").at(-1) as string,
    namespace: claimed.namespace,
    url: `http://web.${claimed.namespace}.svc:8000`,
    legacyAlias,
  });
  const publish = (serving: Serving, model: string, legacyAlias = false, at = newProcess()) =>
    publishModel(at, serving, publication(serving, model, legacyAlias));
  /** As `pulumi destroy` with all that state has: the registration, the claim, the ledger. */
  const destroy = async (serving: Serving, models: string[], at = newProcess()) => {
    for (const model of models) await withdrawModel(at, serving, model);
    await release(at, { ...serving, ...serving.claimed });
    await deleteLedger(at, serving.owner);
  };
  /** Who serves what, newest first, by one read of the prefix. */
  const view = async (): Promise<Record<string, string[]>> => {
    const served = (await listModels(stores().etcd)).filter(({ model }) => model.startsWith(`${realm}/`));
    return Object.fromEntries(served.map(({ model, registrations }) => [model, registrations.map(nameOf)]));
  };
  const nameOf = ({ logicalName }: { logicalName: string }) => logicalName.slice(realm.length + 1);
  /** Whom old frontends are told, by key. */
  const told = async (model: string): Promise<string[]> => {
    const entries = await Promise.all(aliasKeys(model).map((key) => stores().etcd.get(key)));
    return entries.map((entry) => (entry ? JSON.parse(entry.value).endpoint.namespace : "nobody"));
  };
  /** Both serve, and the keys are the first one's. */
  const takeKeys = async (first: Serving, second: Serving) => {
    await withdrawModel(newProcess(), second, ONE);
    await publish(first, ONE, true);
    await publish(second, ONE, true);
  };
  const write = (key: string, value: string) => stores().etcd.txn([], [op.put(key, value)]);
  const remove = (...names: string[]) => stores().etcd.txn([], names.map(op.remove));

  /** What holds at any moment: keys of ours stand for a registration that asks for them, and a registration for a live claim. */
  const assertSound = async (model: string, when: string): Promise<void> => {
    const { registrations, ours, record } = await readModel(stores().etcd, model);
    const asking = registrations.filter(({ legacyAlias }) => legacyAlias).map(({ generation }) => generation);
    for (const { value } of ours) assert.ok(asking.includes(JSON.parse(value).ringfence.generation), when);
    if (ours.length > 0) assert.ok(asking.includes(record?.holder ?? ""), when);
    for (const { logicalName, generation } of registrations) {
      const claim = await stores().etcd.get(keys.claim(logicalName));
      const { state, generation: claimed } = JSON.parse(claim?.value ?? "{}");
      assert.deepEqual([claimed, state !== "releasing"], [generation, true], when);
    }
  };

  return {
    realm,
    ONE,
    TWO,
    stores,
    claim,
    publication,
    publish,
    destroy,
    view,
    told,
    takeKeys,
    write,
    remove,
    assertSound,
  };
}

/** For the top of a `describe`: everything outside is at its end as it was before. */
export function leavesTheOutsideAlone(stores: () => Stores): void {
  let outside: Snapshot;
  before(async () => {
    outside = await takeSnapshot(stores());
  });
  after(async () => {
    const left = compareSnapshots(outside, await takeSnapshot(stores()));
    await tidy();
    assert.deepEqual(left, []);
  });
}

/** Stores that let something else happen right before one of their writes, a look of several keys counting as one. */
export function interrupted(
  stores: Stores,
  at: number,
  meanwhile: () => Promise<unknown>,
): { stores: Stores; writes: () => number } {
  let count = 0;
  const etcd = new Proxy(stores.etcd, {
    get: (target, name) =>
      name === "txn"
        ? async (...args: Parameters<typeof target.txn>) => {
            if (count++ === at) await meanwhile();
            return target.txn(...args);
          }
        : bound(target, name),
  });
  return { stores: { ...stores, etcd }, writes: () => count };
}

/** Follows registrations and keys, and holds each key of ours, at each revision, to a registration that asks for it. */
export async function watchOf({ etcd }: Stores, models: string[]): Promise<{ done: () => Promise<void> }> {
  const client = etcdClient(access.etcd.endpoints, access.etcd);
  const from = (BigInt(await etcd.revision()) + 1n).toString();
  const now = new Map<string, string>();
  const wrong: string[] = [];
  let seen = 0n;
  // One watch for all: events of one revision come together.
  const watcher = await client.watch().prefix("").startRevision(from).create();
  watcher.on("data", ({ header, events }) => {
    for (const [revision, some] of Map.groupBy(events, ({ kv }) => kv.mod_revision)) {
      for (const { type, kv } of some) {
        if (String(type) === "Delete") now.delete(kv.key.toString());
        else now.set(kv.key.toString(), kv.value.toString());
      }
      for (const model of models) {
        for (const key of aliasKeys(model)) {
          const { generation } = JSON.parse(now.get(key) ?? "{}").ringfence ?? {};
          if (generation === undefined) continue;
          const registered = now.get(keys.registration(model, generation));
          if (!registered)
            wrong.push(`${key} stands for ${generation} at revision ${revision}, which is not registered`);
        }
      }
    }
    seen = BigInt(header.revision);
  });
  return {
    done: async () => {
      const last = BigInt(await etcd.revision());
      // Something of its own to hear, for nothing else may happen after the last revision.
      await until(async () => seen >= last || undefined, {
        deadlineMs: 60_000,
        late: () => new Error(`the watch has come to revision ${seen} of ${last}`),
      });
      client.close();
      assert.deepEqual(wrong, []);
    },
  };
}
