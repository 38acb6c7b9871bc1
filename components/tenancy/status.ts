/** How a pipeline does: what the cluster runs of it, and what its processes say when they are asked. */
import { z } from "zod";
import {
  type Asked,
  addedTimes,
  type Done,
  FIGURES_SUBJECT,
  type Figures,
  FLOW_KINDS,
  type Flowing,
  INSTANCES,
  percentileOf,
  rateOf,
  type Served,
} from "../plan/figures.ts";
import { PHASE_ANNOTATION, VERTEX_LABEL } from "../plan/labels.ts";
import type { KubernetesObject } from "../stores/kubernetes.ts";
import { Nats } from "../stores/nats.ts";
import type { Stores } from "./access.ts";
import { type AdapterStatus, adapterStatus } from "./adapter-status.ts";
import { natsInside } from "./inside.ts";
import { registrationsOf } from "./models.ts";
import type { Claim, HeldClaim } from "./registry.ts";
import { type TopologyStatus, topologyStatus } from "./topology-status.ts";

/** Figures of several processes, added up. */
export interface Traffic {
  inFlight: number;
  /** Of the last ten seconds, as are the times. */
  perSecond: number;
  /** Milliseconds; undefined when nothing was answered. */
  p50Ms: number | undefined;
  p99Ms: number | undefined;
  /** Since the processes began: what was sent again, and what was not answered as it should. */
  retries: number;
  failures: number;
}

export interface VertexStatus {
  vertex: string;
  /** Undefined where the cluster has nothing of that name, or was not asked. */
  phase: string | undefined;
  replicas: { wanted: number; live: number; ready: number } | undefined;
  /** Processes that serve with `ringfence/runtime`, and have answered. */
  instances: number;
  /** Undefined for software that does not tell. */
  served: Traffic | undefined;
  /** Of messages; undefined for what is no part of a flow, or does not tell. */
  flow: FlowTraffic | undefined;
}

/** Messages that were handled, or that a source said, all of each until what came of it was stored. */
export interface FlowTraffic extends Traffic {
  kind: Flowing["kind"];
  processes: number;
  /** Messages that the next vertices have got. */
  sentPerSecond: number;
}

/** Who asks whom. */
export interface EdgeStatus {
  vertex: string;
  endpoint: string;
  clients: number;
  asked: Traffic;
}

export interface PipelineStatus {
  logicalName: string;
  generation: string;
  state: Claim["state"];
  vertices: VertexStatus[];
  edges: EdgeStatus[];
  /** Undefined for a pipeline without edges. */
  topology: TopologyStatus | undefined;
  models: Array<{ model: string; url: string; since: string }>;
  adapters: AdapterStatus[];
  /** What could not be found out, and why. */
  notes: string[];
}

/** How long at most between the answers of two processes, milliseconds. */
const QUIET_MS = 500;

const count = z.number().nonnegative();
const recently = z.object({ seconds: count, times: z.record(z.string(), count) });
const done = z.object({
  inFlight: count,
  outcomes: z.record(z.string(), count),
  retries: count,
  recent: recently,
});
const handled = done.extend({ endpoint: z.string() });
const state = z.enum(["starting", "ready", "draining"]);
const figures = z.object({
  vertex: z.string(),
  host: z.string(),
  serves: handled.extend({ instance: z.string(), rollout: z.string(), state }).optional(),
  asks: z.array(handled.extend({ instances: count })).optional(),
  flows: done.extend({ kind: z.enum(FLOW_KINDS), state, sent: recently }).optional(),
});

/** What fails is told in the notes: a status is wanted most when something is away. */
export async function pipelineStatus(stores: Stores, held: HeldClaim): Promise<PipelineStatus> {
  const { claim, logicalName } = held;
  const notes: string[] = [];
  const tried = async <T>(asked: Promise<T>, otherwise: T): Promise<T> => {
    try {
      return await asked;
    } catch (error) {
      const { message } = error as Error;
      if (!notes.includes(message)) notes.push(message);
      return otherwise;
    }
  };
  const { namespace } = claim.intents;
  const [workloads, answers, topology, adapters, registered, models] = await Promise.all([
    tried(workloadsOf(stores, namespace), []),
    tried(figuresOf(stores, held), undefined),
    tried(topologyStatus(stores, held), undefined),
    tried(adapterStatus(stores, namespace), []),
    stores.etcd.list(`${claim.intents.prefix}${INSTANCES}`, { keysOnly: true }),
    registrationsOf(stores.etcd, claim.generation),
  ]);
  const processes = answers ?? [];
  const workers = processes.flatMap(({ vertex, serves }) => (serves ? [{ vertex, ...serves }] : []));
  const flows = processes.flatMap(({ vertex, flows }) => (flows ? [{ vertex, ...flows }] : []));
  if (answers) notes.push(...silent(registered, claim.intents.prefix, workers));
  return {
    logicalName,
    generation: claim.generation,
    state: claim.state,
    vertices: verticesOf(workloads, workers, flows),
    edges: edgesOf(processes),
    topology,
    models: models.map(({ model, url, since }) => ({ model, url, since })),
    adapters,
    notes,
  };
}

/** What the processes of a tenant tell of themselves; those that run other software say nothing. */
export async function figuresOf(stores: Stores, held: HeldClaim): Promise<Figures[]> {
  const nats = await Nats.connect(await natsInside(stores, held, "status"));
  try {
    const answers = await nats.gather(FIGURES_SUBJECT, QUIET_MS);
    return answers.flatMap((answer) => {
      try {
        return [figures.parse(JSON.parse(new TextDecoder().decode(answer)))];
      } catch {
        // Whatever a tenant's software sends there.
        return [];
      }
    });
  } finally {
    await nats.close();
  }
}

interface Workload {
  vertex: string;
  phase: string | undefined;
  replicas: { wanted: number; live: number; ready: number };
}

async function workloadsOf(stores: Stores, namespace: string): Promise<Workload[]> {
  const kubernetes = await stores.kubernetes();
  const path = `/apis/apps/v1/namespaces/${namespace}/deployments?labelSelector=${VERTEX_LABEL}`;
  const { items = [] } = ((await kubernetes.get(path)) ?? {}) as { items?: KubernetesObject[] };
  return items.map(({ metadata: { labels = {}, annotations = {} }, spec, status }) => {
    const { replicas: wanted = 1 } = spec as { replicas?: number };
    const { replicas: live = 0, readyReplicas: ready = 0 } = (status ?? {}) as Record<string, number | undefined>;
    return {
      vertex: labels[VERTEX_LABEL] ?? "",
      phase: annotations[PHASE_ANNOTATION],
      replicas: { wanted, live, ready },
    };
  });
}

type Of<Told> = Told & { vertex: string };

function verticesOf(workloads: Workload[], workers: Of<Served>[], flows: Of<Flowing>[]): VertexStatus[] {
  const names = [...new Set([...workloads, ...workers, ...flows].map(({ vertex }) => vertex))].sort();
  return names.map((vertex) => {
    const workload = workloads.find((each) => each.vertex === vertex);
    const own = workers.filter((each) => each.vertex === vertex);
    return {
      vertex,
      phase: workload?.phase,
      replicas: workload?.replicas,
      instances: own.length,
      served: own.length > 0 ? trafficOf(own) : undefined,
      flow: flowOf(flows.filter((each) => each.vertex === vertex)),
    };
  });
}

function flowOf(all: Flowing[]): FlowTraffic | undefined {
  const [first] = all;
  if (!first) return undefined;
  const sentPerSecond = rateOf(all.map(({ sent }) => sent));
  return { ...trafficOf(all), kind: first.kind, processes: all.length, sentPerSecond };
}

function edgesOf(processes: Figures[]): EdgeStatus[] {
  const asked = processes.flatMap(({ vertex, asks = [] }) => asks.map((each): Of<Asked> => ({ vertex, ...each })));
  const edges = Map.groupBy(asked, ({ vertex, endpoint }) => `${vertex} ${endpoint}`);
  return [...edges.entries()].sort().map(([, each]) => {
    const [{ vertex, endpoint }] = each as [Of<Asked>];
    return { vertex, endpoint, clients: each.length, asked: trafficOf(each) };
  });
}

/** Outcomes that are nobody's fault: the caller went, or the worker ends and the request went elsewhere. */
const HARMLESS = ["ok", "aborted", "refused"];

function trafficOf(all: Done[]): Traffic {
  const sum = (of: (one: Done) => number) => all.reduce((total, one) => total + of(one), 0);
  const times = addedTimes(all.map(({ recent }) => recent.times));
  const failed = ({ outcomes }: Done) =>
    Object.entries(outcomes).reduce((total, [outcome, many]) => total + (HARMLESS.includes(outcome) ? 0 : many), 0);
  return {
    inFlight: sum(({ inFlight }) => inFlight),
    perSecond: rateOf(all.map(({ recent }) => recent)),
    p50Ms: percentileOf(times, 0.5),
    p99Ms: percentileOf(times, 0.99),
    retries: sum(({ retries }) => retries),
    failures: sum(failed),
  };
}

/** Instances that are registered and have said nothing: they hang, or are gone and their lease is not. */
function silent(registered: Array<{ key: string }>, prefix: string, workers: Served[]): string[] {
  const answered = new Set(workers.map(({ endpoint, instance }) => `${endpoint}/${instance}`));
  return registered
    .map(({ key }) => key.slice(prefix.length + INSTANCES.length))
    .filter((name) => !answered.has(name))
    .map((name) => `instance ${name} is registered and did not answer: it hangs, or its lease has not ended yet`);
}
