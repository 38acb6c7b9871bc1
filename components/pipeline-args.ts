/** What a pipeline is told. */
import type * as pulumi from "@pulumi/pulumi";
import type { EtcdProxyArgs } from "./etcd-proxy.ts";
import type { PlanesInput } from "./plan/planes.ts";
import type { Isolation, OnResidue, Phase } from "./plan/spec.ts";
import type { Platform } from "./platform.ts";
import type { QuotaArgs } from "./quota.ts";
import type { JetStreamArgs } from "./resources/nats-account.ts";
import type { WorkloadArgs } from "./vertex.ts";

/** A vertex, as a pipeline's args have it. */
export interface PipelineVertexArgs extends WorkloadArgs {
  /** Pods while the pipeline runs. @default 1 */
  replicas?: pulumi.Input<number>;
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

export interface PipelineArgs {
  /** Whose etcd, NATS and Kubernetes provider to use; a provider in the pipeline's own options has no say. */
  platform: Platform;
  /** The name space of the pipeline's name on its platform: one team, one cluster. @default "default" */
  realm?: string;
  /** By name: at most 63 lower-case letters, digits and inner hyphens, a letter first; at least one. */
  vertices: Record<string, PipelineVertexArgs>;
  lifecycle?: {
    /** `Paused` keeps the tenant and takes every vertex to zero pods. @default "Running" */
    desiredPhase?: pulumi.Input<Phase>;
  };
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
  /** Where it serves, and a request that shows that it does, for `url` and `smokeTest`. @default GET / at the port `http` of the first vertex, by name, that has one */
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
  /** Any text; another one gives everybody other credentials, and ends the earlier ones once all pods have them, see Tenant. @default none */
  rotation?: pulumi.Input<string>;
  /** Let a changed name or realm replace the pipeline's data, see Tenant. @default false */
  allowReplace?: boolean;
}
