/** Whether pools and quotas hold what pipelines ask for, and where they hold a pod more for updates. */
import { GPU_RESOURCE, type PoolInput, type PoolSpec, type QuotaSpec, resourceOf, roomOf } from "./gpu.ts";
import { nodesNeeded } from "./packing.ts";

/** What is asked of a vertex to judge its GPUs. */
export interface GpuVertex {
  replicas: number;
  /** Of each pod. */
  gpus: number;
  /** The pool's name. */
  pool?: string | undefined;
  /** Pods that a rolling update has beyond the replicas, as planned. @default as `surgesOf` says */
  surge?: number | undefined;
}

/** A mistake, as zod's `addIssue` takes it. */
export interface GpuProblem {
  code: "custom";
  path: string[];
  /** What is allowed; what was found stands before it. */
  message: string;
}

/**
 * Pods that a rolling update of each vertex has beyond its replicas: one, unless its pool says otherwise, or pool and quota are
 * known to have no room for it beside what the pipeline runs. Without one, an update ends a pod before it starts the next.
 */
export function surgesOf(
  vertices: Record<string, GpuVertex>,
  pools: Record<string, PoolSpec>,
  quota?: Pick<QuotaSpec, "gpus">,
): Record<string, number> {
  const placed = Object.entries(vertices).flatMap(([name, vertex]) => {
    const pool = poolOf(vertex, pools);
    return pool ? [{ name, vertex, pool }] : [];
  });
  const taken = new Map<string, number>();
  const pods = new Map<PoolSpec, PodCounts>();
  for (const { vertex, pool } of placed) {
    const resource = resourceOf(pool);
    taken.set(resource, (taken.get(resource) ?? 0) + vertex.replicas * vertex.gpus);
    const sizes = pods.get(pool) ?? new Map<number, number>();
    pods.set(pool, sizes);
    add(sizes, vertex);
  }
  const fits = (pool: PoolSpec, gpus: number): boolean => {
    const resource = resourceOf(pool);
    const most = quota?.gpus[resource];
    if (most !== undefined && (taken.get(resource) ?? 0) + gpus > most) return false;
    const [room, { nodes }] = [roomOf(pool), pool];
    // A pod that no node holds is refused for that.
    if (room === undefined || nodes === undefined || gpus > room) return true;
    return nodesNeeded([...(pods.get(pool) ?? []), [gpus, 1]], room) <= nodes;
  };
  const known = new Map<PoolSpec, Map<number, boolean>>();
  return Object.fromEntries(
    placed.map(({ name, vertex, pool }): [string, number] => {
      if (pool.rollout !== undefined) return [name, surgeOf(pool)];
      const sizes = known.get(pool) ?? new Map<number, boolean>();
      known.set(pool, sizes);
      const fit = sizes.get(vertex.gpus) ?? fits(pool, vertex.gpus);
      sizes.set(vertex.gpus, fit);
      return [name, fit ? 1 : 0];
    }),
  );
}

/** What a pool alone says of it. */
export const surgeOf = ({ rollout }: Pick<PoolInput, "rollout">): number => (rollout === "replace" ? 0 : 1);

/**
 * What the vertices may take of each resource: all replicas, and what a rolling update of all vertices at once has beyond
 * them, so that a quota of that much never holds an update up.
 */
export function gpusOf(vertices: Record<string, GpuVertex>, pools: Record<string, PoolSpec>): Record<string, number> {
  // A tenant without GPUs gets none, rather than as many as there are.
  const sum: Record<string, number> = { [GPU_RESOURCE]: 0 };
  for (const { vertex, pool, surge } of demands(vertices, pools)) {
    const resource = resourceOf(pool);
    const pods = vertex.replicas === 0 ? 0 : vertex.replicas + surge;
    sum[resource] = (sum[resource] ?? 0) + pods * vertex.gpus;
  }
  return sum;
}

/**
 * Says where one pipeline asks for more than its pools or its quota can hold, as far as the pools tell what they hold. What
 * it refuses could never run; what it lets pass may still wait for others' pods.
 * @param vertices those whose pool is not in `pools` are not judged
 */
export function gpuProblems(
  vertices: Record<string, GpuVertex>,
  pools: Record<string, PoolSpec>,
  quota?: QuotaSpec,
): GpuProblem[] {
  const found: GpuProblem[] = [];
  const all = demands(vertices, pools, quota).map((demand) => ({ ...demand, path: ["vertices", demand.name] }));
  const tooBig = all.filter((demand) => {
    const message = podProblem(demand);
    if (message) found.push(problem([...demand.path, "gpus"], message));
    return message !== undefined;
  });
  found.push(...overfull(all.filter((demand) => !tooBig.includes(demand))));
  return [...found, ...quotaProblems(all, quota?.gpus ?? {})];
}

/**
 * Says where pipelines that fit each alone do not fit their pools together.
 * @param pipelines paused ones take nothing
 */
export function sharedPoolProblems(
  pipelines: Record<
    string,
    { vertices: Record<string, GpuVertex>; lifecycle: { desiredPhase: string }; quota?: Pick<QuotaSpec, "gpus"> }
  >,
  pools: Record<string, PoolSpec>,
): GpuProblem[] {
  const running = Object.entries(pipelines).filter(([, { lifecycle }]) => lifecycle.desiredPhase !== "Paused");
  if (running.some(([, { vertices }]) => gpuProblems(vertices, pools).length > 0)) return [];
  return overfull(
    running.flatMap(([pipeline, { vertices, quota }]) =>
      demands(vertices, pools, quota).map((demand) => ({
        ...demand,
        path: ["pipelines", pipeline, "vertices", demand.name],
      })),
    ),
  );
}

/** What one vertex asks of its pool. */
interface Demand {
  name: string;
  vertex: GpuVertex;
  poolName: string;
  pool: PoolSpec;
  surge: number;
}

type PlacedDemand = Demand & { path: string[] };

/** The pool that a vertex takes GPUs of, if it is known. */
const poolOf = ({ pool, gpus }: GpuVertex, pools: Record<string, PoolSpec>): PoolSpec | undefined =>
  pool !== undefined && gpus > 0 && Object.hasOwn(pools, pool) ? pools[pool] : undefined;

function demands(
  vertices: Record<string, GpuVertex>,
  pools: Record<string, PoolSpec>,
  quota?: Pick<QuotaSpec, "gpus">,
): Demand[] {
  const surges = surgesOf(vertices, pools, quota);
  return Object.entries(vertices).flatMap(([name, vertex]) => {
    const pool = poolOf(vertex, pools);
    if (!pool) return [];
    return [{ name, vertex, poolName: vertex.pool as string, pool, surge: vertex.surge ?? surges[name] ?? 1 }];
  });
}

/** How many pods there are of each size: a pool has few sizes, however many vertices. */
type PodCounts = Map<number, number>;

const add = (pods: PodCounts, { gpus, replicas }: GpuVertex): unknown =>
  pods.set(gpus, (pods.get(gpus) ?? 0) + replicas);

const problem = (path: string[], message: string): GpuProblem => ({ code: "custom", path, message });

/** Why no node of the pool can hold one pod, or nothing. */
function podProblem({ vertex: { gpus }, poolName, pool }: Demand): string | undefined {
  if (pool.timeSlicing && gpus > 1)
    return `expected 1, for pool '${poolName}' is time-sliced: a second share gives no more of the GPU`;
  const room = roomOf(pool);
  if (room !== undefined && gpus > room) return `a node of pool '${poolName}' has ${room} ${resourceOf(pool)}`;
  return undefined;
}

/** The first demand of each pool that it cannot hold beside those before it. */
function overfull(all: readonly PlacedDemand[]): GpuProblem[] {
  return [...Map.groupBy(all, ({ poolName }) => poolName)].flatMap(([poolName, asked]) => {
    const { pool } = asked[0] as Demand;
    const [room, { nodes }] = [roomOf(pool), pool];
    if (room === undefined || nodes === undefined) return [];
    const unit = resourceOf(pool);
    const pods: PodCounts = new Map();
    for (const { vertex, path } of asked) {
      add(pods, vertex);
      const needed = nodesNeeded([...pods], room);
      if (needed <= nodes) continue;
      const message = `with these, pool '${poolName}' needs ${needed} nodes of ${room} ${unit}, and it has ${nodes}`;
      return [problem([...path, "replicas"], message)];
    }
    const surging = asked.filter(({ vertex, surge }) => vertex.replicas > 0 && surge > 0);
    const [largest] = surging.toSorted((a, b) => b.vertex.gpus - a.vertex.gpus);
    // One pod is enough: vertices that roll at once take turns with what it leaves free.
    if (!largest || nodesNeeded([...pods, [largest.vertex.gpus, 1]], room) <= nodes) return [];
    return [
      problem(
        [...largest.path, "replicas"],
        `pool '${poolName}' holds these and not one pod more (${largest.vertex.gpus} ${unit}), as a rolling update needs; ` +
          "expected fewer, or rollout: 'replace' in the pool",
      ),
    ];
  });
}

function quotaProblems(all: readonly Demand[], gpus: Record<string, number>): GpuProblem[] {
  return Object.entries(gpus).flatMap(([resource, most]) => {
    const asked = all.filter(({ pool, vertex }) => resourceOf(pool) === resource && vertex.replicas > 0);
    const running = asked.reduce((sum, { vertex }) => sum + vertex.replicas * vertex.gpus, 0);
    const surge = Math.max(0, ...asked.map(({ surge, vertex }) => surge * vertex.gpus));
    if (running + surge <= most) return [];
    const more = surge > 0 ? ` and a rolling update ${surge} more` : "";
    return [problem(["quota", "gpus", resource], `the vertices take ${running}${more}`)];
  });
}
