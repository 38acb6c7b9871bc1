/**
 * `npm run bench:churn`: what neighbours notice of tenants that come and go. Every change of a user or role makes etcd
 * fail whatever is in flight, for everybody. Four neighbours work at a steady rate: three with the plain etcd3 client,
 * which makes nothing again, and one with ours, which does, as Go's clientv3 does. First nobody comes or goes, then
 * tenants do by Ringfence, then as many in the plain way: role, grant, user, grant, and both deleted again.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { Access } from "../components/plan/access.ts";
import { Etcd, type EtcdAccess } from "../components/stores/etcd.ts";
import { resolveAccess } from "../components/tenancy/resolve-access.ts";
import { issue, makeAuthority } from "../dev/platform/certificates.ts";
import { barChart } from "./chart.ts";
import { Child } from "./child.ts";
import type { Lives } from "./churn-process.ts";
import { latencies, Neighbour, type NeighbourOptions, type Observed } from "./neighbour.ts";
import { addUser, etcdctl, startEtcd, startProxy } from "./own-etcd.ts";
import { openPlatform } from "./platform.ts";
import { machine, percentile, rounded, saveResults } from "./statistics.ts";

const { values } = parseArgs({
  options: { tenants: { type: "string", default: "50" }, "bcrypt-cost": { type: "string", default: "10" } },
});
const TENANTS = Number(values.tenants);
const BCRYPT_COST = Number(values["bcrypt-cost"]);
/** Requests a second of each neighbour. */
const RATE = 60;
const IDLE_SECONDS = 20;
/** A request is late when its answer takes longer. */
const LATE_MS = 250;

const names = ["password", "certificate", "proxy", "retrying"] as const;
type Name = (typeof names)[number];
const described: Record<Name, string> = {
  password: "etcd3, password",
  certificate: "etcd3, client certificate",
  proxy: "etcd3 through a grpc-proxy",
  retrying: "a client that retries",
};

interface Phase {
  seconds: number;
  /** etcd's count of changes of users and roles. */
  changes: number;
  seen: Record<Name, Observed>;
}

/** For NATS and Kubernetes; its etcd has nothing to do. */
const { scratch, env, end } = await openPlatform();
process.env.RINGFENCE_PLATFORM = env.RINGFENCE_PLATFORM;
const neighbours: Partial<Record<Name, Neighbour>> = {};
const closing: Array<() => Promise<void>> = [];
try {
  const { cert: ca } = makeAuthority(scratch);
  const server = await startEtcd({
    bcryptCost: BCRYPT_COST,
    certificates: { ca, ...issue(scratch, "server", "/CN=server") },
  });
  closing.push(server.remove);
  const [direct] = server.access.endpoints as [string];
  const proxy = await startProxy(direct);
  closing.push(proxy.stop);
  const access: Access = { ...resolveAccess("platform", () => undefined), etcd: server.access };

  const admin = new Etcd(server.access);
  for (const name of names) {
    const prefix = `/neighbours/${name}/`;
    await addUser(admin, name, prefix);
    const options: NeighbourOptions = {
      client: name === "retrying" ? "ringfence" : "etcd3",
      endpoint: name === "certificate" ? (server.tlsEndpoint as string) : name === "proxy" ? proxy.endpoint : direct,
      username: name,
      credentials: name === "certificate" ? { ca, ...issue(scratch, name, `/CN=${name}`) } : { password: name },
      prefix,
      requests: ["get", "put"],
      rate: RATE,
      watch: name !== "retrying",
    };
    neighbours[name] = await Neighbour.start(options);
  }
  admin.close();
  const before = machine();

  const phase = async (work: () => Promise<unknown>): Promise<Phase> => {
    const from = await authRevision(server.access);
    const begun = performance.now();
    const seen = await during(neighbours as Record<Name, Neighbour>, work);
    const seconds = (performance.now() - begun) / 1000;
    return { seconds, changes: (await authRevision(server.access)) - from, seen };
  };
  const live = async (way: Lives["way"]) => {
    const child = new Child("churn-process.ts");
    try {
      await child.ask({ way, access, tenants: TENANTS } satisfies Lives);
    } finally {
      await child.stop();
    }
  };
  await sleep(2_000);
  const idle = await phase(() => sleep(IDLE_SECONDS * 1000));
  const ringfence = await phase(() => live("ringfence"));
  const plain = await phase(() => live("plain"));
  const result = {
    tenants: TENANTS,
    ringfence: figures(ringfence, idle),
    plain: figures(plain, idle),
    idle: Object.fromEntries(names.map((name) => [name, timesOf(idle.seen[name])])),
    bcryptCost: BCRYPT_COST,
    requestsPerSecond: RATE,
    lateMs: LATE_MS,
    machine: before,
  };
  saveResults(
    "churn",
    result,
    barChart({
      title: `Failed requests of a neighbour in a tenant's life (${TENANTS} tenants, ${RATE} requests a second)`,
      groups: names.map((name) => ({
        label: described[name],
        bars: [result.ringfence.neighbours[name], result.plain.neighbours[name]].map((of) => of?.failedPerLife ?? 0),
      })),
      bars: ["Ringfence", "plain: role, grant, user, grant and both deleted"],
      unit: "failed requests per tenant's life",
    }),
  );
  console.log(JSON.stringify(result, null, 2));
} finally {
  for (const neighbour of Object.values(neighbours)) await neighbour.stop();
  for (const close of closing.reverse()) await close();
  await end();
}

/** Everybody watches the same work. */
async function during(
  watching: Record<Name, Neighbour>,
  work: () => Promise<unknown>,
): Promise<Record<Name, Observed>> {
  let begin: () => void = () => undefined;
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  let ready = 0;
  const done = begun.then(work);
  const seen = names.map(async (name) => [
    name,
    await watching[name].during(() => {
      if (++ready === names.length) begin();
      return done;
    }),
  ]);
  return Object.fromEntries(await Promise.all(seen));
}

function figures({ seconds, changes, seen }: Phase, idle: Phase) {
  const neighbour = (name: Name) => {
    const { samples, missed, watchFailures } = seen[name];
    const failed = samples.flatMap((sample) => sample.failed ?? []);
    const late = samples.filter((sample) => sample.failed === undefined && sample.ms > LATE_MS).length;
    return {
      failedPerLife: rounded(failed.length / TENANTS),
      latePerLife: rounded(late / TENANTS),
      p99Ratio: rounded(timesOf(seen[name]).p99Ms / timesOf(idle.seen[name]).p99Ms),
      ...timesOf(seen[name]),
      errors: countOf(failed),
      ...(name !== "retrying" && { changesMissedByWatch: missed, watchErrors: countOf(watchFailures) }),
    };
  };
  return {
    authChangesPerLife: rounded(changes / TENANTS),
    neighbours: Object.fromEntries(names.map((name) => [name, neighbour(name)])) as Record<
      Name,
      ReturnType<typeof neighbour>
    >,
    secondsPerLife: rounded(seconds / TENANTS),
  };
}

function timesOf({ samples }: Observed) {
  const times = latencies(samples);
  return {
    requests: samples.length,
    p50Ms: rounded(percentile(times, 0.5)),
    p99Ms: rounded(percentile(times, 0.99)),
    maxMs: rounded(percentile(times, 1)),
  };
}

function countOf(messages: string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const message of messages) counts[message] = (counts[message] ?? 0) + 1;
  return counts;
}

async function authRevision(access: EtcdAccess): Promise<number> {
  return JSON.parse(await etcdctl(access, "auth", "status", "--write-out=json")).authRevision;
}
