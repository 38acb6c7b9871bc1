/** What lets a vertex' pods have LoRA adapters: a loader beside each engine, and no more rights than it needs. */
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { Inside } from "./inside.ts";
import { ADAPTERS_GATE, LOADED_LABELS } from "./plan/adapter.ts";
import { PIPELINE_LABEL, VERTEX_LABEL } from "./plan/labels.ts";

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
/** Seconds; the kubelet renews a token well before its end. */
const TOKEN_SECONDS = 3600;

/** Compiled, as the image has it, or the source. */
const ENTRY = `/ringfence/runtime/adapter-loader${import.meta.url.endsWith(".ts") ? ".ts" : ".js"}`;

/**
 * @param inside names and labels of the vertex
 * @param account whom the vertex' pods are already; the loader's own when they are nobody
 */
export function adapterLoader(
  inside: Inside,
  args: AdapterLoaderArgs & {
    vertex: string;
    pipeline: pulumi.Input<string>;
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
  const role = new k8s.rbac.v1.Role(
    `${name}-adapters-role`,
    {
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
  const binding = new k8s.rbac.v1.RoleBinding(
    `${name}-adapters-binding`,
    {
      metadata,
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: role.metadata.name },
      subjects: [{ kind: "ServiceAccount", name: account, namespace }],
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
        // The API server, behind its Service on one of these, and stores of artifacts.
        egress: [{ ports: [443, 6443].map((port) => ({ protocol: "TCP", port })) }],
      },
    },
    options,
  );
  const fromField = (variable: string, fieldPath: string) => ({
    name: variable,
    valueFrom: { fieldRef: { fieldPath } },
  });
  const mount = { name: "adapters", mountPath: DIRECTORY };
  return {
    account,
    port,
    sidecar: {
      name: "adapter-loader",
      image: args.image,
      restartPolicy: "Always",
      command: ["node", ENTRY],
      env: [
        { name: "RINGFENCE_PIPELINE", value: pipeline },
        { name: "RINGFENCE_VERTEX", value: vertex },
        { name: "RINGFENCE_ENGINE_PORT", value: String(port.number) },
        { name: "RINGFENCE_ADAPTERS_DIRECTORY", value: DIRECTORY },
        { name: "RINGFENCE_ADAPTERS_PORT", value: String(HEALTH_PORT) },
        { name: "RINGFENCE_TOKEN_DIRECTORY", value: TOKEN_DIRECTORY },
        fromField("POD_NAME", "metadata.name"),
        fromField("POD_NAMESPACE", "metadata.namespace"),
        fromField("POD_UID", "metadata.uid"),
      ],
      ports: [{ name: "adapters", containerPort: HEALTH_PORT }],
      // Beside the gate: a loader that is away cannot close that one.
      readinessProbe: { httpGet: { path: "/ready", port: HEALTH_PORT }, periodSeconds: 2, failureThreshold: 1 },
      livenessProbe: { httpGet: { path: "/live", port: HEALTH_PORT }, periodSeconds: 10 },
      resources: { requests: { cpu: "20m", memory: "128Mi" }, limits: { memory: "512Mi" } },
      securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
      volumeMounts: [mount, { name: "adapters-api", mountPath: TOKEN_DIRECTORY, readOnly: true }],
    },
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
    volumeMounts: [{ ...mount, readOnly: true }],
    env: [{ name: "VLLM_ALLOW_RUNTIME_LORA_UPDATING", value: "True" }],
    readinessGates: [{ conditionType: ADAPTERS_GATE }],
    guards: [binding, network, ...ownPodOnly(inside, { vertex, account })],
  };
}

/** CEL: what a loader may change is its own pod's labels of ours, and its own condition. */
const OURS = `'${LOADED_LABELS}'`;
const RULES = [
  {
    expression:
      "variables.podName == [request.name] && request.subResource == 'status' && request.operation == 'UPDATE'",
    message: "a loader may change the status of its own pod only",
  },
  {
    expression: `variables.news.all(k, k.startsWith(${OURS}) || (k in variables.olds && variables.olds[k] == variables.news[k])) && variables.olds.all(k, k.startsWith(${OURS}) || k in variables.news)`,
    message: `a loader may change labels only that begin with ${LOADED_LABELS}`,
  },
  {
    expression: [
      ...["annotations", "finalizers", "ownerReferences"].map(
        (field) => `object.metadata.?${field} == oldObject.metadata.?${field}`,
      ),
      "object.spec == oldObject.spec",
    ].join(" && "),
    message: "a loader may change no annotation, finalizer, owner or spec",
  },
  {
    expression: [
      "variables.conditions == variables.oldConditions",
      ...[
        "phase",
        "message",
        "reason",
        "hostIP",
        "hostIPs",
        "podIP",
        "podIPs",
        "nominatedNodeName",
        "startTime",
        "qosClass",
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
        "resourceClaimStatuses",
      ].map((field) => `object.status.?${field} == oldObject.status.?${field}`),
    ].join(" && "),
    message: `a loader may change no part of the status but the condition ${ADAPTERS_GATE}`,
  },
];

const others = (of: string) => `${of}.status.?conditions.orValue([]).filter(c, c.type != '${ADAPTERS_GATE}')`;

/**
 * RBAC cannot say "its own": a token is bound to its pod, and the admission compares. Outside of the namespace, so these carry
 * the tenant's generation, by which a release finds what Pulumi has lost.
 */
function ownPodOnly(
  { name, namespace, labels, options }: Inside,
  { vertex, account }: { vertex: string; account: pulumi.Output<string> },
): pulumi.Resource[] {
  const metadata = { name: pulumi.interpolate`adapters.${vertex}.${namespace}.ringfence.dev`, labels };
  const policy = new k8s.admissionregistration.v1.ValidatingAdmissionPolicy(
    `${name}-adapters-policy`,
    {
      metadata,
      spec: {
        failurePolicy: "Fail",
        matchConstraints: {
          resourceRules: [
            { apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE", "UPDATE"], resources: ["pods", "pods/*"] },
          ],
        },
        matchConditions: [
          {
            name: "by-a-loader",
            expression: pulumi.interpolate`request.userInfo.username == 'system:serviceaccount:${namespace}:${account}'`,
          },
        ],
        variables: [
          {
            name: "podName",
            expression: "request.userInfo.?extra['authentication.kubernetes.io/pod-name'].orValue([])",
          },
          { name: "news", expression: "object.metadata.?labels.orValue({})" },
          { name: "olds", expression: "oldObject.metadata.?labels.orValue({})" },
          { name: "conditions", expression: others("object") },
          { name: "oldConditions", expression: others("oldObject") },
        ],
        validations: RULES,
      },
    },
    options,
  );
  const binding = new k8s.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
    `${name}-adapters-policy-binding`,
    {
      metadata,
      spec: {
        policyName: policy.metadata.name,
        validationActions: ["Deny"],
        matchResources: { namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace } } },
      },
    },
    options,
  );
  return [policy, binding];
}
