/**
 * `npm run bench:restart`: what clients notice of a rolling restart under a steady load: those of the runtime, and two
 * baselines against workers as the article has them (lease of 10 s, gone at SIGTERM): a client that tries once, and one
 * that tries again. Then how soon a worker that hangs is left alone, and what a request costs more than bare
 * request-reply of nats.
 */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { until } from "../dev/platform/wait.ts";
import { Client } from "../runtime/index.ts";
import { timelineChart } from "./chart.ts";
import { BareClient } from "./restart-clients.ts";
import { overheads } from "./restart-overhead.ts";
import { killAll, start } from "./restart-processes.ts";
import type { Answer, WorkerSpec } from "./restart-worker.ts";
import { machine, percentile, rounded, saveResults } from "./statistics.ts";
import { type Environment, withTenant } from "./tenant.ts";

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

await withTenant(values.home, async (env) => {
  try {
    await bench(env);
  } finally {
    await killAll();
  }
});

async function bench(env: Environment) {
  const before = machine();
  const seen = {} as Record<Way, Awaited<ReturnType<typeof rollingRestart>>>;
  for (const way of ways) seen[way] = await rollingRestart(way, env);
  const hangToEjectionMs = spans(await ejections(env));
  const { idle, atWork } = await overheads(env, { rounds: ROUNDS, leaseTtl: LEASE_TTL });
  const result = {
    restart: Object.fromEntries(ways.map((way) => [way, figures(seen[way])])),
    sigtermToLastRequestMs: spans(seen.ringfence.turns.map(({ last, told }) => last - told)),
    readyToFirstRequestMs: spans(seen.ringfence.turns.map(({ first, ready }) => first - ready)),
    hangToEjectionMs,
    overhead: idle,
    overheadAtWork: atWork,
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
}

/** Asks at a steady rate, whatever becomes of it, until it is ended. */
function load(ask: () => Promise<Answer>) {
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
  const end = async () => {
    clearInterval(timer);
    await Promise.all(open);
  };
  return { samples, clock, now, end };
}

/** Exchanges all workers, one after the other, each when its successor is ready. */
async function rollingRestart(way: Way, env: Environment) {
  const endpoint = `rolling-${way}`;
  const kind = way === "ringfence" ? "ringfence" : "naive";
  const spec: WorkerSpec = { kind, endpoint, leaseTtl: LEASE_TTL, workMs: WORK_MS };
  const old = await Promise.all(Array.from({ length: WORKERS }, () => start(spec, env)));
  const { ask, registered, close } = await clientOf(way, env, endpoint);
  const { samples, clock, now, end } = load(ask);
  await sleep(2_000);
  const turns: Array<{ id: string; ready: number; told: number; successor: string }> = [];
  for (const worker of old) {
    const successor = await start(spec, env);
    // It is ready when it begins to register: clients hear of that sooner than its parent.
    const ready = (await registered(successor.id)) - clock;
    await sleep(500);
    const told = now();
    worker.child.kill("SIGTERM");
    await worker.ended;
    turns.push({ id: worker.id, ready, told, successor: successor.id });
  }
  await sleep(TRAIL_MS);
  await end();
  await close();
  await killAll();
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

/** Freezes one worker after the other under load. @returns milliseconds until each is not chosen any more */
async function ejections(env: Environment): Promise<number[]> {
  const spec: WorkerSpec = { kind: "ringfence", endpoint: "hanging", leaseTtl: LEASE_TTL, workMs: WORK_MS };
  const workers = await Promise.all(Array.from({ length: WORKERS + 1 }, () => start(spec, env)));
  const client = await Client.open({ env });
  const { samples, end, now } = load(() =>
    client.request<Answer>("hanging", {}, { idempotent: true, attemptTimeoutMs: 1_000 }),
  );
  const took: number[] = [];
  for (const { id, child } of workers.slice(0, WORKERS)) {
    // It has answered: it is known, and in use.
    await until({
      what: "an answer of it",
      within: 20,
      attempt: async () => assert.ok(samples.some(({ by }) => by === id)),
    });
    const begun = now();
    child.kill("SIGSTOP");
    const chosen = () => client.instances("hanging").find((instance) => instance.id === id)?.state === "ready";
    while (chosen()) await sleep(5);
    took.push(now() - begun);
  }
  await end();
  assert.deepEqual(
    samples.flatMap(({ failed }) => failed ?? []),
    [],
  );
  await client.close();
  await killAll();
  return took;
}

async function clientOf(way: Way, env: Environment, endpoint: string) {
  if (way === "ringfence") {
    const client = await Client.open({ env });
    await client.request(endpoint, {});
    const started = async (id: string) => {
      const found = client.instances(endpoint).find((instance) => instance.id === id);
      return found?.started ?? assert.fail("not known yet");
    };
    return {
      ask: () => client.request<Answer>(endpoint, {}),
      registered: (id: string) => until({ what: "a new instance", within: 20, attempt: () => started(id) }),
      close: () => client.close(),
    };
  }
  const client = await BareClient.open(env, endpoint);
  await client.knows(WORKERS);
  const ask = () => (way === "retry" ? client.retrying<Answer>({}) : client.request<Answer>({}));
  return { ask, registered: async () => Date.now(), close: () => client.close() };
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
