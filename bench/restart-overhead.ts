/** What a request of the runtime costs more than bare request-reply of nats, at some numbers in flight. */
import { Client } from "../runtime/index.ts";
import { BareClient } from "./restart-clients.ts";
import { start } from "./restart-processes.ts";
import type { Answer } from "./restart-worker.ts";
import { percentile, rounded } from "./statistics.ts";
import type { Environment } from "./tenant.ts";

const IN_FLIGHT = [1, 16, 256];
const ROUND_MS = 2_000;

interface Round {
  perSecond: number;
  /** Of the client's process, microseconds of processor time a request: others on the machine do not change it much. */
  clientCpuUs: number;
  p50Ms: number;
  p99Ms: number;
}

/**
 * Where so many are under way all the time, and the machine does nothing but carry them, a request mostly waits for the
 * others' turn: what itself takes longer shows where handlers take their time, milliseconds.
 */
const AT_WORK = { inFlight: 256, workMs: 100 };

/**
 * Workers of both kinds run side by side; rounds alternate, so that the machine's moods meet both.
 * @param rounds of each kind for each number in flight; the median of them counts
 */
export async function overheads(env: Environment, { rounds, leaseTtl }: { rounds: number; leaseTtl: number }) {
  const client = await Client.open({ env });
  const compared = async (workMs: number, numbers: number[]) => {
    const endpoint = `overhead-${workMs}`;
    await start({ leaseTtl, workMs, kind: "ringfence", endpoint }, env);
    await start({ leaseTtl, workMs, kind: "naive", endpoint: `${endpoint}-bare` }, env);
    const bare = await BareClient.open(env, `${endpoint}-bare`);
    const [subject] = (await bare.knows(1)) as [string];
    const asks = {
      bare: () => bare.ask<Answer>(subject, BODY),
      ringfence: () => client.request<Answer>(endpoint, BODY),
    };
    const found = [];
    for (const inFlight of numbers) found.push(await compare(asks, inFlight, rounds));
    await bare.close();
    return found;
  };
  const idle = await compared(0, IN_FLIGHT);
  const [atWork] = await compared(AT_WORK.workMs, [AT_WORK.inFlight]);
  await client.close();
  return { idle, atWork: { workMs: AT_WORK.workMs, ...atWork } };
}

const BODY = { prompt: "x".repeat(200) };

type Asks = Record<"bare" | "ringfence", () => Promise<unknown>>;

async function compare(asks: Asks, inFlight: number, rounds: number) {
  const seen = { bare: [] as Round[], ringfence: [] as Round[] };
  for (const ask of Object.values(asks)) await round(ask, inFlight, ROUND_MS / 2);
  for (let i = 0; i < rounds; i++)
    for (const name of ["bare", "ringfence"] as const) seen[name].push(await round(asks[name], inFlight, ROUND_MS));
  const [bare, ringfence] = [median(seen.bare), median(seen.ringfence)];
  return {
    inFlight,
    bare,
    ringfence,
    throughputLossPercent: rounded((1 - ringfence.perSecond / bare.perSecond) * 100),
    p50MoreMs: rounded(ringfence.p50Ms - bare.p50Ms),
  };
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
