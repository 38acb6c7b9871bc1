import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { adapterLoader, type LoaderParts, type VertexLoader } from "./adapter-loader.ts";
import type { PodConnection } from "./connection.ts";
import { environment, preStop, probes, resources, secretVariables, sharedMemory, type Variable } from "./container.ts";
import { patienceFor, rollingUpdate, warnOf } from "./exchange.ts";
import { refusal } from "./judged.ts";
import { restartOf, runtimeEnv } from "./plan/availability.ts";
import {
  CREDENTIALS_ANNOTATION,
  DIGEST_ANNOTATION,
  GENERATION_LABEL,
  PHASE_ANNOTATION,
  PIPELINE_LABEL,
  VERTEX_LABEL,
} from "./plan/labels.ts";
import type { VertexArgs } from "./vertex-args.ts";

/** One vertex of a pipeline: a Deployment on a GPU pool, with the tenant's credentials in it. */
export class Vertex extends pulumi.ComponentResource {
  static readonly __pulumiType = "ringfence:index:Vertex";
  /** Pods that shall be there. */
  readonly wanted: pulumi.Output<number>;
  /** Pods that were ready at the end of the last `up` or `refresh`. */
  readonly ready: pulumi.Output<number>;
  /** What loads ModelAdapters; undefined without `adapters`. */
  readonly loader: VertexLoader | undefined;

  /** @throws pulumi.ResourceError when `vertex` is none of the tenant's users */
  constructor(name: string, args: VertexArgs, opts?: pulumi.ComponentResourceOptions) {
    super(Vertex.__pulumiType, name, {}, opts);
    const { tenant, vertex, pipeline } = args;
    warnOf(name, args, restartOf(args).availability, this);
    const connection = tenant.pods[vertex];
    if (!connection) {
      const users = Object.keys(tenant.pods).join(", ");
      const reason = `found '${vertex}'; expected one of the tenant's users (${users})`;
      throw refusal([{ path: `${name}.vertex`, reason }], this);
    }
    const selector = { [PIPELINE_LABEL]: pipeline, [VERTEX_LABEL]: vertex };
    const metadata = {
      name: vertex,
      namespace: tenant.namespace,
      labels: { ...selector, [GENERATION_LABEL]: tenant.generation },
      annotations: { [PHASE_ANNOTATION]: args.phase, [DIGEST_ANNOTATION]: args.planDigest, ...args.annotations },
    };
    const objects: Objects = {
      name,
      metadata,
      selector,
      options: { parent: this, provider: tenant.platform.kubernetes },
    };
    const loader =
      args.adapters &&
      adapterLoader(
        { name, namespace: tenant.namespace, labels: metadata.labels, options: objects.options },
        { ...args.adapters, vertex, pipeline, ports: args.ports ?? {}, account: connection.serviceAccountName },
      );
    this.loader = loader;
    const deployment = deploy(objects, args, connection, loader);
    limitDisruption(objects);
    expose(objects, args);
    this.wanted = pulumi.output(args.replicas);
    // After an update the provider may return before the cluster has looked (pulumi-kubernetes#3980): a status from before
    // a pause still counts its pods.
    this.ready = pulumi
      .all([deployment.status, args.replicas])
      .apply(([status, wanted]) => Math.min(status?.readyReplicas ?? 0, wanted));
    this.registerOutputs({ wanted: this.wanted, ready: this.ready });
  }
}

/** What the live objects of a vertex share. */
interface Objects {
  /** The vertex' Pulumi name, with which theirs begin. */
  name: string;
  metadata: k8s.types.input.meta.v1.ObjectMeta & {
    labels: Record<string, pulumi.Input<string>>;
    annotations: Record<string, pulumi.Input<string>>;
  };
  /** Labels that all of its pods carry, and no others. */
  selector: Record<string, pulumi.Input<string>>;
  options: pulumi.CustomResourceOptions;
}

function deploy(
  { name, metadata, selector, options }: Objects,
  args: VertexArgs,
  connection: PodConnection,
  loader: LoaderParts | undefined,
): k8s.apps.v1.Deployment {
  const { tenant, vertex, ports = {} } = args;
  const { availability, preStopSleepSeconds, leastGraceSeconds } = restartOf(args);
  const { name: _, ...unnamed } = metadata;
  const secrets = secretVariables(name, args.secretEnv, unnamed, options);
  const settings: Variable[] = [
    { name: "RINGFENCE_PIPELINE", value: args.pipeline },
    { name: "RINGFENCE_VERTEX", value: vertex },
    ...Object.entries(runtimeEnv(availability)).map(([name, value]) => ({ name, value })),
    // Another one for another template, so that clients can tell the newer pods.
    { name: "RINGFENCE_ROLLOUT", valueFrom: { fieldRef: { fieldPath: "metadata.labels['pod-template-hash']" } } },
    ...(connection.env as Variable[]),
    ...((loader?.env ?? []) as Variable[]),
  ];
  const shared = sharedMemory(args.sharedMemoryBytes);
  const patience = patienceFor(args, availability);
  return new k8s.apps.v1.Deployment(
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
            ...args.pool?.scheduling(selector),
            containers: [
              {
                name: vertex,
                image: args.image,
                ...(args.command && { command: args.command }),
                ...(args.args && { args: args.args }),
                env: environment(settings, secrets, args.env),
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
    { ...options, dependsOn: [...tenant.guards, ...(loader?.guards ?? []), ...(args.after ?? [])] },
  );
}

/** Nodes are drained of one pod at a time. */
function limitDisruption({ name, metadata, selector, options }: Objects): void {
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
    options,
  );
}

/** A Service, for a vertex with ports and wherever its pods are found by it. */
function expose({ name, metadata, selector, options }: Objects, { tenant, ports = {} }: VertexArgs): void {
  const served = Object.entries(ports).map(([port, number]) => ({ name: port, port: number, targetPort: port }));
  if (served.length === 0 && Object.keys(tenant.serviceLabels).length === 0) return;
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
    options,
  );
}
