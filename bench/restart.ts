/**
 * `npm run bench:restart`: what clients notice of a rolling restart under a steady load: those of the runtime, and two
 * baselines against workers as the article has them (lease of 10 s, gone at SIGTERM): a client that tries once, and one
 * that tries again. Then what a request costs more than bare request-reply of nats.
 */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { openStores } from "../components/tenancy/access.ts";
import { openAccount } from "../components/tenancy/account.ts";
import { claimTenant } from "../components/tenancy/claim.ts";
import { createLedger, deleteLedger } from "../components/tenancy/ledger.ts";
import { openPrefix } from "../components/tenancy/prefix.ts";
import { resolveAccess } from "../components/tenancy/resolve-access.ts";
import { down, environment, up } from "../dev/platform/index.ts";
import { until } from "../dev/platform/wait.ts";
import { ensureTools } from "../dev/tools/index.ts";
import { Client } from "../runtime/index.ts";
import { timelineChart } from "./chart.ts";
import { BareClient, type Environment } from "./restart-clients.ts";
import type { Answer, WorkerSpec } from "./restart-worker.ts";
import { machine, percentile, rounded, saveResults } from "./statistics.ts";

const { values } = parseArgs({
  options: {
    rate: { type: "string", default: "200" },
    workers: { type: "string", default: "3" },
    rounds: { type: "string", default: "5" },
    /** Use a platform that runs already, of this home. */
    home: { type: "string" },
  },
});
/** Requests a second. */
const RATE = Number(values.rate);
const WORKERS = Number(values.workers);
/** Of bare and runtime, one after the other. */
const ROUNDS = Number(values.rounds);
const WORK_MS = 20;
/** The article's, and Dynamo's default. */
const LEASE_TTL = 10;
/** After the last restart, until no lease of it is left. */
const TRAIL_MS = 13_000;
const IN_FLIGHT = [1, 16, 256];
const ROUND_MS = 2_000;

interface Sample {
  /** Milliseconds since the load began. */
  at: number;
  ms: number;
  by?: string;
  failed?: string;
}

const ways = ["naive", "retry", "ringfence"] as const;
type Way = (typeof ways)[number];
const described: Record<Way, string> = { naive: "one try", retry: "retry alone", ringfence: "ringfence/runtime" };

const scratch = mkdtempSync(join(tmpdir(), "ringfence-bench-"));
const home = values.home ?? join(scratch, "home");
const processes = new Set<ChildProcess>();
const closing: Array<() => Promise<unknown>> = [];
try {
  const env = await bringTenant();
  const before = machine();
  const seen = {} as Record<Way, Awaited<ReturnType<typeof rollingRestart>>>;
  for (const way of ways) seen[way] = await rollingRestart(way, env);
  const overhead = await overheads(env);
  const result = {
    restart: Object.fromEntries(ways.map((way) => [way, figures(seen[way])])),
    sigtermToLastRequestMs: spans(seen.ringfence.turns.map(({ last, told }) => last - told)),
    readyToFirstRequestMs: spans(seen.ringfence.turns.map(({ first, ready }) => first - ready)),
    overhead,
    load: { requestsPerSecond: RATE, workers: WORKERS, workMs: WORK_MS, leaseTtlSeconds: LEASE_TTL },
    machine: before,
  };
  saveResults(
    "restart",
    result,
    timelineChart({
      title: `A rolling restart of ${WORKERS} workers at ${RATE} requests a second`,
      lanes: ways.map((way) => ({
        name: `${described[way]}: ${figures(seen[way]).failed} failed`,
        dots: seen[way].samples.map(({ at, ms, failed }) => ({ x: at / 1000, y: ms, bad: failed !== undefined })),
        marks: seen[way].turns.map(({ told }) => told / 1000),
      })),
      x: "seconds; a mark is a SIGTERM",
      y: "milliseconds to the answer",
    }),
  );
  console.log(JSON.stringify(result, null, 2));
} finally {
  for (const child of processes) child.kill("SIGKILL");
  for (const close of closing.reverse()) await close();
  if (!values.home) await down({ home, progress: console.error });
  rmSync(scratch, { recursive: true, force: true });
}

/** Exchanges all workers, one after the other, each when its successor is ready. */
async function rollingRestart(way: Way, env: Environment) {
  const endpoint = `rolling-${way}`;
  const spec: WorkerSpec = {
    kind: way === "ringfence" ? "ringfence" : "naive",
    endpoint,
    leaseTtl: LEASE_TTL,
    workMs: WORK_MS,
  };
  const old = await Promise.all(Array.from({ length: WORKERS }, () => start(spec, env)));
  const { ask, started, close } = await clientOf(way, env, endpoint);
  const samples: Sample[] = [];
  const open = new Set<Promise<void>>();
  const [begun, clock] = [performance.now(), Date.now()];
  const now = () => performance.now() - begun;
  let sent = 0;
  const timer = setInterval(() => {
    for (; sent < (now() / 1000) * RATE; sent++) {
      const at = now();
      const asked = ask().then(
        ({ by }) => samples.push({ at, ms: now() - at, by }),
        (error: Error) => samples.push({ at, ms: now() - at, failed: error.message.split(";", 1)[0] as string }),
      );
      const done = asked.then(() => void open.delete(done));
      open.add(done);
    }
  }, 2);
  await sleep(2_000);
  const turns: Array<{ id: string; ready: number; told: number; successor: string }> = [];
  for (const worker of old) {
    const successor = await start(spec, env);
    await sleep(500);
    // It is ready when it begins to register: clients hear of that sooner than its parent.
    const ready = (started(successor.id) ?? Number.NaN) - clock;
    const told = now();
    worker.child.kill("SIGTERM");
    await worker.ended;
    turns.push({ id: worker.id, ready, told, successor: successor.id });
  }
  await sleep(TRAIL_MS);
  clearInterval(timer);
  await Promise.all(open);
  await close();
  for (const child of processes) child.kill("SIGKILL");
  const sentTo = (id: string) => samples.filter(({ by }) => by === id).map(({ at }) => at);
  return {
    samples,
    turns: turns.map(({ id, successor, ...turn }) => ({
      ...turn,
      last: Math.max(...sentTo(id)),
      first: Math.min(...sentTo(successor)),
    })),
  };
}

async function clientOf(way: Way, env: Environment, endpoint: string) {
  if (way === "ringfence") {
    const client = await Client.open({ env });
    await client.request(endpoint, {});
    return {
      ask: () => client.request<Answer>(endpoint, {}),
      started: (id: string) => client.instances(endpoint).find((instance) => instance.id === id)?.started,
      close: () => client.close(),
    };
  }
  const client = await BareClient.open(env, endpoint);
  await knows(client, WORKERS);
  const ask = () => (way === "retry" ? client.retrying<Answer>({}) : client.request<Answer>({}));
  return { ask, started: () => undefined, close: () => client.close() };
}

/** The same worker process answers both; rounds alternate, so that the machine's moods meet both. */
async function overheads(env: Environment) {
  const endpoint = "overhead";
  const spec = { endpoint, leaseTtl: LEASE_TTL, workMs: 0 };
  await start({ ...spec, kind: "ringfence" }, env);
  await start({ ...spec, kind: "naive", endpoint: "overhead-bare" }, env);
  const client = await Client.open({ env });
  const bare = await BareClient.open(env, "overhead-bare");
  await knows(bare, 1);
  const [subject] = bare.subjects as [string];
  const body = { prompt: "x".repeat(200) };
  const asks = {
    bare: () => bare.ask<Answer>(subject, body),
    ringfence: () => client.request<Answer>(endpoint, body),
  };
  const found = [];
  for (const inFlight of IN_FLIGHT) {
    const rounds = { bare: [] as Round[], ringfence: [] as Round[] };
    for (const ask of Object.values(asks)) await round(ask, inFlight, ROUND_MS / 2);
    for (let i = 0; i < ROUNDS; i++)
      for (const name of ["bare", "ringfence"] as const) rounds[name].push(await round(asks[name], inFlight, ROUND_MS));
    const [plain, ours] = [median(rounds.bare), median(rounds.ringfence)];
    found.push({
      inFlight,
      bare: plain,
      ringfence: ours,
      throughputLossPercent: rounded((1 - ours.perSecond / plain.perSecond) * 100),
      p50MoreMs: rounded(ours.p50Ms - plain.p50Ms),
    });
  }
  await client.close();
  await bare.close();
  return found;
}

interface Round {
  perSecond: number;
  /** Of the client's process, microseconds of processor time a request: others on the machine do not change it much. */
  clientCpuUs: number;
  p50Ms: number;
  p99Ms: number;
}

async function round(ask: () => Promise<unknown>, inFlight: number, forMs: number): Promise<Round> {
  const took: number[] = [];
  const begun = performance.now();
  const cpu = process.cpuUsage();
  const one = async () => {
    while (performance.now() - begun < forMs) {
      const asked = performance.now();
      await ask();
      took.push(performance.now() - asked);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, one));
  const seconds = (performance.now() - begun) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const clientCpuUs = (user + system) / took.length;
  return { perSecond: took.length / seconds, clientCpuUs, p50Ms: percentile(took, 0.5), p99Ms: percentile(took, 0.99) };
}

function median(rounds: Round[]): Round {
  const of = (pick: (round: Round) => number) => rounded(percentile(rounds.map(pick), 0.5));
  return {
    perSecond: of(({ perSecond }) => perSecond),
    clientCpuUs: of((round) => round.clientCpuUs),
    p50Ms: of(({ p50Ms }) => p50Ms),
    p99Ms: of(({ p99Ms }) => p99Ms),
  };
}

function figures({ samples }: { samples: Sample[] }) {
  const failed = samples.flatMap((sample) => sample.failed ?? []);
  const took = samples.filter((sample) => sample.failed === undefined).map(({ ms }) => ms);
  const errors: Record<string, number> = {};
  for (const message of failed) errors[message] = (errors[message] ?? 0) + 1;
  return {
    requests: samples.length,
    failed: failed.length,
    p50Ms: rounded(percentile(took, 0.5)),
    p99Ms: rounded(percentile(took, 0.99)),
    maxMs: rounded(percentile(took, 1)),
    errors,
  };
}

function spans(values: number[]) {
  return { each: values.map(rounded), max: rounded(Math.max(...values)) };
}

async function start(spec: WorkerSpec, env: Environment) {
  const child = fork(new URL("restart-worker.ts", import.meta.url), [JSON.stringify(spec)], {
    env: { ...process.env, ...env },
  });
  processes.add(child);
  const ended = once(child, "exit").then(() => processes.delete(child));
  const [id] = (await Promise.race([
    once(child, "message"),
    ended.then(() => assert.fail("a worker ended before it was ready")),
  ])) as [string];
  return { id, child, ended };
}

function knows(client: BareClient, count: number): Promise<void> {
  const attempt = async () => assert.equal(client.known, count);
  return until({ what: `${count} instances`, within: 10, attempt });
}

/** A tenant on an embedded platform: gives the environment of one of its vertices. */
async function bringTenant(): Promise<Environment> {
  const tools = Object.fromEntries(Object.entries(await ensureTools()).map(([name, { path }]) => [name, path]));
  if (!values.home) await up({ home, tools, progress: console.error });
  process.env.RINGFENCE_PLATFORM = environment(home).RINGFENCE_PLATFORM;
  const access = resolveAccess("platform", () => undefined);
  const stores = openStores(access);
  const owner = await createLedger(stores);
  closing.push(async () => {
    await deleteLedger(stores, owner);
    await stores.close();
  });
  const recorded = { project: "bench", stack: "restart", resource: "chat" };
  const logicalName = `bench-${process.pid}/chat`;
  const claimed = await claimTenant(stores, { owner, logicalName, recorded });
  const tenant = { owner, logicalName, generation: claimed.generation };
  const MIB = 2 ** 20;
  const jetStream = { memoryBytes: MIB, diskBytes: MIB, streams: 1, consumers: 1 };
  const etcd = await openPrefix(stores, tenant);
  const nats = await openAccount(stores, tenant, { users: ["worker"], jetStream });
  const creds = join(scratch, "nats.creds");
  writeFileSync(creds, nats.creds.worker as string, { mode: 0o600 });
  return {
    RINGFENCE_VERTEX: "worker",
    RINGFENCE_ETCD_PREFIX: etcd.prefix,
    ETCD_ENDPOINTS: access.etcd.endpoints.join(","),
    ETCD_AUTH_USERNAME: etcd.username,
    ETCD_AUTH_PASSWORD: etcd.password,
    NATS_SERVER: access.nats.servers.join(","),
    NATS_AUTH_CREDENTIALS_FILE: creds,
  };
}
