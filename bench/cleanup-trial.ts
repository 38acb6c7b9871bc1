/** One trial of `bench/cleanup.ts`: a prefix is emptied in some way while a neighbour writes. */
import { setTimeout as sleep } from "node:timers/promises";
import { Etcd, type EtcdAccess } from "../components/stores/etcd.ts";
import { spanOf } from "../components/stores/etcd-txn.ts";
import { until } from "../dev/platform/wait.ts";
import { Child } from "./child.ts";
import type { Done, Job } from "./cleanup-process.ts";
import { Neighbour, type Observed, type Sample } from "./neighbour.ts";
import { addUser, etcdctl, startEtcd } from "./own-etcd.ts";

/** How a prefix is emptied. `size`: keys of each removal; undefined for the pace that adapts. */
export type Way = { purge: { size?: number } } | "etcdctl del --prefix" | "one by one";

export interface Trial {
  seconds: number;
  keys: number;
  /** The neighbour's puts, milliseconds. */
  idle: number[];
  busy: number[];
  /** Of the busy ones: they got no answer in time. */
  failedPuts: number;
  memory?: Done["memory"];
}

type Emptied = Omit<Trial, "idle" | "busy" | "failedPuts">;

const PREFIX = "/ringfence/tenants/0123456789abcdef01234567/";
const NEIGHBOUR = "/ringfence/tenants/89abcdef0123456789abcdef/";
/** Puts a second. */
const RATE = 60;
const IDLE_SECONDS = 8;
const WARM_UP_SECONDS = 2;
/** Keys that are removed one by one; the rest is extrapolated. */
const SAMPLE = 3_000;

/** On an etcd of its own, so that no trial inherits another's deleted keys. */
export async function trial(way: Way, keys: number): Promise<Trial> {
  const server = await startEtcd({ bcryptCost: 4 });
  const { access } = server;
  const [endpoint] = access.endpoints as [string];
  const worker = new Child("cleanup-process.ts");
  let neighbour: Neighbour | undefined;
  try {
    await ask(new Child("cleanup-process.ts"), { what: "fill", access, prefix: PREFIX, keys });
    const admin = new Etcd(access);
    await addUser(admin, "neighbour", NEIGHBOUR);
    admin.close();
    neighbour = await Neighbour.start({
      client: "ringfence",
      endpoint,
      username: "neighbour",
      credentials: { password: "neighbour" },
      prefix: NEIGHBOUR,
      requests: ["put"],
      rate: RATE,
      watch: false,
    });
    await sleep(WARM_UP_SECONDS * 1000);
    const idle = await neighbour.during(() => sleep(IDLE_SECONDS * 1000));
    let done: Emptied | undefined;
    const busy = await neighbour.during(async () => {
      done = await empty(way, worker, access, keys);
    });
    if (!done) throw new Error("the trial ended without a result");
    return { ...done, idle: times(idle), busy: times(busy), failedPuts: busy.samples.filter(hasFailed).length };
  } finally {
    await neighbour?.stop();
    await worker.stop();
    await server.remove();
  }
}

const times = ({ samples }: Observed): number[] => samples.map(({ ms }) => ms);
const hasFailed = ({ failed }: Sample): boolean => failed !== undefined;

async function empty(way: Way, worker: Child, access: EtcdAccess, keys: number): Promise<Emptied> {
  if (way === "etcdctl del --prefix") return deleteByEtcdctl(access, keys);
  const job = { access, prefix: PREFIX };
  return way === "one by one"
    ? worker.ask<Done>({ ...job, what: "remove one by one", keys: SAMPLE } satisfies Job)
    : worker.ask<Done>({ ...job, what: "purge", keys, size: way.purge.size } satisfies Job);
}

/** Until nothing is left: of very many keys etcd gives no answer in time, and removes them all the same. */
async function deleteByEtcdctl(access: EtcdAccess, keys: number) {
  const begun = performance.now();
  await etcdctl(access, "del", PREFIX, "--prefix").catch((error: Error) => {
    if (!error.message.includes("request timed out")) throw error;
  });
  const etcd = new Etcd(access);
  await until({
    what: "an empty prefix",
    within: 120,
    attempt: async () => {
      const left = (await etcd.page(spanOf(PREFIX), 1))?.count;
      if (left !== 0) throw new Error(`${left} keys are left`);
    },
  });
  etcd.close();
  return { seconds: (performance.now() - begun) / 1000, keys };
}

async function ask(child: Child, job: Job): Promise<void> {
  try {
    await child.ask<Done>(job);
  } finally {
    await child.stop();
  }
}
