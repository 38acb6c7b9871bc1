/** From a spec to the complete desired state of a pipeline: a pure function, nothing of it is read from live objects. */
import { type Availability, dynamoEnv, restartOf } from "./availability.ts";
import { digestOf } from "./digest.ts";
import { gpusOf, surgesOf } from "./gpu-room.ts";
import { logicalName } from "./names.ts";
import type { NetworkOpening } from "./openings.ts";
import { componentEnv, type Planes, planePorts } from "./planes.ts";
import { InvalidSpec, parse } from "./problem.ts";
import { mapValues } from "./records.ts";
import {
  hasComponents,
  type Isolation,
  type Phase,
  type PipelineInput,
  type PipelineSpec,
  pipelineSpec,
  scaled,
  type VertexSpec,
} from "./spec.ts";
import { replicasOf, type TopologyPlan, topologyOf } from "./topology.ts";
import { sizeProblems } from "./topology-size.ts";

/** One vertex as it shall be. */
export interface VertexPlan extends Omit<VertexSpec, "pool" | "component" | "secretEnv" | "open"> {
  name: string;
  /** Pods that shall exist: the spec's replicas within its scale while the pipeline runs, none while it is paused. */
  replicas: number;
  /** The pipeline's: a vertex has none of its own. */
  lifecycle: Lifecycle;
  /** The pool's name; undefined for a vertex without GPUs. */
  pool: string | undefined;
  /** Pods that a rolling update may have beyond the replicas; with none it ends a pod before it starts the next. */
  surge: number;
  /** The vertex' own before the pipeline's before the defaults. */
  availability: Availability;
  preStopSleepSeconds: number;
  terminationGracePeriodSeconds: number;
  /** Names of the variables whose values are in a Secret. */
  secretEnv: string[];
}

/** The phase that a pipeline shall be in, and how long it may drain on the way there. */
export interface Lifecycle {
  desiredPhase: Phase;
  pauseGracePeriodSeconds: number;
  deletionGracePeriodSeconds: number;
}

/** How long a pipeline may drain that does not say it: NumaFlow's default. */
const GRACE_SECONDS = 30;

/** The complete desired state of a pipeline. */
export interface Plan {
  name: string;
  /** `<realm>/<name>`, under which the tenant is claimed. */
  logicalName: string;
  phase: Phase;
  vertices: Record<string, VertexPlan>;
  /** Only in the plan of a pipeline with edges. */
  topology?: TopologyPlan;
  /** Only in the plan of a pipeline with edges, for no other drains. */
  lifecycle?: Lifecycle;
  planes: Planes;
  /** How the tenant's part of etcd is kept apart; undefined when nobody of it reaches etcd. */
  isolation: Isolation | undefined;
  /** What its etcd proxies are given. */
  proxy: PipelineSpec["proxy"];
  /** What the tenant's network lets through, beyond what every vertex needs. */
  openings: NetworkOpening[];
  /** Where the pipeline serves; undefined when no vertex has a port `http` and the spec names none. */
  endpoint: PipelineSpec["endpoint"];
  jetStream: PipelineSpec["jetStream"];
  /** What the namespace may take: by default what its vertices take in an update. The same in every phase. */
  quota: PipelineSpec["quota"];
  /** GPUs that all vertices take together in this phase. */
  gpus: number;
  /** Of all of the above: two plans with one digest are the same plan. */
  digest: string;
}

/**
 * Compiles a pipeline's spec.
 * @param root the path that problems are reported under, for example `ringfence:pipelines.chat`
 * @throws InvalidSpec
 */
export function compile(spec: PipelineInput, root = ""): Plan {
  const parsed = parse(pipelineSpec, spec, root);
  const { name, realm, jetStream, vertices, planes, pools, quota, availability: shared } = parsed;
  const namespace = parsed.dynamoNamespace ?? name;
  const phase = parsed.lifecycle.desiredPhase;
  const lifecycle = lifecycleOf(parsed.lifecycle);
  const topology = topologyOf(parsed);
  const tooLarge = topology ? sizeProblems(topology, root) : [];
  if (tooLarge.length > 0) throw new InvalidSpec(tooLarge);
  const running = scaled(vertices);
  const surges = surgesOf(running, pools, quota);
  const planned = mapValues(
    vertices,
    ({ pool, component, open: _, ...rest }, vertex): Omit<VertexPlan, "lifecycle"> => {
      const { availability, preStopSleepSeconds, leastGraceSeconds } = restartOf({ component, ...rest }, shared);
      const settings = component !== undefined && {
        ...componentEnv(component, namespace, planes),
        ...dynamoEnv(component, planes, availability),
      };
      return {
        ...rest,
        env: { ...settings, ...rest.env },
        secretEnv: Object.keys(rest.secretEnv).sort(),
        name: vertex,
        pool,
        replicas: replicasOf(rest, phase),
        surge: surges[vertex] ?? 1,
        availability,
        preStopSleepSeconds,
        terminationGracePeriodSeconds: rest.terminationGracePeriodSeconds ?? leastGraceSeconds,
      };
    },
  );
  const plan = {
    name,
    logicalName: logicalName(realm, name),
    phase,
    vertices: planned,
    planes,
    proxy: parsed.proxy,
    isolation: isolationOf(vertices, planes, parsed.isolation),
    openings: openingsOf(vertices, planes),
    endpoint: parsed.endpoint ?? endpointOf(vertices),
    jetStream,
    quota: { ...quota, gpus: { ...gpusOf(running, pools), ...quota.gpus } },
    gpus: Object.values(planned).reduce((sum, vertex) => sum + vertex.replicas * vertex.gpus, 0),
    ...(topology && { topology, lifecycle }),
  };
  return {
    ...plan,
    vertices: mapValues(planned, (vertex) => ({ ...vertex, lifecycle })),
    // The vertices' lifecycle is a copy, and the topology has a digest.
    digest: digestOf({ ...plan, ...(topology && { topology: topology.digest }) }),
  };
}

/** With what NumaFlow fills in. */
export const lifecycleOf = ({
  desiredPhase = "Running",
  pauseGracePeriodSeconds = GRACE_SECONDS,
  deletionGracePeriodSeconds = GRACE_SECONDS,
}: PlainLifecycle = {}): Lifecycle => ({ desiredPhase, pauseGracePeriodSeconds, deletionGracePeriodSeconds });

/** As written. */
export type PlainLifecycle = { [field in keyof Lifecycle]?: Lifecycle[field] | undefined };

/** What of a vertex decides how its tenant is closed and opened; all of it is known before anything is made. */
type Reachable = Pick<VertexSpec, "component" | "ports"> & { open?: Partial<VertexSpec["open"]> | undefined };

/** Dynamo reads etcd's whole root, so it gets a root of its own; other software is told its prefix. */
export function isolationOf(
  vertices: Record<string, Pick<Reachable, "component">>,
  planes: Planes,
  given: Isolation | undefined,
): Isolation | undefined {
  if (planes.discovery !== "etcd") return undefined;
  return given ?? (hasComponents(vertices) ? "proxy" : "rbac");
}

/** What each vertex' `open` says, and what its planes need. */
export function openingsOf(vertices: Record<string, Reachable>, planes: Planes): NetworkOpening[] {
  return Object.keys(vertices)
    .sort()
    .flatMap((vertex): NetworkOpening[] => {
      const { open = {}, ports, component } = vertices[vertex] as Reachable;
      const numbers = (names: readonly string[]) => names.map((port) => ports[port] as number);
      const planned = component === undefined ? [] : planePorts(component, planes, ports);
      const { tenant: asked = [], cluster = Object.keys(ports), world = [] } = open;
      const opening = (from: "tenant" | "cluster", numbers: number[]) =>
        numbers.length > 0 ? [{ vertex, from, ports: ascending(numbers) }] : [];
      return [
        ...(asked === "any" || planned === undefined
          ? [{ vertex, from: "tenant" as const }]
          : opening("tenant", [...numbers(asked), ...planned])),
        ...opening("cluster", numbers(cluster)),
        ...(world.length > 0 ? [{ vertex, to: "world" as const, ports: ascending(world) }] : []),
      ];
    });
}

const ascending = (numbers: readonly number[]): number[] => [...new Set(numbers)].sort((a, b) => a - b);

/** Where a pipeline serves that does not say it: at the port `http` of its first vertex, by name, that has one. */
export function endpointOf(vertices: Record<string, Pick<Reachable, "ports">>): PipelineSpec["endpoint"] {
  const served = Object.keys(vertices)
    .sort()
    .find((vertex) => Object.hasOwn(vertices[vertex]?.ports ?? {}, "http"));
  return served === undefined ? undefined : { vertex: served, port: "http", path: "/" };
}
