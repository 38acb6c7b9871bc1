/** What a tenant's namespace may take of the cluster. */
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";

export interface QuotaArgs {
  /**
   * By extended resource (`nvidia.com/gpu`, `nvidia.com/mig-1g.10gb`): how many the namespace's pods may have together, those
   * of a rolling update included. A quota cannot tell the products of a resource apart.
   * @default what the vertices take and a rolling update of all of them has beyond that; no `nvidia.com/gpu` without any
   */
  gpus?: Record<string, pulumi.Input<number>>;
  /**
   * What containers are taken to request that do not say. Without any, pods on GPU nodes would be the first that the kernel
   * and the kubelet end when memory is short, for GPUs do not count there. @default 100m of cpu and 128Mi of memory
   */
  defaultRequests?: { cpu?: pulumi.Input<string>; memory?: pulumi.Input<string> };
}

/**
 * Limits a namespace: a ResourceQuota for its GPUs, and a LimitRange with the default requests. It sets no most GPUs of a
 * container: from a `max` Kubernetes makes the default limit, and every container without GPUs would get that many.
 * @returns what has to be there before the namespace's first pod
 */
export function limitNamespace(
  name: string,
  {
    quota = {},
    metadata,
  }: { quota: QuotaArgs | undefined; metadata: (name: string) => k8s.types.input.meta.v1.ObjectMeta },
  opts: pulumi.CustomResourceOptions,
): pulumi.Resource[] {
  const { gpus = {}, defaultRequests = {} } = quota;
  const { cpu = "100m", memory = "128Mi" } = defaultRequests;
  const limits = new k8s.core.v1.LimitRange(
    `${name}-limits`,
    { metadata: metadata("defaults"), spec: { limits: [{ type: "Container", defaultRequest: { cpu, memory } }] } },
    opts,
  );
  // Kubernetes counts extended resources by their requests only.
  const hard = Object.entries(gpus).map(([resource, most]) => [
    `requests.${resource}`,
    pulumi.output(most).apply(String),
  ]);
  if (hard.length === 0) return [limits];
  const guard = new k8s.core.v1.ResourceQuota(
    `${name}-quota`,
    { metadata: metadata("gpus"), spec: { hard: Object.fromEntries(hard) } },
    opts,
  );
  return [guard, limits];
}
