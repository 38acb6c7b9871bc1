/** What a vertex' container asks Kubernetes for. */
import type * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { GPU_RESOURCE } from "./plan/gpu.ts";
import type { ProbeArgs, WorkloadArgs } from "./vertex.ts";

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
