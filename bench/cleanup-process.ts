/** What `bench/cleanup.ts` does to a prefix, in a process of its own whose memory can be told. */
import { Etcd, type EtcdAccess } from "../components/stores/etcd.ts";
import { op, when } from "../components/stores/etcd-txn.ts";
import { openStores } from "../components/tenancy/access.ts";
import type { Pace } from "../components/tenancy/pace.ts";
import { nothingBelow, purge } from "../components/tenancy/purge.ts";
import { serve } from "./child.ts";

/** Keys of one transaction: etcd takes 128 operations. */
const BATCH = 128;
const PARALLEL = 16;
const VALUE = "v".repeat(100);

export interface Job {
  what: "fill" | "purge" | "remove one by one";
  access: EtcdAccess;
  prefix: string;
  /** To be made, or to be removed one by one. */
  keys: number;
  /** Keys of each removal; undefined for the pace that adapts. */
  size?: number;
}

export interface Done {
  seconds: number;
  keys: number;
  /** Of this process, MiB: at the start and at most. */
  memory: { before: number; peak: number };
}

/** As Dynamo's workers name their instances. */
const keyOf = (prefix: string, number: number) =>
  `${prefix}v1/instances/chat/backend/generate/${number.toString(16).padStart(16, "0")}`;

async function fill(etcd: Etcd, { prefix, keys }: Job): Promise<number> {
  let next = 0;
  const fillOn = async () => {
    while (next < keys) {
      const from = next;
      next += BATCH;
      const count = Math.min(BATCH, keys - from);
      await etcd.txn(
        [],
        Array.from({ length: count }, (_, i) => op.put(keyOf(prefix, from + i), VALUE)),
      );
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, fillOn));
  return keys;
}

async function removeOneByOne(etcd: Etcd, { prefix, keys }: Job): Promise<number> {
  for (let i = 0; i < keys; i++) await etcd.txn([], [op.remove(keyOf(prefix, i))]);
  return keys;
}

/** The purge with as many guards as a release's has, and the look that ends a release. */
async function purgeAll({ access, prefix, size }: Job): Promise<number> {
  const stores = openStores({ etcd: access, nats: { servers: [], operatorSeed: "", systemCreds: "" }, kubernetes: {} });
  const { etcd } = stores;
  const guards = ["lock", "stack", "claim"].map((name) => `/ringfence/v1/bench/${name}`);
  const { revision } = await etcd.txn(
    [],
    guards.map((key) => op.put(key, "1")),
  );
  const guarded = guards.map((key) => when.unchanged(key, revision));
  const removed = { keys: 0, leases: 0 };
  const fixed: Pace | undefined = size === undefined ? undefined : { size, removing: (removal) => removal() };
  const { late } = await purge(stores, [prefix], {
    removed,
    fencedAt: revision,
    ...(fixed && { pace: fixed }),
    call: (act) => act(),
    remove: async (operation) => {
      const outcome = await etcd.txn(guarded, [operation]);
      if (!outcome.succeeded) throw new Error("the guards were lost");
      return outcome.removed;
    },
  });
  const { succeeded } = await etcd.txn([...guarded, ...nothingBelow([prefix], removed.keys)], []);
  if (!succeeded || late > 0) throw new Error(`the purge left keys behind, ${late} late ones`);
  await stores.close();
  return removed.keys;
}

const peakMiB = () => process.resourceUsage().maxRSS / 1024;

serve<Job>(async (job): Promise<Done> => {
  const etcd = new Etcd(job.access);
  await etcd.get("/");
  const before = peakMiB();
  const begun = performance.now();
  const work = { fill, purge: () => purgeAll(job), "remove one by one": removeOneByOne }[job.what];
  const keys = await work(etcd, job);
  const seconds = (performance.now() - begun) / 1000;
  etcd.close();
  return { seconds, keys, memory: { before, peak: peakMiB() } };
});
