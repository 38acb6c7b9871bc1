/** What a tenant's namespace holds besides its pods: credentials, ways to the stores, and everything that closes the rest. */
import * as k8s from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";
import { connect, type PodConnection } from "./connection.ts";
import { DISCOVERY_LABELS, nativeDiscovery } from "./discovery.ts";
import { type EtcdProxyArgs, etcdProxy } from "./etcd-proxy.ts";
import { type Inside, trustIn } from "./inside.ts";
import { network } from "./network.ts";
import { CREDENTIALS_ANNOTATION } from "./plan/labels.ts";
import type { NetworkOpening } from "./plan/openings.ts";
import type { Planes } from "./plan/planes.ts";
import type { Platform } from "./platform.ts";
import { limitNamespace, type QuotaArgs } from "./quota.ts";

export interface BoundaryArgs {
  platform: Platform;
  /** The names of the vertices. */
  vertices: string[];
  planes: Planes;
  isolation: "proxy" | "rbac";
  proxy: EtcdProxyArgs | undefined;
  openings: NetworkOpening[];
  quota: QuotaArgs | undefined;
  etcd: { prefix: pulumi.Output<string>; username: pulumi.Output<string>; password: pulumi.Output<string> };
  /** Of each vertex: the text of its NATS credentials file. */
  creds: (vertex: string) => pulumi.Output<string>;
  credentialsDigest: pulumi.Output<string>;
}

export interface Boundary {
  pods: Record<string, PodConnection>;
  serviceLabels: Record<string, string>;
  guards: pulumi.Resource[];
}

/** Closes the namespace, and opens it for the planes that are in use. */
export function boundary(inside: Inside, args: BoundaryArgs): Boundary {
  const { name, namespace, labels, options } = inside;
  const { planes, vertices, credentialsDigest, proxy } = args;
  const { etcd, nats } = args.platform;
  const inEtcd = planes.discovery === "etcd";
  const onNats = planes.requests === "nats" || planes.events === "nats";
  const proxied = inEtcd && args.isolation === "proxy";
  const metadata = (objectName: string) => ({ name: objectName, namespace, labels });
  const secret = (of: string, objectName: string, stringData: Record<string, pulumi.Input<string>>) =>
    new k8s.core.v1.Secret(
      `${of}-secret`,
      {
        metadata: { ...metadata(objectName), annotations: { [CREDENTIALS_ANNOTATION]: credentialsDigest } },
        stringData,
      },
      options,
    );

  const limits = limitNamespace(name, { quota: args.quota, metadata }, options);
  const policies = network(inside, {
    vertices,
    openings: args.openings,
    servers: [...(inEtcd && !proxied ? [etcd.clusterEndpoints] : []), ...(onNats ? [nats.clusterServers] : [])],
    ...(proxied && { behindProxy: etcd.clusterEndpoints }),
    native: !inEtcd,
  });
  const trust = trustIn(inside, { etcd: inEtcd ? etcd.tls?.ca : undefined, nats: onNats ? nats.tls?.ca : undefined });
  const { prefix, username, password } = args.etcd;
  const logIn = inEtcd ? secret(`${name}-etcd`, "etcd", { username, password }) : undefined;
  const proxies =
    logIn && proxied
      ? etcdProxy(
          { ...inside, options: { ...options, dependsOn: [...policies, ...limits] } },
          { ...proxy, upstream: etcd.clusterEndpoints, trust, prefix, secret: logIn, credentialsDigest },
        )
      : undefined;
  const discovery = inEtcd ? undefined : nativeDiscovery(inside);

  const throughEtcd = logIn && {
    secret: logIn,
    ...(proxies ? { endpoints: proxies.endpoints } : { endpoints: etcd.clusterEndpoints, prefix }),
  };
  const pods = vertices.map((vertex): [string, PodConnection] => {
    const throughNats = onNats && {
      secret: secret(`${name}.${vertex}-nats`, `nats-${vertex}`, { "nats.creds": args.creds(vertex) }),
      servers: nats.clusterServers,
    };
    return [
      vertex,
      connect({
        ...(throughEtcd && { etcd: throughEtcd }),
        ...(throughNats && { nats: throughNats }),
        ...(discovery && { account: discovery.account }),
        trust,
      }),
    ];
  });
  return {
    pods: Object.fromEntries(pods),
    serviceLabels: discovery ? DISCOVERY_LABELS : {},
    guards: [...policies, ...limits, ...(proxies?.guards ?? []), ...(discovery?.guards ?? [])],
  };
}
