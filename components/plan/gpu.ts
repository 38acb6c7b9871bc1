/**
 * Pools of GPU nodes: what a person writes of them, which labels their nodes carry, which resource their pods ask for, and
 * whether pools and quotas hold what pipelines ask for. The labels are those of NVIDIA's GPU feature discovery, the resources those of its device plugin (NVIDIA/k8s-device-plugin
 * v0.20.0: docs/gpu-feature-discovery/README.md, internal/lm/resource.go, README.md "Shared Access to GPUs").
 */
import { z } from "zod";
import { slicesOf } from "./mig.ts";
import { amountsSpec, count, whole } from "./numbers.ts";
import { nodesNeeded } from "./packing.ts";

/** The device plugin's resource for whole GPUs, and for slices where MIG's strategy is `single`. */
export const GPU_RESOURCE = "nvidia.com/gpu";

const positive = whole("expected a whole number, 1 or more", 1);
const product = z
  .string("expected a product as GPU feature discovery labels it")
  .min(1, "expected a product as GPU feature discovery labels it")
  .refine(
    (name) => !/-MIG-|-SHARED$/.test(name),
    "expected the product alone; `mig` and `timeSlicing` say what the label adds to it",
  );

/** How the pool's GPUs are cut by MIG. */
const migSpec = z.strictObject({
  profile: z.string("expected a MIG profile, for example 1g.10gb").min(1, "expected a MIG profile"),
  strategy: z.enum(["single", "mixed"], "expected 'single' or 'mixed'"),
  perGpu: positive.optional(),
});

const timeSlicingSpec = z.strictObject({
  replicas: whole("expected a whole number, 2 or more", 2),
  renamed: z.boolean("expected true or false").default(false),
});

/** A taint's toleration, as Kubernetes has it. */
const tolerationSpec = z.strictObject({
  key: z.string("expected the taint's key").min(1, "expected the taint's key"),
  operator: z.enum(["Exists", "Equal"], "expected 'Exists' or 'Equal'").default("Exists"),
  value: z.string("expected the taint's value").optional(),
  effect: z
    .enum(["NoSchedule", "PreferNoSchedule", "NoExecute"], "expected 'NoSchedule', 'PreferNoSchedule' or 'NoExecute'")
    .optional(),
});

const spreadSpec = z.strictObject({
  topologyKey: z.string("expected a node label").min(1, "expected a node label").default("kubernetes.io/hostname"),
  maxSkew: positive.default(1),
  required: z.boolean("expected true or false").default(false),
});

/** A pool of GPU nodes that exist already. */
export const poolSpec = z
  .strictObject({
    product,
    nodes: positive.optional(),
    gpusPerNode: positive.optional(),
    memoryMiB: positive.optional(),
    mig: migSpec.optional(),
    timeSlicing: timeSlicingSpec.optional(),
    nodeSelector: z.record(z.string(), z.string("expected a label's value")).default({}),
    tolerations: z.array(tolerationSpec).default([]),
    priorityClass: z
      .string("expected the name of a PriorityClass")
      .min(1, "expected the name of a PriorityClass")
      .optional(),
    priority: z
      .int("expected a whole number")
      .max(1e9, "expected at most 1000000000, for those above are the system's")
      .optional(),
    spread: spreadSpec.prefault({}),
    rollout: z.enum(["surge", "replace"], "expected 'surge' or 'replace'").default("surge"),
  })
  .superRefine((pool, context) => {
    if (pool.priority !== undefined && pool.priorityClass !== undefined)
      context.addIssue({
        code: "custom",
        path: ["priority"],
        message: `expected none beside priorityClass '${pool.priorityClass}'`,
      });
    if (!pool.mig) return;
    const { profile, perGpu } = pool.mig;
    const slices = slicesOf(pool.product);
    const most = slices?.[profile];
    const known = Object.keys(slices ?? {}).join(", ");
    if (slices && most === undefined)
      context.addIssue({
        code: "custom",
        path: ["mig", "profile"],
        message: known ? `'${pool.product}' has ${known}` : `'${pool.product}' has no MIG`,
      });
    if (perGpu !== undefined && most !== undefined && perGpu > most)
      context.addIssue({
        code: "custom",
        path: ["mig", "perGpu"],
        message: `one GPU holds at most ${most} of ${profile}`,
      });
  });

export type PoolInput = z.input<typeof poolSpec>;
export type PoolSpec = z.output<typeof poolSpec>;

/** What names a pool's resource; the rest of its spec may still be unknown. */
type Cut = Pick<PoolInput, "mig" | "timeSlicing">;

/** `nvidia.com/gpu` or `nvidia.com/mig-1g.10gb`: its own name, and what its labels begin with. */
const resourceBase = ({ mig }: Cut): string =>
  mig?.strategy === "mixed" ? `nvidia.com/mig-${mig.profile}` : GPU_RESOURCE;

/** The extended resource of which a pod asks one for each of its `gpus`. */
export const resourceOf = (pool: Cut): string => resourceBase(pool) + (pool.timeSlicing?.renamed ? ".shared" : "");

/** How many of its resource each of the pool's nodes offers; undefined when that is not declared. */
export function roomOf(pool: PoolSpec): number | undefined {
  if (pool.gpusPerNode === undefined) return undefined;
  const shares = pool.timeSlicing?.replicas ?? 1;
  if (!pool.mig) return pool.gpusPerNode * shares;
  const perGpu = pool.mig.perGpu ?? slicesOf(pool.product)?.[pool.mig.profile];
  return perGpu === undefined ? undefined : pool.gpusPerNode * perGpu * shares;
}

/** The labels by which the pool's nodes are told. */
export function nodeLabels(product: string, { mig, timeSlicing }: Cut): Record<string, string> {
  const base = resourceBase({ mig });
  const shared = timeSlicing && !timeSlicing.renamed ? "-SHARED" : "";
  return {
    [`${base}.product`]: product + (mig ? `-MIG-${mig.profile}` : "") + shared,
    ...(mig && { "nvidia.com/mig.strategy": mig.strategy }),
    ...(timeSlicing && { [`${base}.replicas`]: String(timeSlicing.replicas) }),
  };
}

/** The label with the memory of one GPU, or of one slice, in MiB. */
export const memoryLabel = (pool: Cut): string => `${resourceBase(pool)}.memory`;

/** What a tenant's namespace may take. */
export const quotaSpec = z.strictObject({
  gpus: z
    .record(
      z
        .string()
        .regex(/^nvidia\.com\/(gpu|mig-[\w.-]+?)(\.shared)?$/, "expected nvidia.com/gpu, nvidia.com/mig-… or .shared"),
      count,
    )
    .default({}),
  defaultRequests: z
    .strictObject({
      cpu: amountsSpec.shape.cpu.unwrap().default("100m"),
      memory: amountsSpec.shape.memory.unwrap().default("128Mi"),
    })
    .prefault({}),
});

export type QuotaSpec = z.output<typeof quotaSpec>;

/** What is asked of a vertex to judge its GPUs. */
export interface GpuVertex {
  replicas: number;
  /** Of each pod. */
  gpus: number;
  /** The pool's name. */
  pool?: string | undefined;
}

/** A mistake, as zod's `addIssue` takes it. */
export interface GpuProblem {
  code: "custom";
  path: string[];
  /** What is allowed; what was found stands before it. */
  message: string;
}

/** Pods that a rolling update has beyond a vertex' replicas. */
export const surgeOf = ({ rollout }: Pick<PoolInput, "rollout">): number => (rollout === "replace" ? 0 : 1);

/**
 * What the vertices may take of each resource: all replicas, and what a rolling update of all vertices at once has beyond
 * them, so that a quota of that much never holds an update up.
 */
export function gpusOf(vertices: Record<string, GpuVertex>, pools: Record<string, PoolSpec>): Record<string, number> {
  // A tenant without GPUs gets none, rather than as many as there are.
  const sum: Record<string, number> = { [GPU_RESOURCE]: 0 };
  for (const { vertex, pool } of demands(vertices, pools)) {
    const resource = resourceOf(pool);
    const pods = vertex.replicas === 0 ? 0 : vertex.replicas + surgeOf(pool);
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
  const all = demands(vertices, pools).map((demand) => ({ ...demand, path: ["vertices", demand.name] }));
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
  pipelines: Record<string, { vertices: Record<string, GpuVertex>; lifecycle: { desiredPhase: string } }>,
  pools: Record<string, PoolSpec>,
): GpuProblem[] {
  const running = Object.entries(pipelines).filter(([, { lifecycle }]) => lifecycle.desiredPhase !== "Paused");
  if (running.some(([, { vertices }]) => gpuProblems(vertices, pools).length > 0)) return [];
  return overfull(
    running.flatMap(([pipeline, { vertices }]) =>
      demands(vertices, pools).map((demand) => ({ ...demand, path: ["pipelines", pipeline, "vertices", demand.name] })),
    ),
  );
}

/** What one vertex asks of its pool. */
interface Demand {
  name: string;
  vertex: GpuVertex;
  poolName: string;
  pool: PoolSpec;
}

type PlacedDemand = Demand & { path: string[] };

const demands = (vertices: Record<string, GpuVertex>, pools: Record<string, PoolSpec>): Demand[] =>
  Object.entries(vertices).flatMap(([name, vertex]) => {
    const { pool: poolName, gpus } = vertex;
    const pool = poolName !== undefined && Object.hasOwn(pools, poolName) ? pools[poolName] : undefined;
    return pool && poolName !== undefined && gpus > 0 ? [{ name, vertex, poolName, pool }] : [];
  });

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
    const pods: Array<[size: number, count: number]> = [];
    for (const { vertex, path } of asked) {
      pods.push([vertex.gpus, vertex.replicas]);
      const needed = nodesNeeded(pods, room);
      if (needed <= nodes) continue;
      const message = `with these, pool '${poolName}' needs ${needed} nodes of ${room} ${unit}, and it has ${nodes}`;
      return [problem([...path, "replicas"], message)];
    }
    const running = asked.filter(({ vertex }) => vertex.replicas > 0);
    const [largest] = running.toSorted((a, b) => b.vertex.gpus - a.vertex.gpus);
    // One pod is enough: vertices that roll at once take turns with what it leaves free.
    if (!largest || surgeOf(pool) === 0 || nodesNeeded([...pods, [largest.vertex.gpus, 1]], room) <= nodes) return [];
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
    const surge = Math.max(0, ...asked.map(({ pool, vertex }) => surgeOf(pool) * vertex.gpus));
    if (running + surge <= most) return [];
    const more = surge > 0 ? ` and a rolling update ${surge} more` : "";
    return [problem(["quota", "gpus", resource], `the vertices take ${running}${more}`)];
  });
}
