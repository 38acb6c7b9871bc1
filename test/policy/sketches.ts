/** Short ways to write the resources that policies judge. */
import { createHash } from "node:crypto";
import { GENERATION_LABEL, PHASE_ANNOTATION, PIPELINE_LABEL, VERTEX_LABEL } from "../../components/plan/labels.ts";
import { ETCD_PREFIX, LEDGER, NATS_ACCOUNT, TENANT_CLAIM } from "../../policy/stack/ringfence.ts";
import type { Props, Sketch } from "./stack.ts";

/** A Kubernetes object; its resource is named `namespace/name` unless told otherwise. */
export function object(manifest: Props, name?: string): Sketch {
  const { apiVersion, kind, metadata } = manifest as { apiVersion: string; kind: string; metadata?: Props };
  const group = apiVersion.includes("/") ? apiVersion : `core/${apiVersion}`;
  const own = [metadata?.namespace, metadata?.name].filter(Boolean).join("/");
  return { type: `kubernetes:${group}:${kind}`, name: name ?? own, props: manifest };
}

export const NAMESPACE = "chat";

export const namespace = (name: string, labels: Props = {}): Sketch =>
  object({ apiVersion: "v1", kind: "Namespace", metadata: { name, labels } });

export const configMap = (data: Props, metadata: Props = {}): Sketch =>
  object({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "config", namespace: NAMESPACE, ...metadata },
    data,
  });

export const secret = (stringData: Props, metadata: Props = {}): Sketch =>
  object({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "creds", namespace: NAMESPACE, ...metadata },
    stringData,
  });

/** `{A: "b"}` as Kubernetes lists it; an object is a `valueFrom`. */
export const env = (variables: Props): Props[] =>
  Object.entries(variables).map(([name, value]) =>
    value !== null && typeof value === "object" ? { name, valueFrom: value } : { name, value },
  );

export const fromSecret = (name: string, key: string): Props => ({ secretKeyRef: { name, key } });

export interface Workload {
  name?: string;
  namespace?: unknown;
  kind?: string;
  labels?: Props;
  annotations?: Props;
  replicas?: unknown;
  /** Of the first container. */
  container?: Props;
  /** Of the pod's spec. */
  pod?: Props;
}

/** A Deployment of one container. */
export function deployment(workload: Workload = {}): Sketch {
  const {
    name = "web",
    kind = "Deployment",
    labels = {},
    annotations = {},
    replicas = 1,
    container = {},
    pod = {},
  } = workload;
  const where = "namespace" in workload ? workload.namespace : NAMESPACE;
  const selector = { app: name };
  return object(
    {
      apiVersion: "apps/v1",
      kind,
      metadata: { name, namespace: where, labels: { ...selector, ...labels }, annotations },
      spec: {
        replicas,
        selector: { matchLabels: selector },
        template: {
          metadata: { labels: { ...selector, ...labels } },
          spec: { containers: [{ name: "main", image: "registry.example.com/web:1", ...container }], ...pod },
        },
      },
    },
    [typeof where === "string" ? where : "-", name].join("/"),
  );
}

/** A Dynamo frontend that every policy likes, over the native planes. */
export const frontend = (workload: Workload = {}, variables: Props = {}): Sketch =>
  deployment({
    name: "frontend",
    ...workload,
    container: {
      image: "nvcr.io/nvidia/ai-dynamo/dynamo-frontend:1.4.0",
      command: ["python3", "-m", "dynamo.frontend"],
      env: env({ DYN_NAMESPACE: "chat", DYN_DISCOVERY_BACKEND: "kubernetes", DYN_MIGRATION_LIMIT: "3", ...variables }),
      livenessProbe: { httpGet: { path: "/live", port: 8000 } },
      readinessProbe: { httpGet: { path: "/health", port: 8000 } },
      lifecycle: { preStop: { sleep: { seconds: 10 } } },
      ...workload.container,
    },
    pod: { terminationGracePeriodSeconds: 120, ...workload.pod },
  });

/** A Dynamo worker that every policy likes, with a GPU. */
export const worker = (workload: Workload = {}, variables: Props = {}): Sketch =>
  deployment({
    name: "worker",
    ...workload,
    container: {
      image: "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.4.0",
      command: ["python3", "-m", "dynamo.vllm"],
      args: ["--model", "Qwen/Qwen3-0.6B"],
      env: env({ DYN_NAMESPACE: "chat", DYN_DISCOVERY_BACKEND: "kubernetes", ...variables }),
      resources: { limits: { "nvidia.com/gpu": "1" } },
      startupProbe: { httpGet: { path: "/live", port: 9090 }, periodSeconds: 10, failureThreshold: 720 },
      livenessProbe: { httpGet: { path: "/live", port: 9090 } },
      readinessProbe: { httpGet: { path: "/health", port: 9090 } },
      ...workload.container,
    },
    pod: {
      terminationGracePeriodSeconds: 120,
      nodeSelector: { "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3" },
      tolerations: [{ key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" }],
      ...workload.pod,
    },
  });

/** What a brokered container is told of its stores. */
export const brokered = {
  DYN_DISCOVERY_BACKEND: "etcd",
  DYN_REQUEST_PLANE: "nats",
  ETCD_ENDPOINTS: "https://etcd-proxy:2379",
  ETCD_AUTH_USERNAME: fromSecret("etcd", "username"),
  ETCD_AUTH_PASSWORD: fromSecret("etcd", "password"),
  NATS_SERVER: "tls://nats.platform.svc:4222",
  NATS_AUTH_CREDENTIALS_FILE: "/var/run/ringfence/nats/nats.creds",
};

export const budget = (app: string, metadata: Props = {}): Sketch =>
  object(
    {
      apiVersion: "policy/v1",
      kind: "PodDisruptionBudget",
      metadata: { name: app, namespace: NAMESPACE, ...metadata },
      spec: { maxUnavailable: 1, selector: { matchLabels: { app } } },
    },
    `budget-${app}`,
  );

export const quota = (hard: Props = { "requests.nvidia.com/gpu": "8" }, metadata: Props = {}): Sketch =>
  object({
    apiVersion: "v1",
    kind: "ResourceQuota",
    metadata: { name: "gpus", namespace: NAMESPACE, ...metadata },
    spec: { hard },
  });

export const graph = (spec: Props, metadata: Props = {}, version = "v1alpha1"): Sketch =>
  object({
    apiVersion: `nvidia.com/${version}`,
    kind: "DynamoGraphDeployment",
    metadata: { name: "vllm-agg", namespace: NAMESPACE, ...metadata },
    spec,
  });

/** A generation that only tenants of this name have. */
export const generationOf = (pipeline: string): string =>
  createHash("sha256").update(pipeline).digest("hex").slice(0, 24);

/** The Kubernetes namespace of such a tenant. */
export const namespaceOf = (pipeline: string): string => `${pipeline}-${generationOf(pipeline).slice(0, 8)}`;

export const prefixOf = (pipeline: string): string => `/ringfence/tenants/${generationOf(pipeline)}/`;

/** A tenant of Ringfence as it stands after `up`, in the order that a destroy needs; its namespace has a vertex in it. */
export function tenant(pipeline: string, change: Props = {}): Sketch[] {
  const generation = generationOf(pipeline);
  const logicalName = `acme/${pipeline}`;
  const made = { platform: "prod", logicalName, owner: "0".repeat(24), generation, ...change };
  const [claim, etcd, nats, room] = ["claim", "etcd", "nats", "namespace"].map((part) => `${pipeline}-${part}`) as [
    string,
    string,
    string,
    string,
  ];
  const labels = { [PIPELINE_LABEL]: pipeline, [GENERATION_LABEL]: generation };
  const [prefix, within] = [prefixOf(pipeline), namespaceOf(pipeline)];
  return [
    { type: TENANT_CLAIM, name: claim, props: { ...made, prefix, namespace: within }, dependsOn: ["ledger"] },
    {
      type: ETCD_PREFIX,
      name: etcd,
      props: { ...made, prefix, username: `ringfence.${generation}` },
      dependsOn: [claim],
    },
    {
      type: NATS_ACCOUNT,
      name: nats,
      props: {
        ...made,
        account: `A${generation
          .toUpperCase()
          .replace(/[0189]/g, "Z")
          .padEnd(55, "B")}`,
      },
      dependsOn: [claim],
    },
    { ...namespace(within, labels), name: room, dependsOn: [etcd, nats] },
    {
      ...deployment({
        name: `${pipeline}-worker`,
        namespace: within,
        labels: { ...labels, [VERTEX_LABEL]: "worker" },
        annotations: { [PHASE_ANNOTATION]: "Running" },
      }),
      name: `${pipeline}.worker`,
      dependsOn: [room],
    },
  ];
}

export const ledger: Sketch = { type: LEDGER, name: "ledger", props: { platform: "prod" } };
