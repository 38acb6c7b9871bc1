/** Labels and annotations on Kubernetes objects. */
export const GENERATION_LABEL = "ringfence.dev/generation";
export const OWNER_LABEL = "ringfence.dev/owner";
export const PIPELINE_LABEL = "ringfence.dev/pipeline";
export const VERTEX_LABEL = "ringfence.dev/vertex";
export const PHASE_ANNOTATION = "ringfence.dev/phase";
/** The bounds of a vertex' replicas, `<min>..<max>`; no maximum when nothing follows. */
export const SCALE_ANNOTATION = "ringfence.dev/scale";
export const DIGEST_ANNOTATION = "ringfence.dev/plan-digest";
export const CREDENTIALS_ANNOTATION = "ringfence.dev/credentials";
export const LOGICAL_NAME_ANNOTATION = "ringfence.dev/logical-name";
/** The pipeline's topology that an object was last written for; its own place is in RINGFENCE_FLOW. */
export const TOPOLOGY_GENERATION_ANNOTATION = "ringfence.dev/topology-generation";
export const TOPOLOGY_DIGEST_ANNOTATION = "ringfence.dev/topology-digest";

/** The value of SCALE_ANNOTATION. */
export const scaleText = ({ min = 0, max }: { min?: number | undefined; max?: number | undefined }): string =>
  `${min}..${max ?? ""}`;

/** The bounds that a SCALE_ANNOTATION says; undefined for what is none. */
export function scaleBounds(text: string): { min: number; max: number } | undefined {
  const [, min, max] = /^(\d+)\.\.(\d*)$/.exec(text) ?? [];
  return min === undefined ? undefined : { min: Number(min), max: max ? Number(max) : Number.POSITIVE_INFINITY };
}
