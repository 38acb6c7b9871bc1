import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { GPU_RESOURCE, type GpuPool } from "./gpu-pool.ts";
import {
  CREDENTIALS_ANNOTATION,
  DIGEST_ANNOTATION,
  GENERATION_LABEL,
  PHASE_ANNOTATION,
  PIPELINE_LABEL,
  VERTEX_LABEL,
} from "./plan/labels.ts";
import type { Phase } from "./plan/spec.ts";
import type { Tenant } from "./tenant.ts";

export interface VertexArgs {
  tenant: Tenant;
  /** The pipeline's name, as a label. */
  pipeline: pulumi.Input<string>;
  /** The vertex' name, one of the tenant's `users`: names its Deployment and Service. */
  vertex: string;
  image: pulumi.Input<string>;
  /** @default the image's entry point */
  command?: pulumi.Input<pulumi.Input<string>[]>;
  /** @default the image's arguments */
  args?: pulumi.Input<pulumi.Input<string>[]>;
  /** They go before the connection settings of the same names that every vertex gets. @default {} */
  env?: pulumi.Input<Record<string, pulumi.Input<string>>>;
  /** Pods, as the plan has them for the phase. */
  replicas: pulumi.Input<number>;
  /** GPUs of each pod. @default 0 */
  gpus?: pulumi.Input<number>;
  /** The nodes to run on. @default any node without a taint */
  pool?: GpuPool | undefined;
  /** Port name → number; a vertex with ports gets a Service. @default {} */
  ports?: Record<string, pulumi.Input<number>>;
  /** Seconds from the signal to end until a pod is killed. @default 30 */
  terminationGracePeriodSeconds?: pulumi.Input<number>;
  /** The phase that the replicas were planned for. */
  phase: pulumi.Input<Phase>;
  /** The digest of the plan that this vertex is part of. */
  planDigest: pulumi.Input<string>;
}

/** Where a vertex finds its NATS credentials file. */
const CREDS_DIRECTORY = "/var/run/ringfence/nats";

/** One vertex of a pipeline: a Deployment on a GPU pool, with the tenant's credentials in it. */
export class Vertex extends pulumi.ComponentResource {
  static readonly __pulumiType = "ringfence:index:Vertex";
  /** Pods that shall be there. */
  readonly wanted: pulumi.Output<number>;
  /** Pods that were ready at the end of the last `up` or `refresh`. */
  readonly ready: pulumi.Output<number>;

  constructor(name: string, args: VertexArgs, opts?: pulumi.ComponentResourceOptions) {
    super(Vertex.__pulumiType, name, {}, opts);
    const { tenant, vertex, pool, ports = {} } = args;
    const natsSecret = tenant.natsSecrets[vertex];
    if (!natsSecret) {
      const users = Object.keys(tenant.natsSecrets).join(", ");
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
      annotations: { [PHASE_ANNOTATION]: args.phase, [DIGEST_ANNOTATION]: args.planDigest },
    };
    const env = pulumi
      .all([connectionEnv(tenant, args.pipeline, vertex), args.env ?? {}])
      .apply(([connection, own]) => [
        // Kubernetes refuses a name that comes twice.
        ...connection.filter(({ name }) => !Object.hasOwn(own, name)),
        ...Object.entries(own).map(([key, value]) => ({ name: key, value })),
      ]);
    const gpus = pulumi.output(args.gpus ?? 0);
    const deployment = new k8s.apps.v1.Deployment(
      `${name}-deployment`,
      {
        metadata,
        spec: {
          replicas: args.replicas,
          selector: { matchLabels: selector },
          // All that were ready stay ready while pods are exchanged; it also makes Pulumi wait for every one of them.
          strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
          template: {
            metadata: {
              labels: metadata.labels,
              // Pods read credentials once, at their start.
              annotations: { [CREDENTIALS_ANNOTATION]: tenant.credentialsDigest },
            },
            spec: {
              automountServiceAccountToken: false,
              terminationGracePeriodSeconds: args.terminationGracePeriodSeconds ?? 30,
              ...(pool && { nodeSelector: pool.nodeSelector, tolerations: pool.tolerations }),
              containers: [
                {
                  name: vertex,
                  image: args.image,
                  ...(args.command && { command: args.command }),
                  ...(args.args && { args: args.args }),
                  env,
                  ports: Object.entries(ports).map(([port, containerPort]) => ({ name: port, containerPort })),
                  resources: {
                    limits: gpus.apply(
                      (count): Record<string, string> => (count > 0 ? { [GPU_RESOURCE]: String(count) } : {}),
                    ),
                  },
                  volumeMounts: [{ name: "nats", mountPath: CREDS_DIRECTORY, readOnly: true }],
                },
              ],
              volumes: [{ name: "nats", secret: { secretName: natsSecret.metadata.name } }],
            },
          },
        },
      },
      inCluster,
    );
    new k8s.policy.v1.PodDisruptionBudget(
      `${name}-disruption`,
      { metadata, spec: { maxUnavailable: 1, selector: { matchLabels: selector } } },
      inCluster,
    );
    if (Object.keys(ports).length > 0) {
      new k8s.core.v1.Service(
        `${name}-service`,
        {
          // The Deployment's readiness has been waited for; a paused vertex has no endpoints to wait for.
          metadata: { ...metadata, annotations: { ...metadata.annotations, "pulumi.com/skipAwait": "true" } },
          spec: {
            selector,
            ports: Object.entries(ports).map(([port, number]) => ({ name: port, port: number, targetPort: port })),
          },
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

/**
 * How a vertex reaches its tenant's stores, under the names that Dynamo reads (../shared/facts/dynamo.md, "Auth env"),
 * and Ringfence's own for software that takes a prefix.
 */
function connectionEnv(
  tenant: Tenant,
  pipeline: pulumi.Input<string>,
  vertex: string,
): Array<pulumi.Input<k8s.types.input.core.v1.EnvVar>> {
  const { etcd, nats } = tenant.platform;
  const fromSecret = (key: string) => ({ secretKeyRef: { name: tenant.etcdSecret.metadata.name, key } });
  return [
    { name: "RINGFENCE_PIPELINE", value: pipeline },
    { name: "RINGFENCE_VERTEX", value: vertex },
    { name: "RINGFENCE_ETCD_PREFIX", value: tenant.etcd.prefix },
    { name: "ETCD_ENDPOINTS", value: etcd.clusterEndpoints.apply((endpoints) => endpoints.join(",")) },
    { name: "ETCD_AUTH_USERNAME", valueFrom: fromSecret("username") },
    { name: "ETCD_AUTH_PASSWORD", valueFrom: fromSecret("password") },
    { name: "NATS_SERVER", value: nats.clusterServers.apply((servers) => servers.join(",")) },
    { name: "NATS_AUTH_CREDENTIALS_FILE", value: `${CREDS_DIRECTORY}/nats.creds` },
  ];
}
