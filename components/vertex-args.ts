/** What a vertex is told. */
import type * as pulumi from "@pulumi/pulumi";
import type { AdapterLoaderArgs } from "./adapter-loader.ts";
import type { GpuPool } from "./gpu-pool.ts";
import type { AvailabilityInput } from "./plan/availability.ts";
import type { Phase } from "./plan/spec.ts";
import type { Tenant } from "./tenant.ts";

/** What a vertex' container runs, and what it is given. */
export interface WorkloadArgs {
  /** A container image, by tag or digest. */
  image: pulumi.Input<string>;
  /** @default the image's entry point */
  command?: pulumi.Input<pulumi.Input<string>[]>;
  /** @default the image's arguments */
  args?: pulumi.Input<pulumi.Input<string>[]>;
  /** Environment variables; they go before the connection settings of the same names that every vertex gets. @default {} */
  env?: pulumi.Input<Record<string, pulumi.Input<string>>>;
  /** Environment variables that pods find in a Secret, for example HF_TOKEN; a changed value rolls the pods. @default {} */
  secretEnv?: Record<string, pulumi.Input<string>>;
  /** GPUs of each pod; more than 0 needs a pool. @default 0 */
  gpus?: pulumi.Input<number>;
  /** The nodes to run on. @default any node without a taint */
  pool?: GpuPool | undefined;
  /** Processor time and memory of each pod, as Kubernetes writes them: `500m`, `16Gi`. @default none */
  resources?: { requests?: Amounts; limits?: Amounts };
  /** `/dev/shm` in memory: a bound, not a reservation. @default 0, the container runtime's own (64 MiB) */
  sharedMemoryBytes?: number;
  /** The group that owns the pod's volumes. @default the image's */
  fsGroup?: pulumi.Input<number>;
  /** Port name → number, each number once; a vertex with ports gets a Service of its name. @default {} */
  ports?: Record<string, number>;
  /** Lets ModelAdapters be loaded into the vertex' engine, by a loader beside it. @default none */
  adapters?: AdapterLoaderArgs;
  /** Requests over HTTP that tell whether a pod is started, alive and ready. @default none */
  probes?: { startup?: ProbeArgs; liveness?: ProbeArgs; readiness?: ProbeArgs };
  /** How its pods end, and what its clients may count on meanwhile. @default the pipeline's, else see each field */
  availability?: AvailabilityInput;
  /**
   * Seconds to go on serving before SIGTERM, while everybody hears that a pod will end; part of the grace period.
   * @default `availability.propagationSeconds` with ports, but for Dynamo's workers; else 0
   */
  preStopSleepSeconds?: number;
  /**
   * Seconds until a pod that was told to end is killed; fewer than the default are refused.
   * @default the sleep before SIGTERM, the propagation and the shutdown grace, and 10 more; for Dynamo's components the sleep, the
   *   grace and 90 more
   */
  terminationGracePeriodSeconds?: pulumi.Input<number>;
}

export interface Amounts {
  cpu?: pulumi.Input<string>;
  memory?: pulumi.Input<string>;
}

/** A GET over HTTP; defaults are Kubernetes' own. */
export interface ProbeArgs {
  path: string;
  /** One of the vertex' ports, by name. */
  port: string;
  /** @default 0 */
  initialDelaySeconds?: number;
  /** @default 10 */
  periodSeconds?: number;
  /** @default 1 */
  timeoutSeconds?: number;
  /** @default 3 */
  failureThreshold?: number;
}

export interface VertexArgs extends WorkloadArgs {
  tenant: Tenant;
  /** The pipeline's name, as a label. */
  pipeline: pulumi.Input<string>;
  /** The vertex' name, one of the tenant's `users`: names its Deployment and Service. */
  vertex: string;
  /** Pods, as the plan has them for the phase. */
  replicas: pulumi.Input<number>;
  /**
   * Pods that a rolling update may have beyond the replicas: 1 or 0, which ends a pod before it starts the next.
   * @default 1, or 0 with a pool whose `rollout` is `replace`
   */
  surge?: pulumi.Input<number>;
  /** The phase that the replicas were planned for. */
  phase: pulumi.Input<Phase>;
  /** The digest of the plan that this vertex is part of. */
  planDigest: pulumi.Input<string>;
  /** Annotations of its live objects, beside those of its phase and plan. @default none */
  annotations?: Record<string, pulumi.Input<string>>;
  /** What has to be settled before its pods are changed. @default nothing */
  after?: pulumi.Resource[];
}
