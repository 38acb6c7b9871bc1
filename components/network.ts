/**
 * A tenant's network: nothing goes in or out but what its planes need. Policies add up, so a program that needs more
 * declares another NetworkPolicy in the tenant's namespace.
 */
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { PROXY_LABELS, PROXY_PORT } from "./etcd-proxy.ts";
import type { Inside } from "./inside.ts";
import { PIPELINE_LABEL, VERTEX_LABEL } from "./plan/labels.ts";
import { PROXY_NAME } from "./plan/names.ts";
import type { NetworkOpening } from "./plan/openings.ts";

type Egress = k8s.types.input.networking.v1.NetworkPolicyEgressRule;
type Ingress = k8s.types.input.networking.v1.NetworkPolicyIngressRule;
type Peer = k8s.types.input.networking.v1.NetworkPolicyPeer;

export interface NetworkArgs {
  /** The names of the tenant's vertices. */
  vertices: string[];
  openings: NetworkOpening[];
  /** The servers that vertices talk to, as URLs: etcd without a proxy, NATS; none for a plane that is not in use. */
  servers: pulumi.Output<string[]>[];
  /** The servers behind the tenant's proxies, when there are any. */
  behindProxy?: pulumi.Output<string[]>;
  /** Whether vertices ask the API server. */
  native: boolean;
}

/** Every vertex of the tenant, and nothing else in its namespace. */
const VERTICES: Peer = { podSelector: { matchExpressions: [{ key: VERTEX_LABEL, operator: "Exists" }] } };
const PROXIES: Peer = { podSelector: { matchLabels: PROXY_LABELS } };

const tcp = (port: number) => ({ protocol: "TCP", port });

/**
 * Names are resolved by pods in another namespace, by a cache on the node, or by the cloud: only the port is common. 5353
 * is where OpenShift's DNS pods listen, and policies see the pod's port, not the Service's.
 */
const DNS: Egress = { ports: [53, 5353].flatMap((port) => [{ protocol: "UDP", port }, tcp(port)]) };

/** The API server is outside the pod network; behind its Service it listens on one of these. */
export const API_SERVER: Egress = { ports: [443, 6443].map(tcp) };

/** Closes a tenant's namespace and opens it for what is listed; to be there before any pod is. */
export function network({ name, namespace, labels, options }: Inside, args: NetworkArgs): pulumi.Resource[] {
  const { vertices, openings, servers, behindProxy, native } = args;
  const policy = (purpose: string, spec: k8s.types.input.networking.v1.NetworkPolicySpec) =>
    new k8s.networking.v1.NetworkPolicy(
      `${name}-network.${purpose}`,
      // A dot, so that no vertex' policy is called as one of these.
      { metadata: { name: purpose, namespace, labels }, spec },
      options,
    );
  const to = (urls: pulumi.Output<string[]>[]) => pulumi.all(urls).apply((lists) => serverRules(lists.flat()));
  const both = (fixed: Egress[], urls: pulumi.Output<string[]>[]) => to(urls).apply((rules) => [...fixed, ...rules]);

  const closed = policy("default-deny", { podSelector: {}, policyTypes: ["Ingress", "Egress"] });
  const planes = policy("planes", {
    podSelector: VERTICES.podSelector as k8s.types.input.meta.v1.LabelSelector,
    policyTypes: ["Egress"],
    egress: both(
      [
        DNS,
        // Which of its ports another vertex lets whom reach is its own policy's to say.
        { to: [VERTICES] },
        ...(behindProxy ? [{ to: [PROXIES], ports: [tcp(PROXY_PORT)] }] : []),
        ...(native ? [API_SERVER] : []),
      ],
      servers,
    ),
  });
  const proxies = behindProxy
    ? [
        policy(PROXY_NAME, {
          podSelector: PROXIES.podSelector as k8s.types.input.meta.v1.LabelSelector,
          policyTypes: ["Ingress", "Egress"],
          ingress: [{ from: [VERTICES], ports: [tcp(PROXY_PORT)] }],
          egress: both([DNS], [behindProxy]),
        }),
      ]
    : [];
  const own = vertices.flatMap((vertex) => {
    const of = openings.filter((opening) => opening.vertex === vertex);
    if (of.length === 0) return [];
    const [ingress, egress] = [of.flatMap(ingressOf), of.flatMap(egressOf)];
    return [
      policy(`vertex.${vertex}`, {
        podSelector: { matchLabels: { [PIPELINE_LABEL]: labels[PIPELINE_LABEL] ?? "", [VERTEX_LABEL]: vertex } },
        policyTypes: [...(ingress.length > 0 ? ["Ingress"] : []), ...(egress.length > 0 ? ["Egress"] : [])],
        ...(ingress.length > 0 && { ingress }),
        ...(egress.length > 0 && { egress }),
      }),
    ];
  });
  return [closed, planes, ...proxies, ...own];
}

function ingressOf(opening: NetworkOpening): Ingress[] {
  if (!("from" in opening)) return [];
  const from: Peer[] = [opening.from === "tenant" ? VERTICES : { namespaceSelector: {} }];
  return [{ from, ...(opening.ports && { ports: opening.ports.map(tcp) }) }];
}

const egressOf = (opening: NetworkOpening): Egress[] => ("to" in opening ? [{ ports: opening.ports.map(tcp) }] : []);

/**
 * Rules for the ports of these servers. A name in the cluster (`etcd.stores.svc`) tells the namespace; any other address may
 * be outside, or a Service's that stands for pods anywhere, so its port is open to everywhere. Policies see the port of a
 * Service's pods: where it is not the Service's own, the program adds a policy.
 * @throws pulumi.RunError when one is no URL with a host; it does not repeat it, for URLs may have passwords in them
 */
export function serverRules(urls: string[]): Egress[] {
  const rules = urls.map((url): [string, Egress] => {
    const { hostname = "", port = "", protocol = "" } = URL.parse(url) ?? {};
    const number = Number(port) || DEFAULT_PORTS[protocol];
    if (hostname === "" || number === undefined)
      throw new pulumi.RunError(
        "Platform: found a server's address that is no URL; expected one such as 'http://etcd.stores.svc:2379'",
      );
    const [, namespace = "", svc] = hostname.split(".");
    if (svc !== "svc") return [`${number}`, { ports: [tcp(number)] }];
    const peer: Peer = { namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace } } };
    return [`${number} ${namespace}`, { to: [peer], ports: [tcp(number)] }];
  });
  return [...new Map(rules).values()];
}

/** Of the schemes that an access may have (plan/access.ts), for URLs that say no port. */
const DEFAULT_PORTS: Record<string, number> = { "http:": 80, "https:": 443, "nats:": 4222, "tls:": 4222 };
