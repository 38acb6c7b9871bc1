/** What a person writes of a pipeline, as zod schemas: the one place that says what is allowed. */
import { z } from "zod";
import { dynamoNamespaceProblem } from "./dynamo-keys.ts";
import {
  labelProblem,
  logicalName,
  logicalNameProblem,
  MAX_SEGMENT,
  portNameProblem,
  vertexNameProblem,
} from "./names.ts";

/** @param problemOf says what is wrong with a name, or nothing */
const named = (problemOf: (name: string) => string | undefined) =>
  z.string().superRefine((name, context) => {
    const problem = problemOf(name);
    if (problem) context.addIssue({ code: "custom", message: `it ${problem}` });
  });

const pipelineName = named((name) => labelProblem(name, MAX_SEGMENT));
const poolName = named((name) => labelProblem(name, 63));

/** Judged with a pipeline in it, for that is what will be claimed. */
export const realmName = named((realm) => logicalNameProblem(logicalName(realm, "pipeline")));

const environmentName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "expected letters, digits and underscores, no digit first");

const whole = (what: string, least: number) => z.int({ error: what, abort: true }).min(least, what);
const count = whole("expected a whole number, 0 or more", 0);
const bytes = whole("expected a whole number of bytes, 0 or more", 0);
const portNumber = whole("expected a port from 1 to 65535", 1).max(65535, "expected a port from 1 to 65535");

const ports = z
  .record(named(portNameProblem), portNumber)
  .refine((byName) => new Set(Object.values(byName)).size === Object.keys(byName).length, "expected each port once");

export const vertexSpec = z.strictObject({
  image: z.string("expected a container image").min(1, "expected a container image"),
  command: z.array(z.string()).default([]),
  args: z.array(z.string()).default([]),
  env: z.record(environmentName, z.string()).default({}),
  replicas: count.default(1),
  gpus: count.default(0),
  pool: z.string("expected the name of a pool").optional(),
  ports: ports.default({}),
  terminationGracePeriodSeconds: count.default(30),
});

export const lifecycleSpec = z.strictObject({
  desiredPhase: z.enum(["Running", "Paused"], "expected 'Running' or 'Paused'").default("Running"),
});

/** How much of JetStream the tenant's account may take: the servers reserve it, whether it is used or not. */
export const jetStreamSpec = z.strictObject({
  memoryBytes: bytes.default(0),
  diskBytes: bytes.default(2 ** 30),
  streams: count.default(100),
  consumers: count.default(1000),
});

/** What to do about residue of a name when it is claimed. */
export const onResidueSpec = z.enum(["fail", "purge", "adopt"], "expected 'fail', 'purge' or 'adopt'");

const pipelineShape = {
  vertices: z
    .record(named(vertexNameProblem), vertexSpec)
    .refine((vertices) => Object.keys(vertices).length > 0, "expected at least one vertex"),
  lifecycle: lifecycleSpec.prefault({}),
  jetStream: jetStreamSpec.prefault({}),
  dynamoNamespace: named(dynamoNamespaceProblem).optional(),
  onResidue: onResidueSpec.default("fail"),
  adopt: z.boolean("expected true or false").default(false),
};

/** A pipeline as `compile` takes it: named, in a realm. */
export const pipelineSpec = z
  .strictObject({ name: pipelineName, realm: realmName, ...pipelineShape })
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
    pools: z.record(poolName, poolSpec).default({}),
    pipelines: z.record(pipelineName, z.strictObject({ realm: realmName.optional(), ...pipelineShape })).default({}),
  })
  .superRefine(({ pools, pipelines }, context) => {
    for (const [name, pipeline] of Object.entries(pipelines)) {
      gpusHavePools(pipeline.vertices, context, ["pipelines", name, "vertices"]);
      for (const [vertex, { pool }] of Object.entries(pipeline.vertices)) {
        if (pool === undefined || Object.hasOwn(pools, pool)) continue;
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
      message: `expected the name of a pool, for the vertex asks for GPUs (${gpus})`,
    });
  }
}

export type VertexSpec = z.output<typeof vertexSpec>;
export type PipelineSpec = z.output<typeof pipelineSpec>;
export type PipelineInput = z.input<typeof pipelineSpec>;
export type EnvironmentSpec = z.output<typeof environmentSpec>;
export type OnResidue = z.output<typeof onResidueSpec>;
export type Phase = z.output<typeof lifecycleSpec>["desiredPhase"];
