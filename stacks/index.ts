/** The environment that a stack's config declares: `ringfence:realm`, `:pools`, `:pipelines` and `:observability`. */
import * as pulumi from "@pulumi/pulumi";
import {
  dynamo,
  GpuPool,
  ModelAdapter,
  ModelRoute,
  Observability,
  Pipeline,
  type PipelineArgs,
  Platform,
} from "../components/index.ts";
import { InvalidSpec, parse, pathText } from "../components/plan/problem.ts";
import { mapValues } from "../components/plan/records.ts";
import { type EnvironmentSpec, environmentSpec } from "../components/plan/spec.ts";

type Declared = EnvironmentSpec["pipelines"][string];
type Graph = NonNullable<Declared["dynamo"]>;

const environment = declared();
// The engine tells which keys have a secret in them, not where: commands and environments may hold it.
const secretKeys: string[] = JSON.parse(process.env.PULUMI_CONFIG_SECRET_KEYS ?? "[]");
const hidden = secretKeys.includes("ringfence:pipelines");
const guarded = <T>(value: T) => (hidden ? pulumi.secret(value) : value);
if (!hidden) refusePlainSecrets(environment);
const platform = Platform.fromConfig();
const inCluster = { provider: platform.kubernetes };
const pools = mapValues(environment.pools, (pool, name) => new GpuPool(name, pool, inCluster));

/** What is told of the adapters of pipelines that have some. */
const adaptersOf = new Map<Pipeline, object>();

const made = mapValues(environment.pipelines, ({ vertices, dynamo: graph, realm, models, adapters, ...rest }, name) => {
  const parts = graph ? graphOf(graph) : { vertices: mapValues(vertices ?? {}, vertexOf) };
  const pipeline = new Pipeline(name, { ...parts, ...rest, platform, realm: realm ?? environment.realm });
  for (const [model, { legacyAlias }] of Object.entries(models))
    new ModelRoute(`${name}.${model}`, { pipeline, model, legacyAlias });
  const told = mapValues(adapters, (given, adapter) => {
    const { model, url, serving, problem } = new ModelAdapter(`${name}.${adapter}`, { pipeline, adapter, ...given });
    return { model, url, serving, problem };
  });
  if (Object.keys(told).length > 0) adaptersOf.set(pipeline, told);
  return pipeline;
});
if (environment.observability)
  new Observability("observability", { ...environment.observability, platform, pipelines: made });

/** What each pipeline is reached by; the credentials are secrets. */
export const pipelines = mapValues(made, (pipeline) => {
  const { phase, drain, url, namespace, etcd, nats, gpus, smokeTest } = pipeline;
  return {
    phase,
    drain,
    url,
    namespace,
    etcd,
    nats,
    gpus,
    smokeTest,
    vertices: pipeline.vertices,
    adapters: adaptersOf.get(pipeline),
  };
});

function vertexOf({ pool, command, args, env, secretEnv, ...vertex }: NonNullable<Declared["vertices"]>[string]) {
  return {
    ...vertex,
    command: guarded(command),
    args: guarded(args),
    env: guarded(env),
    secretEnv,
    ...(pool && { pool: pools[pool] as GpuPool }),
  };
}

function graphOf(graph: Graph): Pick<PipelineArgs, "vertices" | "endpoint"> {
  const { engine, frontend, startupSeconds, huggingFaceToken } = graph;
  const part = <T extends Graph["frontend"]>({ env, ...others }: T) => ({ ...others, env: mapValues(env, guarded) });
  const worker = (given: Extract<Graph, { graph: "aggregated" }>["worker"]) => ({
    ...part(given),
    pool: pools[given.pool] as GpuPool,
  });
  const shared = { engine: dynamo.vllm(engine), frontend: part(frontend), startupSeconds, huggingFaceToken };
  return graph.graph === "aggregated"
    ? dynamo.aggregated({ ...shared, worker: worker(graph.worker) })
    : dynamo.disaggregated({ ...shared, prefill: worker(graph.prefill), decode: worker(graph.decode) });
}

/** What is plain in the config is plain in the state: Pulumi notes the config there, too. */
function refusePlainSecrets({ pipelines }: EnvironmentSpec): void {
  const found = Object.entries(pipelines).flatMap(([name, { dynamo: graph, proxy, adapters, vertices = {} }]) => [
    ...Object.entries(adapters).flatMap(([adapter, { credentials }]) =>
      Object.keys(credentials).map((key) => [name, "adapters", adapter, "credentials", key]),
    ),
    ...(graph?.huggingFaceToken === undefined ? [] : [[name, "dynamo", "huggingFaceToken"]]),
    ...(proxy?.certificate === undefined ? [] : [[name, "proxy", "certificate", "key"]]),
    ...Object.entries(vertices).flatMap(([vertex, { secretEnv }]) =>
      Object.keys(secretEnv).map((variable) => [name, "vertices", vertex, "secretEnv", variable]),
    ),
  ]);
  if (found.length === 0) return;
  const lines = found.map((path) => {
    const key = pathText("ringfence:pipelines", path);
    return `${key}: found plain text, which the state would hold; run: pulumi config set --path --secret '${key}'`;
  });
  throw new pulumi.RunError(lines.join("\n"));
}

function declared(): EnvironmentSpec {
  const config = new pulumi.Config("ringfence");
  const written = {
    realm: config.get("realm"),
    pools: config.getObject("pools"),
    pipelines: config.getObject("pipelines"),
    observability: config.getObject("observability"),
  };
  try {
    return parse(environmentSpec, written, "ringfence:");
  } catch (error) {
    if (error instanceof InvalidSpec) throw new pulumi.RunError(error.message);
    throw error;
  }
}
