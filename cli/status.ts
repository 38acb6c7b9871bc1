/** `ringfence status`: how pipelines do. */
import { setTimeout as sleep } from "node:timers/promises";
import { type PipelineStatus, pipelineStatus, type Traffic } from "../components/tenancy/status.ts";
import type { TopologyStatus } from "../components/tenancy/topology-status.ts";
import { claimsNamed } from "./claims.ts";
import { withStores } from "./stores.ts";
import { table } from "./table.ts";

export interface StatusOptions {
  /** Again and again, until it is ended. */
  watch?: boolean;
  json?: boolean;
}

const EVERY_MS = 2_000;

/** @param pipeline its name, or `<realm>/<name>` where there are several of that name @default all */
export async function statusCommand(pipeline: string | undefined, { watch, json }: StatusOptions): Promise<void> {
  await withStores(async (stores) => {
    for (;;) {
      const claims = await claimsNamed(stores, pipeline);
      const found = await Promise.all(claims.map((claim) => pipelineStatus(stores, claim)));
      if (watch && !json && process.stdout.isTTY) process.stdout.write("\x1b[H\x1b[2J");
      console.log(json ? JSON.stringify(found, null, watch ? undefined : 2) : statusText(found));
      if (!watch) return;
      await sleep(EVERY_MS);
    }
  });
}

export function statusText(pipelines: PipelineStatus[]): string {
  return pipelines.length === 0 ? "no pipeline is up" : pipelines.map(pipelineText).join("\n\n\n");
}

const TRAFFIC = ["IN FLIGHT", "RATE /s", "P50 ms", "P99 ms", "RETRIES", "FAILURES"];

function pipelineText(status: PipelineStatus): string {
  const { logicalName, generation, state, vertices, edges, topology, models, adapters, notes } = status;
  return [
    `${logicalName}  ${state}  generation ${generation}`,
    ...section(
      ["VERTEX", "PHASE", "WANTED", "LIVE", "READY", "INSTANCES", ...TRAFFIC],
      vertices.map(({ vertex, phase = "-", replicas, instances, served }) => [
        vertex,
        phase,
        ...(replicas ? [replicas.wanted, replicas.live, replicas.ready].map(String) : ["-", "-", "-"]),
        served ? String(instances) : "-",
        ...trafficCells(served),
      ]),
    ),
    ...section(
      ["FLOW", "KIND", "PROCESSES", "SENT /s", ...TRAFFIC],
      vertices.flatMap(({ vertex, flow }) =>
        flow ? [[vertex, flow.kind, String(flow.processes), short(flow.sentPerSecond), ...trafficCells(flow)]] : [],
      ),
    ),
    ...section(
      ["FROM", "ENDPOINT", "CLIENTS", ...TRAFFIC],
      edges.map(({ vertex, endpoint, clients, asked }) => [vertex, endpoint, String(clients), ...trafficCells(asked)]),
    ),
    ...(topology ? topologyText(topology) : []),
    ...section(
      ["MODEL", "URL", "SINCE"],
      models.map(({ model, url, since }) => [model, url, since]),
    ),
    ...section(
      ["ADAPTER", "VERTEX", "WANTED", "LOADED", "READY", "GENERATION", "SERVING"],
      adapters.map(({ adapter, vertex, wanted, loaded, ready, generation: wantedGeneration, serving = "-" }) => [
        adapter,
        vertex,
        ...[wanted, loaded, ready].map(String),
        wantedGeneration,
        serving,
      ]),
    ),
    ...adapters.flatMap(({ adapter, failures }) =>
      failures.map(({ pod, why }) => `adapter ${adapter}: ${pod}: ${why}`),
    ),
    ...notes,
  ].join("\n\n");
}

function topologyText({ generation, state, digest, buffers, buckets, retired, agrees }: TopologyStatus): string[] {
  const how = (each: { missing: boolean; agrees: boolean }) =>
    each.missing ? "missing" : each.agrees ? "ok" : "outdated";
  const leftovers = retired.length > 0 ? `; still there of earlier ones: ${retired.join(", ")}` : "";
  return [
    `topology ${generation}  ${state}  digest ${digest}${agrees ? "" : "  not as planned"}${leftovers}`,
    ...section(
      ["BUFFER", "STATE", "PENDING", "UNACKNOWLEDGED", "TOPOLOGY"],
      buffers.map((each) => [
        each.name,
        how(each),
        String(each.pending),
        String(each.ackPending),
        String(each.generation),
      ]),
    ),
    ...section(
      ["BUCKET", "STATE", "TOPOLOGY"],
      buckets.map((each) => [each.name, how(each), String(each.generation)]),
    ),
  ];
}

/** A table, where there is something to say. */
const section = (header: string[], rows: string[][]): string[] => (rows.length > 0 ? [table(header, rows)] : []);

const short = (value: number | undefined) => (value === undefined ? "-" : String(Number(value.toPrecision(3))));

function trafficCells(traffic: Traffic | undefined): string[] {
  if (!traffic) return TRAFFIC.map(() => "-");
  const { inFlight, perSecond, p50Ms, p99Ms, retries, failures } = traffic;
  return [String(inFlight), short(perSecond), short(p50Ms), short(p99Ms), String(retries), String(failures)];
}
