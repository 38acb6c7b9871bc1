import type { PolicyResource, ReportViolation, StackValidationPolicy } from "@pulumi/policy";
import { GPU, isGpu, isProductLabel, PRODUCT, profileOf, profilesFor, selectedProduct } from "./stack/gpus.ts";
import { objectsOf } from "./stack/objects.ts";
import { type Pod, podsOf } from "./stack/pods.ts";
import { schemaOf, settings } from "./stack/settings.ts";
import { at, entries, hasUnknown, isRecord, isUnknown, items, number, type Path, text } from "./stack/value.ts";
import { shown, tell } from "./stack/verdict.ts";

const parameters = {
  pools: {
    type: "object",
    additionalProperties: {
      type: "object",
      properties: { perNode: { type: "integer", minimum: 1 }, total: { type: "integer", minimum: 1 } },
      additionalProperties: false,
    },
    description: "By GPU product (the label nvidia.com/gpu.product): GPUs of one node, and of all nodes together.",
    default: {} as Record<string, { perNode?: number; total?: number }>,
  },
} as const;

/** A GPU pod that asks for one thing, tolerates another and selects a third waits for ever, or wastes a node. */
export const gpuScheduling: StackValidationPolicy = {
  name: "gpu-scheduling",
  displayName: "GPU scheduling",
  description:
    "GPU limit, toleration and pool selector agree, requests stay within the pool and under a quota, and MIG profiles exist " +
    "for the selected product.",
  enforcementLevel: "advisory",
  severity: "medium",
  remediationSteps:
    "Use Ringfence's GpuPool, or give GPU pods the limit, the toleration for nvidia.com/gpu and the selector of their " +
    "product together, and namespaces with GPU pods a ResourceQuota for them.",
  configSchema: schemaOf(parameters),
  validateStack: (args, report) => {
    const { pools } = settings(parameters, args);
    const asked = new Map<string, { gpus: number; pod: Pod }>();
    const quotas = quotasOf(args.resources);
    for (const pod of podsOf(args.resources)) {
      const { object, spec } = pod;
      const say = (path: Path, problem: string, fix: string) => tell(report, { resource: object, path, problem, fix });
      const limits = limitsOf(pod);
      const gpus = limits.reduce((sum, { count }) => sum + (count ?? 0), 0);
      const product = selectedProduct(at(spec, "nodeSelector")) ?? affinityProduct(spec);
      if (limits.length === 0) judgeIdle(pod, product, say);
      for (const { name, path, request, count } of limits) {
        if (request !== undefined && count !== undefined && request !== count)
          say(
            path,
            `the limit of ${count} and the request of ${request} ${name} differ`,
            "make them equal, or leave the request out",
          );
        judgeProfile(name, path, product, say);
      }
      if (limits.length > 0 && gpus > 0) {
        if (!pod.completed && !tolerates(spec)) {
          say(
            [...pod.path, "tolerations"],
            `asks for ${gpus} GPUs and does not tolerate the taint '${GPU}' of GPU nodes`,
            `tolerate ${GPU} with operator Exists`,
          );
        }
        const pool = product === undefined ? undefined : pools[product];
        const [first] = limits;
        if (pool?.perNode !== undefined && first && gpus > pool.perNode)
          say(
            first.path,
            `asks for ${gpus} GPUs in one pod, and a node of ${shown(product)} has ${pool.perNode}`,
            "ask for fewer",
          );
        if (product !== undefined) {
          const before = asked.get(product)?.gpus ?? 0;
          asked.set(product, { gpus: before + gpus * (pod.replicas ?? 1), pod });
        }
        judgeQuota(pod, quotas, say);
      }
    }
    refuseTooMany(asked, pools, report);
  },
};

interface Limit {
  name: string;
  path: Path;
  count: number | undefined;
  request: number | undefined;
}

const limitsOf = ({ containers }: Pod): Limit[] =>
  containers.flatMap(({ body, path, init }) =>
    init
      ? []
      : entries(at(body, "resources", "limits")).flatMap(([name, value]) =>
          isGpu(name) && number(value) !== 0
            ? [
                {
                  name,
                  path: [...path, "resources", "limits", name],
                  count: number(value),
                  request: number(at(body, "resources", "requests", name)),
                },
              ]
            : [],
        ),
  );

type Say = (path: Path, problem: string, fix: string) => void;

/** A pod on GPU nodes without a GPU. Agents run on every node on purpose. */
function judgeIdle({ object, completed, path, spec }: Pod, product: string | undefined, say: Say): void {
  const toleration = items(at(spec, "tolerations")).findIndex((one) => text(at(one, "key")) === GPU);
  if (object.kind === "DaemonSet" || completed || (product === undefined && toleration < 0)) return;
  if (at(spec, "resourceClaims") !== undefined || hasUnknown(at(spec, "containers"))) return;
  if (product !== undefined)
    say(path, `selects nodes with ${shown(product)} and asks for no GPU`, `set a limit of ${GPU}`);
  else say([...path, "tolerations", toleration], "lets a pod without GPUs onto GPU nodes", "leave the toleration out");
}

function judgeProfile(name: string, path: Path, product: string | undefined, say: Say): void {
  if (product === undefined) return;
  const profiles = profilesFor(product);
  const profile = profileOf(name) ?? profileOf(product);
  if (profile === undefined || !profiles || profiles.includes(profile)) return;
  const has = profiles.length > 0 ? `it has ${profiles.join(", ")}` : "it has no MIG";
  say(path, `the MIG profile '${profile}' does not exist on ${shown(product)}`, has);
}

/** Whether a pod may be scheduled onto nodes with the usual taint of GPU nodes, as far as it is known. */
function tolerates(spec: unknown): boolean {
  const tolerations = at(spec, "tolerations");
  return (
    isUnknown(tolerations) ||
    items(tolerations).some((one) => {
      const key = at(one, "key");
      const effect = at(one, "effect");
      return (
        hasUnknown(one) ||
        ((key === GPU || (key === undefined && at(one, "operator") === "Exists")) &&
          (effect === undefined || effect === "NoSchedule"))
      );
    })
  );
}

/** A product that node affinity requires, when it requires one alone. */
function affinityProduct(spec: unknown): string | undefined {
  const terms = items(
    at(spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"),
  );
  const [term, ...others] = terms;
  if (!term || others.length > 0) return undefined;
  const one = items(at(term, "matchExpressions")).find((part) => isProductLabel(text(at(part, "key")) ?? ""));
  const values = items(at(one, "values"));
  return text(at(one, "operator")) === "In" && values.length === 1 ? text(values[0]) : undefined;
}

/** Namespaces that this stack makes, and what is known of their quotas. */
interface Quotas {
  made: ReadonlyMap<string, unknown>;
  /** With a quota for GPUs; `undefined` in it stands for one whose namespace is not known yet. */
  covered: ReadonlySet<string | undefined>;
}

function quotasOf(resources: readonly PolicyResource[]): Quotas {
  const objects = objectsOf(resources);
  const made = objects.flatMap(({ kind, objectName }) => (kind === "Namespace" && objectName ? [objectName] : []));
  const covered = objects.flatMap(({ kind, namespace, body }) => {
    if (kind !== "ResourceQuota") return [];
    const hard = at(body, "spec", "hard");
    const gpus = !isRecord(hard) || Object.keys(hard).some((key) => isGpu(key.replace(/^(requests|limits)\./, "")));
    return gpus ? [namespace] : [];
  });
  return { made: new Map(made.map((name) => [name, true])), covered: new Set(covered) };
}

/** A namespace from elsewhere may have its quota from elsewhere; one that is made here has it here or not at all. */
function judgeQuota({ object, path }: Pod, { made, covered }: Quotas, say: Say): void {
  const { namespace } = object;
  if (namespace === undefined || !made.has(namespace) || covered.has(namespace) || covered.has(undefined)) return;
  say(
    path,
    `runs in namespace ${shown(namespace)}, whose GPUs no ResourceQuota limits`,
    `declare one with requests.${GPU}`,
  );
}

function refuseTooMany(
  asked: ReadonlyMap<string, { gpus: number; pod: Pod }>,
  pools: Record<string, { total?: number }>,
  report: ReportViolation,
): void {
  for (const [product, { gpus, pod }] of asked) {
    const total = pools[product]?.total;
    if (total === undefined || gpus <= total) continue;
    tell(report, {
      resource: pod.object,
      path: [...pod.path, "nodeSelector", PRODUCT],
      problem: `with this, the stack asks for ${gpus} GPUs of ${shown(product)}, and its pool has ${total}`,
      fix: "ask for fewer, or raise the pool's total in this policy's config",
    });
  }
}
