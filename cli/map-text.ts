/** What the map says in its boxes: a heading, and lines below it. */
import type { Environment, MappedPipeline, MappedPool, MappedVertex } from "./map-model.ts";

/** A pipeline's part of a store. */
export interface Store {
  kind: "etcd" | "nats" | "kubernetes";
  /** Whether its vertices have credentials for it. */
  used: boolean;
  lines: string[];
  title?: string;
}

const many = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`;

export const headingOf = ({ project, stack, pools, pipelines }: Environment): string =>
  `${project}/${stack}: ${many(pipelines.length, "pipeline")}, ${many(pools.length, "GPU pool")}`;

export const pipelineLines = ({ name, phase, logicalName, namespace, closed }: MappedPipeline): string[] => [
  phase ? `${name} (${phase})` : name,
  `${logicalName}, in namespace ${namespace || "that is not made yet"}`,
  closed ? "network closed, but for the arrows" : "network open: no policy closes it",
];

export function vertexLines({ name, wanted, ready, gpus, pool, ports, world }: MappedVertex): string[] {
  const listens = Object.entries(ports).map(([port, number]) => `${port} ${number}`);
  return [
    name,
    `${ready} of ${many(wanted, "pod")} ready`,
    ...(gpus > 0 ? [`${many(gpus, "GPU")} each, on ${pool ?? "any node"}`] : []),
    ...(listens.length > 0 ? [`listens: ${listens.join(", ")}`] : []),
    ...(world ? [`calls anywhere: ${world}`] : []),
  ];
}

export const proxyLines = (pods: number): string[] => ["etcd proxy", many(pods, "pod")];

/** What a pipeline has of the stores, in the order in which it is drawn. */
export function storesOf({ etcd, nats, native }: MappedPipeline): Store[] {
  const unused = "no vertex has its credentials";
  const linesOf = (used: boolean, ...lines: string[]) => (used ? lines : [...lines, unused]);
  return [
    ...(etcd
      ? [{ kind: "etcd" as const, used: etcd.used, lines: linesOf(etcd.used, "etcd prefix", etcd.prefix) }]
      : []),
    ...(nats
      ? [
          {
            kind: "nats" as const,
            used: nats.used,
            lines: linesOf(nats.used, "NATS account", short(nats.account)),
            title: nats.account,
          },
        ]
      : []),
    ...(native
      ? [{ kind: "kubernetes" as const, used: true, lines: ["Kubernetes API", "own workers' metadata"] }]
      : []),
  ];
}

/** A public key is told by its ends. */
const short = (key: string): string => (key.length > 24 ? `${key.slice(0, 12)}…${key.slice(-6)}` : key);

export function poolLines({ name, nodes, users }: MappedPool): string[] {
  const gpus = users.reduce((sum, user) => sum + user.gpus, 0);
  return [
    `GPU pool ${name}: ${many(gpus, "GPU")} in use`,
    ...Object.entries(nodes).map(([label, value]) => `${label}=${value}`),
    ...users.map((user) => `${user.gpus} × ${user.pipeline}.${user.vertex}`),
  ];
}
