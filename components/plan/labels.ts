/** Labels and annotations on Kubernetes objects. */
export const GENERATION_LABEL = "ringfence.dev/generation";
export const OWNER_LABEL = "ringfence.dev/owner";
export const PIPELINE_LABEL = "ringfence.dev/pipeline";
export const VERTEX_LABEL = "ringfence.dev/vertex";
export const PHASE_ANNOTATION = "ringfence.dev/phase";
export const DIGEST_ANNOTATION = "ringfence.dev/plan-digest";
export const CREDENTIALS_ANNOTATION = "ringfence.dev/credentials";
export const LOGICAL_NAME_ANNOTATION = "ringfence.dev/logical-name";
