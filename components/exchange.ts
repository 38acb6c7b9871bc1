/** How a vertex' pods are exchanged for others: in which order, how long that may take, and what is risky about it. */
import * as pulumi from "@pulumi/pulumi";
import { type Availability, leaseWarning } from "./plan/availability.ts";
import type { VertexArgs } from "./vertex-args.ts";

/** How pods are exchanged: one at a time, the new one first where there is room for both. */
export function rollingUpdate({ surge, pool }: VertexArgs) {
  const more = pulumi.output(surge ?? pool?.rollingUpdate.maxSurge ?? 1);
  return { maxUnavailable: more.apply((pods) => 1 - pods), maxSurge: more };
}

/** How long Kubernetes and Pulumi wait for progress by default. */
const USUAL_SECONDS = 600;

/**
 * A pod that may take long to start, or its predecessor to end, makes all who wait for it wait as long: Kubernetes for each pod,
 * Pulumi for all of them, which an update exchanges one by one.
 */
export function patienceFor(
  { probes, replicas }: VertexArgs,
  { shutdownGraceSeconds }: Availability,
): {
  annotations: Record<string, pulumi.Input<string>>;
  deadline: { progressDeadlineSeconds?: number };
} {
  const { periodSeconds = 10, failureThreshold = 3, initialDelaySeconds = 0 } = probes?.startup ?? {};
  const start = initialDelaySeconds + periodSeconds * failureThreshold;
  const long = [start, shutdownGraceSeconds].filter((seconds) => seconds > USUAL_SECONDS / 2);
  if (long.length === 0) return { annotations: {}, deadline: {} };
  const seconds = long.reduce((sum, one) => sum + one, 0);
  const all = pulumi.output(replicas).apply((pods) => String(USUAL_SECONDS + pods * seconds));
  return {
    annotations: { "pulumi.com/timeoutSeconds": all },
    deadline: { progressDeadlineSeconds: USUAL_SECONDS + seconds },
  };
}

/** Says what is risky without being wrong: leases that are short or long, and updates that nobody answers during. */
export function warnOf(
  name: string,
  { pool, surge = 1, replicas }: VertexArgs,
  availability: Availability,
  vertex: pulumi.Resource,
): void {
  const lease = leaseWarning(availability);
  if (lease) pulumi.log.warn(`${name}.availability.leaseTtlSeconds: ${lease}`, vertex);
  // Whoever says how a pool is updated knows.
  if (!pool || pool.spec.rollout !== undefined) return;
  pulumi.all([surge, replicas]).apply(([more, pods]) => {
    if (more > 0 || pods !== 1) return;
    const gap = `pool '${pool.name}' or the quota has no room for another, so an update ends it before it starts the next`;
    pulumi.log.warn(`${name}.replicas: found 1; ${gap}: use 2 or more, or make room`, vertex);
  });
}
