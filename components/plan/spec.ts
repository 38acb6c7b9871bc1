/** What a person writes of a pipeline, as zod schemas: the one place that says what is allowed. */
import { z } from "zod";
import { labelProblem, logicalNameProblem, MAX_PIPELINE_NAME } from "./names.ts";

/** A label is at most 63 characters (RFC 1123); a vertex' name also names its Deployment and Service. */
const MAX_VERTEX_NAME = 63;

const named = (limit: number) =>
  z.string().superRefine((name, context) => {
    const problem = labelProblem(name, limit);
    if (problem) context.addIssue({ code: "custom", message: `a name that ${problem} is not allowed` });
  });

const environmentName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "expected a name of letters, digits and underscores");
const count = z.int("expected a whole number, 0 or more").min(0, "expected a whole number, 0 or more");
const portNumber = z.int().min(1, "expected a port from 1 to 65535").max(65535, "expected a port from 1 to 65535");

export const vertexSpec = z.strictObject({
  image: z.string("expected a container image").min(1, "expected a container image"),
  command: z.array(z.string()).default([]),
  args: z.array(z.string()).default([]),
  env: z.record(environmentName, z.string("expected text")).default({}),
  replicas: count.default(1),
  gpus: count.default(0),
  pool: z.string("expected the name of a pool").optional(),
  ports: z.record(named(15), portNumber).default({}),
  terminationGracePeriodSeconds: count.default(30),
});

export const lifecycleSpec = z.strictObject({
  desiredPhase: z.enum(["Running", "Paused"], "expected 'Running' or 'Paused'").default("Running"),
});

/** How much of JetStream the tenant's account may take. */
export const jetStreamSpec = z.strictObject({
  memoryBytes: z
    .int()
    .min(0, "expected bytes, 0 or more")
    .default(256 * 2 ** 20),
  diskBytes: z
    .int()
    .min(0, "expected bytes, 0 or more")
    .default(10 * 2 ** 30),
  streams: count.default(100),
  consumers: count.default(1000),
});

const pipelineShape = {
  vertices: z
    .record(named(MAX_VERTEX_NAME), vertexSpec)
    .refine((vertices) => Object.keys(vertices).length > 0, "expected at least one vertex"),
  lifecycle: lifecycleSpec.prefault({}),
  jetStream: jetStreamSpec.prefault({}),
};

export const realmName = z.string().superRefine((realm, context) => {
  const problem = logicalNameProblem(realm);
  if (problem) context.addIssue({ code: "custom", message: `a realm that ${problem} is not allowed` });
});

/** A pipeline as `compile` takes it: named, in a realm. */
export const pipelineSpec = z
  .strictObject({ name: named(MAX_PIPELINE_NAME), realm: realmName, ...pipelineShape })
  .superRefine(({ vertices }, context) => gpusHavePools(vertices, context, ["vertices"]));

/** A pool of GPU nodes that exist already. */
export const poolSpec = z.strictObject({
  product: z
    .string("expected a product as GPU feature discovery labels it")
    .min(1, "expected a product as GPU feature discovery labels it"),
});

/** What `ringfence:realm`, `ringfence:pools` and `ringfence:pipelines` of a stack hold. */
export const environmentSpec = z
  .strictObject({
    realm: realmName.default("default"),
    pools: z.record(named(63), poolSpec).default({}),
    pipelines: z
      .record(named(MAX_PIPELINE_NAME), z.strictObject({ realm: realmName.optional(), ...pipelineShape }))
      .default({}),
  })
  .superRefine(({ pools, pipelines }, context) => {
    for (const [name, pipeline] of Object.entries(pipelines)) {
      gpusHavePools(pipeline.vertices, context, ["pipelines", name, "vertices"]);
      for (const [vertex, { pool }] of Object.entries(pipeline.vertices)) {
        if (pool === undefined || pool in pools) continue;
        const known = Object.keys(pools).join(", ") || "none";
        const path = ["pipelines", name, "vertices", vertex, "pool"];
        context.addIssue({ code: "custom", path, message: `expected one of ringfence:pools (${known})` });
      }
    }
  });

function gpusHavePools(vertices: Record<string, VertexSpec>, context: z.RefinementCtx, path: string[]): void {
  for (const [name, { gpus, pool }] of Object.entries(vertices)) {
    if (gpus === 0 || pool !== undefined) continue;
    context.addIssue({
      code: "custom",
      path: [...path, name, "pool"],
      message: `expected a pool, for the vertex asks for ${gpus} GPUs`,
    });
  }
}

export type VertexSpec = z.output<typeof vertexSpec>;
export type PipelineSpec = z.output<typeof pipelineSpec>;
export type PipelineInput = z.input<typeof pipelineSpec>;
export type EnvironmentSpec = z.output<typeof environmentSpec>;
export type Phase = z.output<typeof lifecycleSpec>["desiredPhase"];
