/** What a stack's state has of an environment: its pools, its pipelines with their boundaries, who may talk to whom. */
import { GENERATION_LABEL, PHASE_ANNOTATION, PIPELINE_LABEL, VERTEX_LABEL } from "../components/plan/labels.ts";
import { PROXY_NAME } from "../components/plan/names.ts";
import { componentType, dynamicType } from "../components/plan/type-tokens.ts";
import { STATE_VERSIONS } from "./from-state.ts";

export interface Environment {
  project: string;
  stack: string;
  pools: MappedPool[];
  pipelines: MappedPipeline[];
}

export interface MappedPool {
  name: string;
  /** The labels that its nodes are told by. */
  nodes: Record<string, string>;
  /** Vertices on it, with the GPUs that their pods take together. */
  users: Array<{ pipeline: string; vertex: string; gpus: number }>;
}

export interface MappedPipeline {
  /** Of its claim: no two have the same. */
  generation: string;
  name: string;
  /** Under which it is claimed. */
  logicalName: string;
  phase: string;
  namespace: string;
  vertices: MappedVertex[];
  /** Its part of etcd, in use or not; undefined when it has not been made. */
  etcd?: { prefix: string; used: boolean };
  nats?: { account: string; used: boolean };
  /** Pods of its etcd proxy; undefined without one. */
  proxies?: number;
  /** Whether its pods ask the Kubernetes API. */
  native: boolean;
  /** Whether its network is closed but for what is listed. */
  closed: boolean;
}

export interface MappedVertex {
  name: string;
  wanted: number;
  ready: number;
  /** Of each pod. */
  gpus: number;
  pool?: string;
  /** Name → number. */
  ports: Record<string, number>;
  /** Who may connect from outside of the pipeline, and to which ports. */
  from: Array<{ source: string; ports: string }>;
  /** Ports that the pipeline's other vertices may connect to; undefined for none. */
  tenant?: string;
  /** Ports that it may call anywhere. */
  world?: string;
}

/** One resource of an exported state; a secret is an object where a text would be. */
interface Resource {
  urn: string;
  type: string;
  inputs?: Fields;
  outputs?: Fields;
}
// biome-ignore lint/suspicious/noExplicitAny: manifests are read field by field, and whatever is not there is left out
type Fields = Record<string, any>;

/**
 * @param exported what `pulumi stack export` prints, with or without its secrets
 * @throws when it is no state, or one that is not understood here
 */
export function environmentOf(exported: unknown): Environment {
  const { version, deployment } = (exported ?? {}) as { version?: number; deployment?: { resources?: Resource[] } };
  if (!deployment || !STATE_VERSIONS.includes(version ?? 0))
    throw new Error(
      `found a state of version ${version ?? "none"}; known are ${STATE_VERSIONS.join(" and ")}, as 'pulumi stack export' prints them`,
    );
  const resources = (deployment.resources ?? []).filter(({ urn, type }) => urn && type);
  const of = (type: string) => resources.filter((resource) => resource.type === type);
  const [, , stack = "?", project = "?"] = resources[0]?.urn.split(/:+/) ?? [];

  const pools: MappedPool[] = of(componentType("GpuPool")).map(({ urn, outputs }) => ({
    name: nameOf(urn),
    nodes: texts(outputs?.nodeSelector),
    users: [],
  }));
  const pipelines = of(dynamicType("TenantClaim")).flatMap(({ urn, outputs = {} }) => {
    const generation = text(outputs.generation);
    return generation ? [pipelineOf(urn, outputs, generation, resources, pools)] : [];
  });
  pools.sort(byName);
  pipelines.sort(byName);
  for (const { name, vertices } of pipelines) {
    for (const { name: vertex, pool, gpus, wanted } of vertices)
      pools.find((one) => one.name === pool)?.users.push({ pipeline: name, vertex, gpus: gpus * wanted });
  }
  return { project, stack, pools, pipelines };
}

/** A state has its resources in the order in which they happened to be done. */
const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);

/** Those that most may enter from outside come first: there requests begin. */
const byEntrance = (a: MappedVertex, b: MappedVertex): number => b.from.length - a.from.length || byName(a, b);

function pipelineOf(
  urn: string,
  claim: Fields,
  generation: string,
  resources: Resource[],
  pools: MappedPool[],
): MappedPipeline {
  const logicalName = text(claim.logicalName) ?? nameOf(urn);
  const part = (name: string) =>
    resources.find(({ type, outputs }) => type === dynamicType(name) && outputs?.generation === generation)?.outputs;
  const objects = (kind: string): Fields[] =>
    resources
      .filter(({ type, inputs }) => type.endsWith(`:${kind}`) && labelsOf(inputs)[GENERATION_LABEL] === generation)
      .map(({ inputs, outputs }) => ({ ...inputs, status: outputs?.status }));
  const secrets = objects("Secret").map(({ metadata }) => text(metadata?.name) ?? "");
  const policies = objects("NetworkPolicy");
  const deployments = objects("Deployment");
  const workloads = deployments.filter((one) => labelsOf(one)[VERTEX_LABEL]);
  const proxy = deployments.find(({ metadata }) => metadata?.name === PROXY_NAME);
  const [prefix, account] = [text(part("EtcdPrefix")?.prefix), text(part("NatsAccount")?.account)];
  return {
    generation,
    name: labelsOf(workloads[0])[PIPELINE_LABEL] ?? logicalName.split("/").at(-1) ?? logicalName,
    logicalName,
    phase: text(workloads[0]?.metadata?.annotations?.[PHASE_ANNOTATION]) ?? "",
    namespace: text(claim.namespace) ?? text(objects("Namespace")[0]?.metadata?.name) ?? "",
    vertices: workloads.map((one) => vertexOf(one, policies, pools)).sort(byEntrance),
    ...(prefix && { etcd: { prefix, used: secrets.includes("etcd") } }),
    ...(account && { nats: { account, used: secrets.some((name) => name.startsWith("nats-")) } }),
    ...(proxy && { proxies: proxy.spec?.replicas ?? 1 }),
    native: objects("RoleBinding").length > 0,
    closed: policies.some(({ spec }) => spec?.podSelector && Object.keys(spec.podSelector).length === 0),
  };
}

function vertexOf({ metadata, spec, status }: Fields, policies: Fields[], pools: MappedPool[]): MappedVertex {
  const labels = texts(metadata?.labels);
  const pod = spec?.template?.spec ?? {};
  const containers: Fields[] = pod.containers ?? [];
  const limits = Object.entries(containers[0]?.resources?.limits ?? {});
  const gpus = limits.find(([resource]) => resource.startsWith("nvidia.com/"))?.[1];
  const selector = texts(pod.nodeSelector);
  const pool = pools.find(({ nodes }) => Object.entries(nodes).every(([label, value]) => selector[label] === value));
  const wanted = Number(spec?.replicas ?? 1);
  const own = policies.filter(({ spec }) => selects(spec?.podSelector, labels));
  const ingress: Fields[] = own.flatMap(({ spec }) => spec?.ingress ?? []);
  // What every vertex may call are the stores, wherever they are.
  const calls = own.filter(({ spec }) => spec?.podSelector?.matchLabels);
  const world = calls.flatMap(({ spec }): Fields[] => (spec?.egress ?? []).filter(({ to }: Fields) => !to));
  const ports: Record<string, number> = Object.fromEntries(
    (containers[0]?.ports ?? []).map(({ name, containerPort }: Fields) => [name ?? "", Number(containerPort)]),
  );
  const from = new Map<string, string[]>();
  for (const rule of ingress) {
    // A rule for every vertex names ports that some do not have.
    const open = portsOf(rule, (port) => typeof port === "number" || Object.hasOwn(ports, port));
    for (const peer of open.length > 0 ? (rule.from ?? [{ namespaceSelector: {} }]) : []) {
      const source = sourceOf(peer);
      from.set(source, [...(from.get(source) ?? []), ...open]);
    }
  }
  const within = from.get(TENANT);
  from.delete(TENANT);
  return {
    name: labels[VERTEX_LABEL] ?? "",
    wanted,
    ready: Math.min(Number(status?.readyReplicas ?? 0), wanted),
    gpus: Number(gpus ?? 0),
    // Vertices without GPUs run anywhere, also where a pool's labels happen to be asked for.
    ...(gpus !== undefined && pool && { pool: pool.name }),
    ports,
    from: [...from].sort().map(([source, open]) => ({ source, ports: joined(open) })),
    ...(within && { tenant: joined(within) }),
    ...(world.length > 0 && { world: joined(world.flatMap((rule) => portsOf(rule))) }),
  };
}

/** How a policy's rule is read that names the pipeline's own pods. */
const TENANT = "tenant";

function sourceOf({ namespaceSelector, podSelector }: Fields): string {
  if (!namespaceSelector) return podSelector ? TENANT : "addresses outside";
  const name = text(namespaceSelector.matchLabels?.["kubernetes.io/metadata.name"]);
  return name ? `pods in ${name}` : "any pod of the cluster";
}

const portsOf = ({ ports }: Fields, counts: (port: string | number) => boolean = () => true): string[] =>
  ports
    ? ports
        .map(({ port }: Fields) => port)
        .filter(counts)
        .map(String)
    : ["any port"];

const joined = (ports: string[]): string => [...new Set(ports)].join(", ");

/** Whether a policy is about this vertex, and not about every vertex or the proxy. */
function selects(selector: Fields | undefined, labels: Record<string, string>): boolean {
  const wanted = Object.entries(texts(selector?.matchLabels));
  const expressions: Fields[] = selector?.matchExpressions ?? [];
  const exists = expressions.every(({ key, operator }) => operator === "Exists" && labels[key] !== undefined);
  return wanted.length + expressions.length > 0 && exists && wanted.every(([key, value]) => labels[key] === value);
}

const nameOf = (urn: string): string => urn.split("::").at(-1) ?? urn;
const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined);
const labelsOf = (object: Fields | undefined): Record<string, string> => texts(object?.metadata?.labels);
const texts = (value: unknown): Record<string, string> =>
  Object.fromEntries(
    Object.entries(value ?? {}).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
  );
