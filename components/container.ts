/** What a vertex' container asks Kubernetes for. */
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { GPU_RESOURCE } from "./plan/gpu.ts";
import { isPending } from "./plan/problem.ts";
import type { ProbeArgs, WorkloadArgs } from "./vertex-args.ts";

/** What each pod asks for; GPUs by the pool's name for them. */
export function resources({ resources = {}, gpus, pool }: WorkloadArgs): k8s.types.input.core.v1.ResourceRequirements {
  const { requests, limits } = resources;
  const resource = pool?.resource ?? GPU_RESOURCE;
  return {
    ...(requests && { requests: { ...requests } as Record<string, pulumi.Input<string>> }),
    limits: pulumi
      .all([gpus ?? 0, limits ?? {}])
      .apply(
        ([count, others]) => ({ ...others, ...(count > 0 && { [resource]: String(count) }) }) as Record<string, string>,
      ),
  };
}

/** In Kubernetes' words. */
export function probes(given: WorkloadArgs["probes"] = {}): Partial<k8s.types.input.core.v1.Container> {
  const probe = (settings: ProbeArgs | undefined) => {
    if (!settings) return undefined;
    const { path, port, ...times } = settings;
    return { httpGet: { path, port }, ...times };
  };
  const [startupProbe, livenessProbe, readinessProbe] = [given.startup, given.liveness, given.readiness].map(probe);
  return {
    ...(startupProbe && { startupProbe }),
    ...(livenessProbe && { livenessProbe }),
    ...(readinessProbe && { readinessProbe }),
  };
}

/** Kubernetes itself sleeps (since 1.30), so that the image needs no shell for it. */
export const preStop = (seconds: number): Partial<k8s.types.input.core.v1.Container> =>
  seconds > 0 ? { lifecycle: { preStop: { sleep: { seconds } } } } : {};

/** `/dev/shm` in memory, with more room than the container runtime's own; 0 leaves that. */
export function sharedMemory(bytes = 0) {
  if (bytes === 0) return { volumes: [], volumeMounts: [] };
  return {
    volumes: [{ name: "shared-memory", emptyDir: { medium: "Memory", sizeLimit: String(bytes) } }],
    volumeMounts: [{ name: "shared-memory", mountPath: "/dev/shm" }],
  };
}

export type Variable = k8s.types.input.core.v1.EnvVar & { name: string };

type Known = Record<string, pulumi.Input<string>>;

/**
 * The container's environment variables.
 * @param secrets the vertex' own that read a Secret: like `given` they go before settings of the same names
 * @returns a list whose names are known now where they can be, so that previews and policies see all that is known of it
 */
export function environment(
  settings: Variable[],
  secrets: Variable[],
  given: WorkloadArgs["env"] = {},
): pulumi.Input<Variable[]> {
  const variables = (known: Known): Variable[] => {
    const own = [...Object.entries(known).map(([name, value]) => ({ name, value })), ...secrets];
    // Kubernetes refuses a name that comes twice.
    return [...settings.filter((setting) => !own.some(({ name }) => name === setting.name)), ...own];
  };
  return isPending(given) ? pulumi.output(given).apply(variables) : variables(given as Known);
}

/** Puts `secretEnv` into a Secret, and gives the variables that read it. */
export function secretVariables(
  name: string,
  secretEnv: Record<string, pulumi.Input<string>> = {},
  metadata: k8s.types.input.meta.v1.ObjectMeta,
  options: pulumi.CustomResourceOptions,
): Variable[] {
  if (Object.keys(secretEnv).length === 0) return [];
  const secret = new k8s.core.v1.Secret(
    `${name}-env-secret`,
    // Pulumi names it, and one that is immutable is replaced under another name when a value changes; that rolls the pods.
    { metadata, immutable: true, stringData: pulumi.secret(secretEnv) },
    options,
  );
  return Object.keys(secretEnv).map((key) => ({
    name: key,
    valueFrom: { secretKeyRef: { name: secret.metadata.name, key } },
  }));
}
