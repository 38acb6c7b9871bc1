/** What a pipeline is told. */
import type * as pulumi from "@pulumi/pulumi";
import type { EtcdProxyArgs } from "./etcd-proxy.ts";
import type { AvailabilityInput } from "./plan/availability.ts";
import type { PlanesInput } from "./plan/planes.ts";
import type { Isolation, OnResidue, Phase } from "./plan/spec.ts";
import type { BuffersInput, EdgeSpec, LimitsInput, ScaleInput, VertexKind } from "./plan/topology-spec.ts";
import type { Platform } from "./platform.ts";
import type { QuotaArgs } from "./quota.ts";
import type { JetStreamArgs } from "./resources/nats-account.ts";
import type { WorkloadArgs } from "./vertex-args.ts";

/** A vertex, as a pipeline's args have it. */
export interface PipelineVertexArgs extends WorkloadArgs {
  /** Pods while the pipeline runs, within `scale`. @default 1 */
  replicas?: pulumi.Input<number>;
  /** The fewest and the most pods while the pipeline runs: `replicas` beyond it is clamped, as in NumaFlow. @default no bounds */
  scale?: ScaleInput | undefined;
  /** What it is in a pipeline with `edges`, where every vertex has one: what only sends, what does both, what only receives. */
  kind?: VertexKind | undefined;
  /** Buffers that share the messages sent to it; only with a `stream` edge that leads to it. @default 1 */
  partitions?: number | undefined;
  /** That a processor reduces many messages to one; `keyed` sends all messages of one key to one partition. @default it does not */
  reduce?: { keyed?: boolean | undefined } | undefined;
  /**
   * The component of NVIDIA Dynamo that the vertex is (`frontend`, `backend`, `prefill`, …): sets DYN_NAMESPACE, DYN_COMPONENT
   * and the planes, and opens the ports that they need. @default not a part of Dynamo
   */
  component?: string;
  /** Who may reach the vertex, and whom it may reach, beside DNS, the tenant's stores and the other vertices' open ports. */
  open?: {
    /** Ports by name, to any pod of the cluster. @default all of its ports */
    cluster?: string[];
    /** Ports by name, or every port, to the pipeline's other vertices. @default those that the planes need */
    tenant?: string[] | "any";
    /** TCP ports that the vertex may call anywhere, inside and outside the cluster. @default none */
    world?: number[];
  };
}

/** An edge: from one vertex to another, by name. */
export type EdgeArgs = EdgeSpec;

/** How every buffer of a pipeline is kept; all have a place on disk. */
export interface BuffersArgs extends BuffersInput {
  /**
   * `limits` keeps messages that were read until `maxMessages` or `maxAgeSeconds`, `workqueue` and `interest` until they are
   * acknowledged. Another one makes the buffers anew, which needs them to be drained. @default "limits"
   */
  retention?: "limits" | "workqueue" | "interest" | undefined;
  /** The most messages in a buffer, read ones included. @default 100000 */
  maxMessages?: number | undefined;
  /** Messages older than that are dropped, read or not; 0 keeps them. @default 259200, three days */
  maxAgeSeconds?: number | undefined;
  /** Of each buffer and bucket in JetStream's cluster, 1 to 5. @default 3 */
  replicas?: number | undefined;
  /**
   * Seconds in which a second message of one id is taken for the first one; with no more than `ackWaitSeconds`, what comes again
   * after that is stored twice. @default twice `ackWaitSeconds`, at least 60, as NumaFlow, and at most `maxAgeSeconds`
   */
  dedupWindowSeconds?: number | undefined;
  /** Seconds after which a message that nobody acknowledges is delivered again. @default 60 */
  ackWaitSeconds?: number | undefined;
  /** The most messages of a buffer that are delivered and not acknowledged. @default 25000 */
  maxAckPending?: number | undefined;
  /**
   * Let buffers that leave the topology, or have to be made anew, take their unread messages with them. @default false, they stay
   * until they are drained
   */
  discard?: boolean | undefined;
}

/** How much vertices read at once, and how full they let a buffer become. */
export interface LimitsArgs extends LimitsInput {
  /** Messages that are read at once. @default 500 */
  readBatchSize?: number | undefined;
  /** Unread messages that a buffer is made for, at most `buffers.maxMessages`. @default 30000 */
  bufferMaxLength?: number | undefined;
  /** Writers wait while a buffer is fuller than this percentage of `bufferMaxLength`. @default 80 */
  bufferUsageLimit?: number | undefined;
}

export interface PipelineArgs {
  /** Whose etcd, NATS and Kubernetes provider to use; a provider in the pipeline's own options has no say. */
  platform: Platform;
  /** The name space of the pipeline's name on its platform: one team, one cluster. @default "default" */
  realm?: string;
  /** By name: at most 63 lower-case letters, digits and inner hyphens, a letter first; at least one. */
  vertices: Record<string, PipelineVertexArgs>;
  /** The phase, and the way there. It holds for every vertex; none has one of its own. */
  lifecycle?: {
    /**
     * `Paused` keeps the tenant and takes every vertex to zero pods. With edges: the sources first, the rest once every buffer is
     * drained or the grace is over; there it has to be a plain value, for it decides the order. @default "Running"
     */
    desiredPhase?: pulumi.Input<Phase>;
    /** Seconds that a pause waits at most for the buffers to drain; only with edges. @default 30, as NumaFlow */
    pauseGracePeriodSeconds?: number | undefined;
    /** The same when the pipeline is destroyed. @default 30, as NumaFlow */
    deletionGracePeriodSeconds?: number | undefined;
  };
  /**
   * How messages go from vertex to vertex: `stream` through buffers in JetStream, `request` by requests over NATS
   * (docs/topology.md). @default none; vertices find each other by themselves
   */
  edges?: EdgeArgs[] | undefined;
  /** How the buffers are kept; only with edges. @default as NumaFlow keeps them, see each field */
  buffers?: BuffersArgs | undefined;
  /** How much is read and buffered; only with edges. @default as NumaFlow, see each field */
  limits?: LimitsArgs | undefined;
  /** How the pods of every vertex end; a vertex' own `availability` goes before it, field by field. @default see each field */
  availability?: AvailabilityInput;
  /**
   * What its vertices find each other, send requests and tell of events through: `brokered` is etcd and NATS, `native` is
   * Kubernetes, TCP and ZeroMQ, or each. Vertices get the credentials of these planes only. @default "brokered"
   */
  planes?: PlanesInput;
  /**
   * How its part of etcd is kept apart: `rbac` for software that puts RINGFENCE_ETCD_PREFIX before its keys, `proxy` for
   * software with fixed keys, such as Dynamo. @default "proxy" with a Dynamo component in it, else "rbac"
   */
  isolation?: Isolation;
  /** The etcd proxies, with `isolation: "proxy"`. @default two */
  proxy?: EtcdProxyArgs;
  /** What its pods may take of the cluster. @default the GPUs of its vertices, and of an update of them */
  quota?: QuotaArgs;
  /** How much of JetStream the pipeline may take. @default nothing in memory, 1 GiB on disk, 100 streams, 1000 consumers */
  jetStream?: JetStreamArgs;
  /**
   * Where it serves, and a request that shows that it does, for `url` and `smokeTest`.
   * @default GET / at the port `http` of the first vertex, by name, that has one
   */
  endpoint?: {
    vertex: string;
    /** One of the vertex' ports, by name. */
    port: string;
    /** @default "/" */
    path?: string;
    /** JSON, sent by POST. @default none, a GET */
    body?: string;
  };
  /** The namespace under which Dynamo registers (DYN_NAMESPACE). @default the pipeline's name */
  dynamoNamespace?: string;
  /** What to do about what earlier deployments of the name left behind, see Tenant. @default "fail" */
  onResidue?: OnResidue;
  /** Take over the deployment that `ringfence adopt` registered under `<realm>/<pipeline>`, see Tenant. @default false */
  adopt?: boolean;
  /**
   * Any text; another one gives everybody other credentials, and ends the earlier ones once all pods have them, see Tenant.
   * @default no rotation
   */
  rotation?: pulumi.Input<string>;
  /** Let a changed name or realm replace the pipeline's data, see Tenant. @default false */
  allowReplace?: boolean;
}
