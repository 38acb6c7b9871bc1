/** From a pipeline's args to its plan: what is wrong is said as early as it is known. */
import type * as pulumi from "@pulumi/pulumi";
import type { GpuPool } from "./gpu-pool.ts";
import { judged } from "./judged.ts";
import type { PipelineArgs } from "./pipeline-args.ts";
import { compile, type Plan } from "./plan/compile.ts";
import type { PoolInput } from "./plan/gpu.ts";
import { planesOf } from "./plan/planes.ts";
import { InvalidSpec, isPending, type Problem, problemsSoFar } from "./plan/problem.ts";
import { defined, mapValues } from "./plan/records.ts";
import { hasComponents, namespaceAmong, type PipelineInput, pipelineSpec } from "./plan/spec.ts";
import { topologyAlone } from "./plan/topology-problems.ts";
import type { Platform } from "./platform.ts";

/** @throws pulumi.ResourceError with one line for each mistake */
export function planOf(name: string, args: PipelineArgs, pipeline: pulumi.Resource): pulumi.Output<Plan> {
  const { platform, vertices: given, proxy: { certificate: _, ...proxy } = {}, ...rest } = args;
  const pools: Record<string, GpuPool["spec"]> = {};
  const vertices = mapValues(given, ({ pool, secretEnv = {}, ...vertex }) => {
    if (pool) pools[pool.name] = pool.spec;
    // Names only: a plan holds no secret that it can do without.
    return { ...vertex, secretEnv: mapValues(secretEnv, () => ""), ...(pool && { pool: pool.name }) };
  });
  const spec = { ...defined(rest), ...(args.proxy && { proxy }), name, realm: realmOf(args), vertices, pools };
  const problems = [...problemsSoFar(pipelineSpec, spec, name), ...orderProblems(name, args)];
  // Taken by what may be made only.
  if (problems.length === 0 && hasComponents(given)) {
    const reason = namespaceAmong(namespacesOn(platform), args.dynamoNamespace ?? name, name);
    if (reason) problems.push({ path: `${name}.dynamoNamespace`, reason });
  }
  /** @throws InvalidSpec when pipelines of this program do not fit a pool together */
  const fitting = (plan: Plan, { pools = {} }: Pick<PipelineInput, "pools">): Plan => {
    const used = new Set(Object.values(given).flatMap(({ pool }) => pool ?? []));
    const shared = [...used].flatMap((pool) => pool.book(name, plan.vertices, pools[pool.name] as PoolInput));
    if (shared.length > 0) throw new InvalidSpec(shared);
    return plan;
  };
  return judged(pipeline, problems, spec, (known: PipelineInput) => fitting(compile(known, name), known));
}

/** What decides the order of resources has to be right, and known, before the first one is made. */
function orderProblems(name: string, args: PipelineArgs): Problem[] {
  const { edges, lifecycle = {}, planes = "brokered" } = args;
  if (edges === undefined) return [];
  if (isPending(lifecycle.desiredPhase)) {
    const reason =
      "found a value that is known later; expected 'Running' or 'Paused' as it is, for it decides in which order the vertices change";
    return [{ path: `${name}.lifecycle.desiredPhase`, reason }];
  }
  return problemsSoFar(
    topologyAlone,
    { ...args, name, planes: planesOf(planes), lifecycle, jetStream: undefined },
    name,
  );
}

/** Dynamo namespaces of a program's pipelines, by platform: those of other programs are kept apart by their boundaries alone. */
const namespaces = new WeakMap<Platform, Map<string, string>>();

function namespacesOn(platform: Platform): Map<string, string> {
  const known = namespaces.get(platform) ?? new Map<string, string>();
  namespaces.set(platform, known);
  return known;
}

export const realmOf = ({ realm }: PipelineArgs): string => realm ?? "default";
