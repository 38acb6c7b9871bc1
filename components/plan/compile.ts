/** From a spec to the complete desired state of a pipeline: a pure function, nothing of it is read from live objects. */
import { createHash } from "node:crypto";
import { logicalName } from "./names.ts";
import { parse } from "./problem.ts";
import { type Phase, type PipelineInput, type PipelineSpec, pipelineSpec, type VertexSpec } from "./spec.ts";

/** One vertex as it shall be. */
export interface VertexPlan extends Omit<VertexSpec, "pool"> {
  name: string;
  /** Pods that shall exist: the spec's replicas while the pipeline runs, none while it is paused. */
  replicas: number;
  /** The pool's name; undefined for a vertex without GPUs. */
  pool: string | undefined;
}

/** The complete desired state of a pipeline. */
export interface Plan {
  name: string;
  /** `<realm>/<name>`, under which the tenant is claimed. */
  logicalName: string;
  phase: Phase;
  vertices: Record<string, VertexPlan>;
  jetStream: PipelineSpec["jetStream"];
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
  const { name, realm, lifecycle, jetStream, vertices } = parse(pipelineSpec, spec, root);
  const phase = lifecycle.desiredPhase;
  const planned = Object.fromEntries(
    Object.entries(vertices).map(([vertex, { pool, ...rest }]): [string, VertexPlan] => [
      vertex,
      { ...rest, name: vertex, pool, replicas: phase === "Paused" ? 0 : rest.replicas },
    ]),
  );
  const plan = {
    name,
    logicalName: logicalName(realm, name),
    phase,
    vertices: planned,
    jetStream,
    gpus: Object.values(planned).reduce((sum, vertex) => sum + vertex.replicas * vertex.gpus, 0),
  };
  return { ...plan, digest: digestOf(plan) };
}

/** A digest of any JSON value that does not depend on the order of its keys. */
export function digestOf(value: unknown): string {
  return createHash("sha256").update(canonical(value)).digest("hex").slice(0, 16);
}

/** JSON with sorted keys. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === "object" && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : inner,
  );
}
