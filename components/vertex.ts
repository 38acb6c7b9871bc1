import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { type AdapterLoaderArgs, adapterLoader, type VertexLoader } from "./adapter-loader.ts";
import { preStop, probes, resources, sharedMemory } from "./container.ts";
import { patienceFor, rollingUpdate, warnOf } from "./exchange.ts";
import type { GpuPool } from "./gpu-pool.ts";
import { type AvailabilityInput, restartOf, runtimeEnv } from "./plan/availability.ts";
import {
  CREDENTIALS_ANNOTATION,
  DIGEST_ANNOTATION,
  GENERATION_LABEL,
  PHASE_ANNOTATION,
  PIPELINE_LABEL,
  VERTEX_LABEL,
} from "./plan/labels.ts";
import { isPending } from "./plan/problem.ts";
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

/** One vertex of a pipeline: a Deployment on a GPU pool, with the tenant's credentials in it. */
export class Vertex extends pulumi.ComponentResource {
  static readonly __pulumiType = "ringfence:index:Vertex";
  /** Pods that shall be there. */
  readonly wanted: pulumi.Output<number>;
  /** Pods that were ready at the end of the last `up` or `refresh`. */
  readonly ready: pulumi.Output<number>;
  /** What loads ModelAdapters; undefined without `adapters`. */
  readonly loader: VertexLoader | undefined;

  constructor(name: string, args: VertexArgs, opts?: pulumi.ComponentResourceOptions) {
    super(Vertex.__pulumiType, name, {}, opts);
    const { tenant, vertex, pool, ports = {} } = args;
    const { availability, preStopSleepSeconds, leastGraceSeconds } = restartOf(args);
    warnOf(name, args, availability, this);
    const connection = tenant.pods[vertex];
    if (!connection) {
      const users = Object.keys(tenant.pods).join(", ");
      throw new pulumi.ResourceError(
        `${name}.vertex: found '${vertex}'; expected one of the tenant's users (${users})`,
        this,
        true,
      );
    }
    const inCluster = { parent: this, provider: tenant.platform.kubernetes };
    const selector = { [PIPELINE_LABEL]: args.pipeline, [VERTEX_LABEL]: vertex };
    const metadata = {
      name: vertex,
      namespace: tenant.namespace,
      labels: { ...selector, [GENERATION_LABEL]: tenant.generation },
      annotations: { [PHASE_ANNOTATION]: args.phase, [DIGEST_ANNOTATION]: args.planDigest, ...args.annotations },
    };
    const { name: _, ...unnamed } = metadata;
    const loader =
      args.adapters &&
      adapterLoader(
        { name, namespace: tenant.namespace, labels: metadata.labels, options: inCluster },
        {
          ...args.adapters,
          vertex,
          pipeline: args.pipeline,
          ports,
          account: connection.serviceAccountName,
        },
      );
    this.loader = loader;
    const secrets = secretVariables(name, args.secretEnv, unnamed, inCluster);
    const settings: Variable[] = [
      { name: "RINGFENCE_PIPELINE", value: args.pipeline },
      { name: "RINGFENCE_VERTEX", value: vertex },
      ...Object.entries(runtimeEnv(availability)).map(([name, value]) => ({ name, value })),
      // Another one for another template, so that clients can tell the newer pods.
      { name: "RINGFENCE_ROLLOUT", valueFrom: { fieldRef: { fieldPath: "metadata.labels['pod-template-hash']" } } },
      ...(connection.env as Variable[]),
      ...((loader?.env ?? []) as Variable[]),
    ];
    const variables = (given: Known): Variable[] => {
      const own = [...Object.entries(given).map(([key, value]) => ({ name: key, value })), ...secrets];
      // Kubernetes refuses a name that comes twice.
      return [...settings.filter((setting) => !own.some(({ name }) => name === setting.name)), ...own];
    };
    const { env = {} } = args;
    const shared = sharedMemory(args.sharedMemoryBytes);
    const patience = patienceFor(args, availability);
    const deployment = new k8s.apps.v1.Deployment(
      `${name}-deployment`,
      {
        metadata: { ...metadata, annotations: { ...metadata.annotations, ...patience.annotations } },
        spec: {
          replicas: args.replicas,
          ...patience.deadline,
          selector: { matchLabels: selector },
          // With a surge all that were ready stay ready while pods are exchanged; it also makes Pulumi wait for every one of them.
          strategy: { rollingUpdate: rollingUpdate(args) },
          template: {
            metadata: {
              labels: metadata.labels,
              // Pods read credentials once, at their start.
              annotations: { [CREDENTIALS_ANNOTATION]: tenant.credentialsDigest, ...connection.annotations },
            },
            spec: {
              automountServiceAccountToken: connection.automountServiceAccountToken,
              ...(connection.serviceAccountName && { serviceAccountName: connection.serviceAccountName }),
              ...(loader && {
                serviceAccountName: loader.account,
                initContainers: [loader.sidecar],
                readinessGates: loader.readinessGates,
              }),
              terminationGracePeriodSeconds: args.terminationGracePeriodSeconds ?? leastGraceSeconds,
              ...(args.fsGroup !== undefined && { securityContext: { fsGroup: args.fsGroup } }),
              ...pool?.scheduling(selector),
              containers: [
                {
                  name: vertex,
                  image: args.image,
                  ...(args.command && { command: args.command }),
                  ...(args.args && { args: args.args }),
                  // A list whose names are known now, so that previews and policies see all that is known of it.
                  env: isPending(env) ? pulumi.output(env).apply(variables) : variables(env as Known),
                  ports: Object.entries(ports).map(([port, containerPort]) => ({ name: port, containerPort })),
                  resources: resources(args),
                  ...probes(args.probes),
                  ...preStop(preStopSleepSeconds),
                  volumeMounts: [...connection.volumeMounts, ...shared.volumeMounts, ...(loader?.volumeMounts ?? [])],
                },
              ],
              volumes: [...connection.volumes, ...shared.volumes, ...(loader?.volumes ?? [])],
            },
          },
        },
      },
      { ...inCluster, dependsOn: [...tenant.guards, ...(loader?.guards ?? []), ...(args.after ?? [])] },
    );
    new k8s.policy.v1.PodDisruptionBudget(
      `${name}-disruption`,
      {
        metadata,
        spec: {
          maxUnavailable: 1,
          // Else pods that are not ready count as the one, and keep a node from being drained.
          unhealthyPodEvictionPolicy: "AlwaysAllow",
          selector: { matchLabels: selector },
        },
      },
      inCluster,
    );
    const served = Object.entries(ports).map(([port, number]) => ({ name: port, port: number, targetPort: port }));
    if (served.length > 0 || Object.keys(tenant.serviceLabels).length > 0) {
      new k8s.core.v1.Service(
        `${name}-service`,
        {
          metadata: {
            ...metadata,
            labels: { ...metadata.labels, ...tenant.serviceLabels },
            // The Deployment's readiness has been waited for; a paused vertex has no endpoints to wait for.
            annotations: { ...metadata.annotations, "pulumi.com/skipAwait": "true" },
          },
          // Without a port it only tells which pods are ready.
          spec: { selector, ...(served.length > 0 ? { ports: served } : { clusterIP: "None" }) },
        },
        inCluster,
      );
    }
    this.wanted = pulumi.output(args.replicas);
    // After an update the provider may return before the cluster has looked (pulumi-kubernetes#3980): a status from before
    // a pause still counts its pods.
    this.ready = pulumi
      .all([deployment.status, args.replicas])
      .apply(([status, wanted]) => Math.min(status?.readyReplicas ?? 0, wanted));
    this.registerOutputs({ wanted: this.wanted, ready: this.ready });
  }
}

type Known = Record<string, pulumi.Input<string>>;
type Variable = k8s.types.input.core.v1.EnvVar & { name: string };

/** Puts `secretEnv` into a Secret, and gives the variables that read it. */
function secretVariables(
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
