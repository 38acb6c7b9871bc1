/** The environment that a stack's config declares: `ringfence:realm`, `ringfence:pools`, `ringfence:pipelines`. */
import * as pulumi from "@pulumi/pulumi";
import { GpuPool, Pipeline, Platform } from "../components/index.ts";
import { InvalidSpec, parse } from "../components/plan/problem.ts";
import { type EnvironmentSpec, environmentSpec } from "../components/plan/spec.ts";

const environment = declared();
// The engine tells which keys have a secret in them, not where: commands and environments may hold it.
const secretKeys: string[] = JSON.parse(process.env.PULUMI_CONFIG_SECRET_KEYS ?? "[]");
const guarded = <T>(value: T) => (secretKeys.includes("ringfence:pipelines") ? pulumi.secret(value) : value);
const platform = Platform.fromConfig();
const pools = mapValues(environment.pools, (pool, name) => new GpuPool(name, pool));

/** What each pipeline is reached by; the credentials are secrets. */
export const pipelines = mapValues(environment.pipelines, ({ vertices, realm, ...rest }, name) => {
  const pipeline = new Pipeline(name, {
    ...rest,
    platform,
    realm: realm ?? environment.realm,
    vertices: mapValues(vertices, ({ pool, command, args, env, ...vertex }) => ({
      ...vertex,
      command: guarded(command),
      args: guarded(args),
      env: guarded(env),
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
