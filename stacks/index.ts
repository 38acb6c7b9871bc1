/** The environment that a stack's config declares: `ringfence:realm`, `ringfence:pools`, `ringfence:pipelines`. */
import * as pulumi from "@pulumi/pulumi";
import { GpuPool, Pipeline, Platform } from "../components/index.ts";
import { InvalidSpec, parse } from "../components/plan/problem.ts";
import { type EnvironmentSpec, environmentSpec } from "../components/plan/spec.ts";

const environment = declared();
const platform = Platform.fromConfig();
const pools = mapValues(environment.pools, (pool, name) => new GpuPool(name, pool));

/** What each pipeline is reached by; the credentials are secrets. */
export const pipelines = mapValues(environment.pipelines, ({ vertices, realm, ...rest }, name) => {
  const pipeline = new Pipeline(name, {
    ...rest,
    platform,
    realm: realm ?? environment.realm,
    vertices: mapValues(vertices, ({ pool, ...vertex }) => ({
      ...vertex,
      ...(pool && { pool: pools[pool] as GpuPool }),
    })),
  });
  const { phase, namespace, etcd, nats, gpus } = pipeline;
  return { phase, namespace, etcd, nats, gpus, vertices: pipeline.vertices };
});

function declared(): EnvironmentSpec {
  const config = new pulumi.Config("ringfence");
  const written = {
    realm: config.get("realm"),
    pools: config.getObject("pools"),
    pipelines: config.getObject("pipelines"),
  };
  try {
    return parse(environmentSpec, written, "ringfence:");
  } catch (error) {
    if (error instanceof InvalidSpec) throw new pulumi.RunError(error.message);
    throw error;
  }
}

function mapValues<T, R>(record: Record<string, T>, map: (value: T, name: string) => R): Record<string, R> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, map(value, name)]));
}
