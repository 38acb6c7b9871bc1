/** What lets a vertex' pods have LoRA adapters: a loader beside each engine, and no more rights than it needs. */
import * as k8s from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";
import { ownPodOnly } from "./adapter-admission.ts";
import { POD_IDENTITY } from "./connection.ts";
import type { Inside } from "./inside.ts";
import { API_SERVER } from "./network.ts";
import { ADAPTERS_GATE } from "./plan/adapter.ts";
import { PIPELINE_LABEL, VERTEX_LABEL } from "./plan/labels.ts";
import { grant } from "./rights.ts";

export interface AdapterLoaderArgs {
  /** The port, by name, at which the engine speaks vLLM's HTTP API; it has to be started with `--enable-lora`. */
  port: string;
  /** The loader's image: one with Node.js 24 as `node` on its path, and this package in `/ringfence`. */
  image: pulumi.Input<string>;
  /** What all adapters of a pod may take of its node's disk. @default 10 GiB */
  diskBytes?: number;
}

/** What an adapter has to know of the loaders of a vertex. */
export interface VertexLoader {
  /** As whom they ask the API server. */
  account: pulumi.Output<string>;
  /** The engine's port. */
  port: { name: string; number: number };
}

/** Beside the pods that it is for: what a vertex' pod template gets. */
export interface LoaderParts extends VertexLoader {
  /** A native sidecar: it is there before the engine, and ends after it. */
  sidecar: k8s.types.input.core.v1.Container;
  volumes: k8s.types.input.core.v1.Volume[];
  /** Of the engine's container. */
  volumeMounts: k8s.types.input.core.v1.VolumeMount[];
  env: k8s.types.input.core.v1.EnvVar[];
  readinessGates: k8s.types.input.core.v1.PodReadinessGate[];
  /** What has to be there before a pod is. */
  guards: pulumi.Resource[];
}

/** Where artifacts are, for the loader and for the engine alike. */
const DIRECTORY = "/var/run/ringfence/adapters";
/** The engine has no token: only the loader's container has this directory. */
const TOKEN_DIRECTORY = "/var/run/ringfence/api";
const HEALTH_PORT = 9095;
const PROBE_SECONDS = 5;
/** Seconds; the kubelet renews a token well before its end. */
const TOKEN_SECONDS = 3600;

const MOUNT = { name: "adapters", mountPath: DIRECTORY };

/** Compiled, as the image has it, or the source. */
const ENTRY = `/ringfence/runtime/adapter-loader${import.meta.url.endsWith(".ts") ? ".ts" : ".js"}`;

/** The same for one vertex. */
interface VertexLoaderArgs extends AdapterLoaderArgs {
  vertex: string;
  pipeline: pulumi.Input<string>;
}

/**
 * Makes what the loaders of a vertex need, and the parts of its pods that bring them there.
 * @param inside names and labels of the vertex
 * @param account whom the vertex' pods are already; the loader's own when they are nobody
 */
export function adapterLoader(
  inside: Inside,
  args: VertexLoaderArgs & {
    /** By name. */
    ports: Record<string, number>;
    account: pulumi.Output<string> | undefined;
  },
): LoaderParts {
  const { name, namespace, labels, options } = inside;
  const { vertex, pipeline } = args;
  const port = { name: args.port, number: args.ports[args.port] as number };
  const metadata = { name: `adapters.${vertex}`, namespace, labels };
  const account =
    args.account ??
    new k8s.core.v1.ServiceAccount(
      `${name}-adapters-account`,
      { metadata, automountServiceAccountToken: false },
      options,
    ).metadata.name;
  const rights = grant(
    `${name}-adapters`,
    {
      account,
      metadata,
      rules: [
        // No Secret among them: each adapter lets its own be read, by name.
        { apiGroups: [""], resources: ["pods", "configmaps", "services"], verbs: ["list", "watch"] },
        // Labels and conditions in one write; of a pod's spec it can change nothing.
        { apiGroups: [""], resources: ["pods/status"], verbs: ["patch"] },
        { apiGroups: [""], resources: ["events"], verbs: ["create"] },
      ],
    },
    options,
  );
  const network = new k8s.networking.v1.NetworkPolicy(
    `${name}-adapters-network`,
    {
      metadata,
      spec: {
        podSelector: { matchLabels: { [PIPELINE_LABEL]: pipeline, [VERTEX_LABEL]: vertex } },
        policyTypes: ["Egress"],
        // Stores of artifacts, too: they are on one of its ports.
        egress: [API_SERVER],
      },
    },
    options,
  );
  return {
    account,
    port,
    sidecar: sidecar(args, port.number),
    volumes: [
      { name: "adapters", emptyDir: { sizeLimit: String(args.diskBytes ?? 10 * 2 ** 30) } },
      {
        name: "adapters-api",
        projected: {
          sources: [
            { serviceAccountToken: { path: "token", expirationSeconds: TOKEN_SECONDS } },
            { configMap: { name: "kube-root-ca.crt", items: [{ key: "ca.crt", path: "ca.crt" }] } },
          ],
        },
      },
    ],
    // The engine writes nothing there.
    volumeMounts: [{ ...MOUNT, readOnly: true }],
    env: [{ name: "VLLM_ALLOW_RUNTIME_LORA_UPDATING", value: "True" }],
    readinessGates: [{ conditionType: ADAPTERS_GATE }],
    guards: [rights, network, ...ownPodOnly(inside, { vertex, account })],
  };
}

/** A loader that is slow on a busy node is not away. */
const probe = (path: string) => ({ httpGet: { path, port: HEALTH_PORT }, timeoutSeconds: PROBE_SECONDS });

function sidecar({ vertex, pipeline, image }: VertexLoaderArgs, enginePort: number): k8s.types.input.core.v1.Container {
  return {
    name: "adapter-loader",
    image,
    restartPolicy: "Always",
    command: ["node", ENTRY],
    env: [
      { name: "RINGFENCE_PIPELINE", value: pipeline },
      { name: "RINGFENCE_VERTEX", value: vertex },
      { name: "RINGFENCE_ENGINE_PORT", value: String(enginePort) },
      { name: "RINGFENCE_ADAPTERS_DIRECTORY", value: DIRECTORY },
      { name: "RINGFENCE_ADAPTERS_PORT", value: String(HEALTH_PORT) },
      { name: "RINGFENCE_TOKEN_DIRECTORY", value: TOKEN_DIRECTORY },
      ...POD_IDENTITY,
    ],
    ports: [{ name: "adapters", containerPort: HEALTH_PORT }],
    // Beside the gate: a loader that is away cannot close that one.
    readinessProbe: { ...probe("/ready"), periodSeconds: 2, failureThreshold: 1 },
    livenessProbe: { ...probe("/live"), periodSeconds: 10 },
    resources: { requests: { cpu: "20m", memory: "128Mi" }, limits: { memory: "512Mi" } },
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
    volumeMounts: [MOUNT, { name: "adapters-api", mountPath: TOKEN_DIRECTORY, readOnly: true }],
  };
}
