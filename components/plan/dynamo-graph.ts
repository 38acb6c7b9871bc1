/** What a person writes of a ready Dynamo graph, in a stack's config or as a graph's arguments. */
import { z } from "zod";
import { availabilitySpec } from "./availability.ts";
import { amountsSpec, bytes, count, environmentName, whole } from "./numbers.ts";
import { FRONTEND } from "./planes.ts";

const filled = (what: string) => z.string(what).min(1, what);
const image = filled("expected a container image");

const partShape = {
  replicas: count.default(1),
  image: image.optional(),
  env: z.record(environmentName, z.string()).default({}),
  resources: z.strictObject({ requests: amountsSpec.optional(), limits: amountsSpec.optional() }).optional(),
  sharedMemoryBytes: bytes.optional(),
  availability: availabilitySpec.optional(),
};

const workerSpec = z.strictObject({
  ...partShape,
  pool: z.string("expected the name of a pool, for a worker runs on GPUs"),
  gpus: whole("expected a whole number of GPUs, 1 or more", 1).default(1),
  args: z.array(z.string()).default([]),
});

/** The engine that there is; `name` leaves room for others. */
const engineSpec = z.strictObject({
  name: z.literal("vllm", "expected 'vllm'").default("vllm"),
  model: filled("expected a model as Hugging Face names it, or a path in the image"),
  image: image.optional(),
  args: z.array(z.string()).optional(),
});

const graphShape = {
  engine: engineSpec,
  frontend: z.strictObject(partShape).prefault({}),
  startupSeconds: whole("expected a whole number of seconds, 10 or more", 10).optional(),
  huggingFaceToken: filled("expected a token").optional(),
};

/** `dynamo` of a pipeline in a stack's config. */
export const dynamoGraphSpec = z.discriminatedUnion(
  "graph",
  [
    z.strictObject({ graph: z.literal("aggregated"), worker: workerSpec, ...graphShape }),
    z.strictObject({ graph: z.literal("disaggregated"), prefill: workerSpec, decode: workerSpec, ...graphShape }),
  ],
  {
    error: ({ code }) => (code === "invalid_union" ? "expected 'aggregated' or 'disaggregated'" : undefined),
  },
);

export type DynamoGraphSpec = z.output<typeof dynamoGraphSpec>;

/** What the graph's vertices take, under their names. */
export const workloadsOf = (given: DynamoGraphSpec) => ({
  [FRONTEND]: { replicas: given.frontend.replicas, gpus: 0, pool: undefined },
  ...(given.graph === "aggregated" ? { worker: given.worker } : { prefill: given.prefill, decode: given.decode }),
});
