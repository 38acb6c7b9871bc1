/**
 * Pools of GPU nodes: what a person writes of them, which labels their nodes carry, and which resource their pods ask for. The
 * labels are those of NVIDIA's GPU feature discovery, the resources those of its device plugin (NVIDIA/k8s-device-plugin
 * v0.20.0: docs/gpu-feature-discovery/README.md, internal/lm/resource.go, README.md "Shared Access to GPUs").
 */
import { z } from "zod";
import { slicesOf } from "./mig.ts";
import { amountsSpec, count, whole } from "./numbers.ts";

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
    rollout: z.enum(["surge", "replace"], "expected 'surge' or 'replace'").optional(),
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
