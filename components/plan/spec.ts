/** What a person writes of a pipeline, as zod schemas: the one place that says what is allowed. */
import { z } from "zod";
import { adaptersSpec } from "./adapter.ts";
import { availabilitySpec, graceProblem, restartOf, saidByAvailability } from "./availability.ts";
import { dynamoGraphSpec, workloadsOf } from "./dynamo-graph.ts";
import { poolSpec, quotaSpec } from "./gpu.ts";
import { gpuProblems, sharedPoolProblems } from "./gpu-room.ts";
import { modelsSpec } from "./models.ts";
import { labelProblem, logicalName, logicalNameProblem, MAX_SEGMENT, vertexNameProblem } from "./names.ts";
import { bytes, count, named, seconds, whole } from "./numbers.ts";
import { observabilitySpec } from "./observability/spec.ts";
import { namespacePairProblem, ownNamespaceProblem, planesSpec } from "./planes.ts";
import { mapValues } from "./records.ts";
import { certificateSpec } from "./tls.ts";
import { FLOW_VARIABLE, replicasOf, type Scaled } from "./topology.ts";
import { topologyProblems } from "./topology-problems.ts";
import { topologyShape } from "./topology-spec.ts";
import { vertexSpec } from "./vertex.ts";

export type { VertexSpec } from "./vertex.ts";

const pipelineName = named((name) => labelProblem(name, MAX_SEGMENT));
const poolName = named((name) => labelProblem(name, 63));

/** Judged with a pipeline in it, for that is what will be claimed. */
const realmName = named((realm) => logicalNameProblem(logicalName(realm, "pipeline")));

const lifecycleSpec = z.strictObject({
  desiredPhase: z.enum(["Running", "Paused"], "expected 'Running' or 'Paused'").default("Running"),
  pauseGracePeriodSeconds: seconds.optional(),
  deletionGracePeriodSeconds: seconds.optional(),
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

/** Where a pipeline serves, and a request that shows that it does. */
const endpointSpec = z.strictObject({
  vertex: z.string("expected the name of a vertex"),
  port: z.string("expected the name of a port"),
  path: z.string("expected a path").startsWith("/", "expected a path that begins with '/'").default("/"),
  body: z.string("expected the text of a request's body").optional(),
});

/** The etcd proxies of a tenant. */
const proxySpec = z.strictObject({
  image: z.string("expected a container image").min(1, "expected a container image").optional(),
  frontImage: z.string("expected a container image").min(1, "expected a container image").optional(),
  replicas: whole("expected a whole number, 1 or more", 1).optional(),
});

const vertices = z
  .record(named(vertexNameProblem), vertexSpec)
  .refine((vertices) => Object.keys(vertices).length > 0, "expected at least one vertex");

const ROTATION = "expected a text, for example '2026-11'";

const pipelineShape = {
  vertices,
  lifecycle: lifecycleSpec.prefault({}),
  availability: availabilitySpec.optional(),
  planes: planesSpec,
  isolation: z.enum(["proxy", "rbac"], "expected 'proxy' or 'rbac'").optional(),
  proxy: proxySpec.optional(),
  jetStream: jetStreamSpec.prefault({}),
  quota: quotaSpec.prefault({}),
  endpoint: endpointSpec.optional(),
  dynamoNamespace: z.string("expected a Dynamo namespace").optional(),
  onResidue: onResidueSpec.default("fail"),
  adopt: z.boolean("expected true or false").default(false),
  allowReplace: z.boolean("expected true or false").default(false),
  rotation: z.string(ROTATION).min(1, ROTATION).optional(),
  ...topologyShape,
};

const pools = z.record(poolName, poolSpec).default({});

/** A pipeline as `compile` takes it: named, in a realm, with what is known of the pools that it names. */
export const pipelineSpec = z
  .strictObject({ name: pipelineName, realm: realmName, pools, ...pipelineShape })
  .superRefine((pipeline, context) => {
    partsAgree(pipeline, pipeline.name, context, []);
    for (const problem of gpuProblems(scaled(pipeline.vertices), pipeline.pools, pipeline.quota))
      context.addIssue({ ...problem });
  });

/** In a stack's config a pipeline has either vertices, or a graph that becomes some. */
const declaredSpec = z.strictObject({
  ...pipelineShape,
  realm: realmName.optional(),
  vertices: vertices.optional(),
  dynamo: dynamoGraphSpec.optional(),
  models: modelsSpec.default({}),
  adapters: adaptersSpec.default({}),
  // A plan knows nothing of the certificate: its key is a secret.
  proxy: proxySpec.extend({ certificate: certificateSpec.optional() }).optional(),
});

/** What `ringfence:realm`, `ringfence:pools`, `ringfence:pipelines` and `ringfence:observability` of a stack hold. */
export const environmentSpec = z
  .strictObject({
    realm: realmName.default("default"),
    pools,
    pipelines: z.record(pipelineName, declaredSpec).default({}),
    observability: observabilitySpec.optional(),
  })
  .superRefine(({ pools, pipelines }, context) => {
    const issue = (path: PropertyKey[], message: string) => context.addIssue({ code: "custom", path, message });
    const namespaces = new Map<string, string>();
    const asked: Parameters<typeof sharedPoolProblems>[0] = {};
    /** Where a workload was written: a graph's vertices are its parts. */
    const written = (name: string, [, ...path]: string[]) => {
      return ["pipelines", name, pipelines[name]?.dynamo ? "dynamo" : "vertices", ...path];
    };
    for (const [name, pipeline] of Object.entries(pipelines)) {
      const { vertices, dynamo, lifecycle, quota, dynamoNamespace } = pipeline;
      if (!vertices === !dynamo) {
        issue(["pipelines", name, vertices ? "dynamo" : "vertices"], "expected either 'vertices' or 'dynamo'");
        continue;
      }
      // Of a graph's endpoint the pipeline judges, which knows its vertices.
      const known = dynamo
        ? { ...pipeline, vertices: {}, endpoint: undefined, edges: undefined }
        : { ...pipeline, vertices: vertices ?? {} };
      partsAgree(known, name, context, ["pipelines", name]);
      if (dynamo && pipeline.edges) issue(["pipelines", name, "edges"], "expected none beside 'dynamo'");
      const workloads: Record<string, Workload> = dynamo ? workloadsOf(dynamo) : scaled(vertices ?? {});
      for (const [vertex, { pool }] of Object.entries(workloads)) {
        if (pool === undefined || Object.hasOwn(pools, pool)) continue;
        const known = Object.keys(pools).join(", ") || "none";
        issue(written(name, ["vertices", vertex, "pool"]), `expected one of ringfence:pools (${known})`);
      }
      for (const { path, message } of gpuProblems(workloads, pools, quota)) {
        issue(path[0] === "vertices" ? written(name, path) : ["pipelines", name, ...path], message);
      }
      asked[name] = { vertices: workloads, lifecycle, quota };
      if (!dynamo && !hasComponents(vertices ?? {})) continue;
      const namespace = dynamoNamespace ?? name;
      const problem = namespaceAmong(namespaces, namespace, name);
      if (problem) issue(["pipelines", name, "dynamoNamespace"], problem);
    }
    for (const { path, message } of sharedPoolProblems(asked, pools))
      issue(written(path[1] as string, path.slice(2)), message);
  });

type Workload = Pick<z.output<typeof vertexSpec>, "replicas" | "gpus" | "pool">;

/** With the replicas that each has while its pipeline runs. */
export const scaled = <V extends Scaled>(vertices: Record<string, V>): Record<string, V> =>
  mapValues(vertices, (vertex) => ({ ...vertex, replicas: replicasOf(vertex, "Running") }));

/** Whether any vertex is a part of Dynamo. */
export const hasComponents = (vertices: Record<string, { component?: string | undefined }>): boolean =>
  Object.values(vertices).some(({ component }) => component !== undefined);

/**
 * Adds a pipeline's Dynamo namespace to those of its platform.
 * @param namespaces whose each is, by pipeline
 * @returns why it cannot stand beside the others, or nothing
 */
export function namespaceAmong(
  namespaces: Map<string, string>,
  namespace: string,
  pipeline: string,
): string | undefined {
  for (const [other, holder] of namespaces) {
    const problem = namespacePairProblem(namespace, other);
    if (problem)
      return `the Dynamo namespace '${namespace}' beside '${other}' of pipeline '${holder}' ${problem}; set another`;
  }
  namespaces.set(namespace, pipeline);
  return undefined;
}

type Pipeline = Pick<
  z.output<typeof pipelineSpec>,
  | "vertices"
  | "planes"
  | "isolation"
  | "proxy"
  | "endpoint"
  | "dynamoNamespace"
  | "edges"
  | "buffers"
  | "limits"
  | "lifecycle"
  | "jetStream"
  | "availability"
> & { dynamo?: unknown };

/** What no part of a pipeline can tell alone. */
function partsAgree(pipeline: Pipeline, name: string, context: z.RefinementCtx, root: string[]): void {
  const { vertices, planes, isolation, endpoint, dynamoNamespace: given } = pipeline;
  const namespace = given ?? name;
  const issue = (path: PropertyKey[], message: string) =>
    context.addIssue({ code: "custom", path: [...root, ...path], message });

  for (const { path, message } of topologyProblems({ ...pipeline, name })) issue(path, message);

  const problem = ownNamespaceProblem(namespace);
  if (problem && given !== undefined) issue(["dynamoNamespace"], `it ${problem}`);
  else if (problem)
    issue(
      ["dynamoNamespace"],
      `expected another Dynamo namespace than the pipeline's name '${name}', which ${problem}`,
    );

  if (isolation !== undefined && planes.discovery !== "etcd") {
    issue(["isolation"], `expected none, for nobody reaches etcd when planes.discovery is '${planes.discovery}'`);
  }
  const dynamo = pipeline.dynamo !== undefined || hasComponents(vertices);
  if (isolation === "rbac" && planes.discovery === "etcd" && dynamo) {
    issue(["isolation"], "expected 'proxy': Dynamo lists and watches etcd's whole root");
  }
  const proxied = planes.discovery === "etcd" && (isolation ?? (dynamo ? "proxy" : "rbac")) === "proxy";
  if (pipeline.proxy && !proxied) issue(["proxy"], "expected none, for there is no proxy without isolation 'proxy'");
  for (const [vertex, spec] of Object.entries(vertices)) {
    const { gpus, pool, component, env, secretEnv, terminationGracePeriodSeconds: grace } = spec;
    const short = graceProblem(grace, restartOf(spec, pipeline.availability));
    if (short) issue(["vertices", vertex, "terminationGracePeriodSeconds"], short);
    if (gpus > 0 && pool === undefined) {
      issue(["vertices", vertex, "pool"], `expected the name of a pool, for the vertex asks for GPUs (${gpus})`);
    }
    for (const [variables, values] of [
      ["env", env],
      ["secretEnv", secretEnv],
    ] as const) {
      for (const [variable, value] of Object.entries(values)) {
        const wrong = variableProblem(variable, value, component, namespace);
        if (wrong) issue(["vertices", vertex, variables, variable], wrong);
      }
    }
  }
  if (endpoint) {
    const served = Object.hasOwn(vertices, endpoint.vertex) ? vertices[endpoint.vertex] : undefined;
    const among = (names: string[]) => `expected one of ${names.join(", ") || "none"}`;
    if (!served) issue(["endpoint", "vertex"], among(Object.keys(vertices)));
    else if (!Object.hasOwn(served.ports, endpoint.port)) issue(["endpoint", "port"], among(Object.keys(served.ports)));
  }
}

/** What a component's own settings are made of; a second word on them would split the pipeline in two. */
const COMPONENT_VARIABLES: Record<string, string> = {
  DYN_NAMESPACE: "dynamoNamespace",
  DYN_COMPONENT: "component",
  DYN_DISCOVERY_BACKEND: "planes.discovery",
  DYN_REQUEST_PLANE: "planes.requests",
  DYN_EVENT_PLANE: "planes.events",
};

/** Says why a vertex cannot have an environment variable, or nothing. */
function variableProblem(
  variable: string,
  value: string,
  component: string | undefined,
  namespace: string,
): string | undefined {
  if (variable === "DYN_NAMESPACE_PREFIX")
    return "expected none: it is a raw prefix, so 'chat' also takes in the workers of 'chat-v2'; DYN_NAMESPACE is exact";
  if (variable === FLOW_VARIABLE) return "expected none, for the pipeline's 'edges' say it";
  const said = saidByAvailability(variable, component);
  if (said) return said;
  const says = COMPONENT_VARIABLES[variable];
  if (component !== undefined && says !== undefined) return `expected none, for the pipeline's '${says}' says it`;
  if (variable === "DYN_NAMESPACE" && value !== namespace)
    return `expected '${namespace}', the pipeline's dynamoNamespace, under which its data are looked for`;
  return undefined;
}

export type PipelineSpec = z.output<typeof pipelineSpec>;
export type PipelineInput = z.input<typeof pipelineSpec>;
export type EnvironmentSpec = z.output<typeof environmentSpec>;
export type OnResidue = z.output<typeof onResidueSpec>;
export type Phase = z.output<typeof lifecycleSpec>["desiredPhase"];
export type Isolation = NonNullable<PipelineSpec["isolation"]>;
