/** For each policy a stack that violates it and one that does not: for the policy alone, and through the real engine. */
import { PHASE_ANNOTATION, PIPELINE_LABEL, VERTEX_LABEL } from "../../components/plan/labels.ts";
import { ETCD_PREFIX } from "../../policy/stack/ringfence.ts";
import { JWT, natsCreds, PASSWORD } from "./creds.ts";
import {
  brokered,
  budget,
  configMap,
  deployment,
  env,
  frontend,
  ledger,
  namespace,
  namespaceOf,
  object,
  prefixOf,
  quota,
  secret,
  tenant,
  worker,
} from "./sketches.ts";
import type { Sketch } from "./stack.ts";

export interface Case {
  violating: Sketch[];
  /** The only message for it. */
  message: string;
  compliant: Sketch[];
}

const [ACCOUNT, FOREIGN] = [`A${"E".repeat(55)}`, `A${"F".repeat(55)}`] as const;
/** As a cluster has it, and as the provider hands it to policies, in whichever way it was written. */
const credentials = (namespace: string, text: string): Sketch =>
  object({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "creds", namespace },
    data: { "nats.creds": Buffer.from(text).toString("base64") },
  });
const vertex = (phase: string, workload: Parameters<typeof deployment>[0]) =>
  deployment({
    namespace: "paused",
    labels: { [PIPELINE_LABEL]: "paused", [VERTEX_LABEL]: workload?.name ?? "web" },
    annotations: { [PHASE_ANNOTATION]: phase },
    ...workload,
  });

export const cases: Record<string, Case> = {
  "no-overlapping-tenants": {
    violating: [ledger, ...tenant("team"), ...tenant("inner", { logicalName: "acme/team/inner" })],
    message:
      "inner-claim.logicalName: 'acme/team/inner' overlaps 'acme/team' of 'team-claim' on platform 'prod'; " +
      "give one of the two tenants another realm or name.",
    compliant: [ledger, ...tenant("team"), ...tenant("team-chat")],
  },
  "no-shared-nats-account": {
    violating: [credentials("nats-a", natsCreds(ACCOUNT)), credentials("nats-b", natsCreds(ACCOUNT))],
    message:
      `nats-b/creds.data["nats.creds"]: holds credentials of the NATS account '${ACCOUNT}', for namespace 'nats-b', ` +
      "and 'nats-a/creds' uses it for namespace 'nats-a'; give each pipeline an account of its own.",
    compliant: [
      credentials("nats-a", natsCreds(ACCOUNT)),
      secret({ "nats.creds": natsCreds(ACCOUNT, "frontend") }, { namespace: "nats-a", name: "frontend" }),
      credentials("nats-b", natsCreds(FOREIGN)),
    ],
  },
  "no-foreign-references": {
    violating: [
      ledger,
      ...tenant("chat"),
      deployment({
        name: "spy",
        namespace: "spying",
        container: { env: env({ RINGFENCE_ETCD_PREFIX: `${prefixOf("chat")}models/` }) },
      }),
    ],
    message:
      `spying/spy.spec.template.spec.containers[0].env[0].value: names the etcd prefix '${prefixOf("chat")}' ` +
      "of tenant 'acme/chat'; use what this pipeline's own tenant has.",
    compliant: [
      ledger,
      ...tenant("chat"),
      configMap({ prefix: prefixOf("chat") }, { namespace: namespaceOf("chat") }),
      configMap({ targets: `frontend.${namespaceOf("chat")}.svc:8000` }, { namespace: "monitoring" }),
    ],
  },
  "dynamo-namespaces": {
    violating: [frontend({ namespace: "global" }, { DYN_NAMESPACE: "dynamo" })],
    message:
      "global/frontend.spec.template.spec.containers[0].env[0].value: the Dynamo namespace 'dynamo' means all of them: " +
      "its frontends see every pipeline's models; set DYN_NAMESPACE to the pipeline's own name.",
    compliant: [frontend({ namespace: "own" }, { DYN_NAMESPACE: "own" })],
  },
  "brokered-dynamo-through-proxy": {
    violating: [
      frontend(
        { namespace: "direct" },
        { ...brokered, DYN_NAMESPACE: "direct", ETCD_ENDPOINTS: "https://etcd.platform.svc:2379" },
      ),
    ],
    message:
      "direct/frontend.spec.template.spec.containers[0].env[4].value: 'etcd.platform.svc:2379' is no proxy of this pipeline: " +
      "it lies outside its namespace, and Dynamo reads all of etcd that it reaches; " +
      "point it at an `etcd grpc-proxy --namespace` in the pipeline's own namespace.",
    compliant: [frontend({ namespace: "proxied" }, { ...brokered, DYN_NAMESPACE: "proxied" })],
  },
  "authenticated-stores": {
    violating: [
      deployment({ namespace: "open", container: { env: env({ NATS_SERVER: "tls://nats.platform.svc:4222" }) } }),
    ],
    message:
      "open/web.spec.template.spec.containers[0].env[0].value: names NATS, and nothing to log in with; " +
      "set NATS_AUTH_USERNAME and what belongs to it from a Secret.",
    compliant: [
      deployment({
        namespace: "closed",
        container: {
          env: env({ NATS_SERVER: "tls://nats.platform.svc:4222", NATS_AUTH_CREDENTIALS_FILE: "/creds/nats.creds" }),
        },
      }),
    ],
  },
  "complete-cleanup": {
    violating: [
      {
        type: ETCD_PREFIX,
        name: "orphan-etcd",
        props: { platform: "prod", logicalName: "acme/orphan", generation: "0".repeat(24) },
      },
    ],
    message:
      "orphan-etcd.logicalName: 'acme/orphan' on platform 'prod' has no TenantClaim in this stack, so no release would purge " +
      "what it holds; declare the tenant's claim.",
    compliant: [ledger, ...tenant("kept")],
  },
  "restart-safety": {
    violating: [
      worker({ namespace: "brittle", pod: { terminationGracePeriodSeconds: 30 } }, { DYN_NAMESPACE: "brittle" }),
    ],
    message:
      "brittle/worker.spec.template.spec.terminationGracePeriodSeconds: 30 s until the pod is killed are fewer than its " +
      "shutdown grace of 5 s and 90 s to drain; use 95 or more.",
    compliant: [
      worker({ namespace: "chat", replicas: 2 }, { DYN_NAMESPACE: "chat", ETCD_LEASE_TTL: "10" }),
      budget("worker"),
    ],
  },
  "gpu-scheduling": {
    violating: [
      deployment({
        name: "slice",
        namespace: "slices",
        container: { resources: { limits: { "nvidia.com/mig-1g.5gb": "1" } } },
        pod: {
          nodeSelector: { "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3" },
          tolerations: [{ key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" }],
        },
      }),
    ],
    message:
      "slices/slice.spec.template.spec.containers[0].resources.limits[\"nvidia.com/mig-1g.5gb\"]: the MIG profile '1g.5gb' does " +
      "not exist on 'NVIDIA-H100-80GB-HBM3'; it has 1g.10gb, 1g.10gb.me, 1g.20gb, 2g.20gb, 3g.40gb, 4g.40gb, 7g.80gb.",
    compliant: [
      namespace("gpus"),
      quota({ "requests.nvidia.com/gpu": "8" }, { namespace: "gpus" }),
      worker({ namespace: "gpus" }, { DYN_NAMESPACE: "gpus" }),
    ],
  },
  "lifecycle-agreement": {
    violating: [vertex("Paused", { name: "source", replicas: 0 }), vertex("Running", { name: "worker", replicas: 0 })],
    message:
      "paused/worker.metadata.annotations[\"ringfence.dev/phase\"]: 'Running' is not 'Paused', the phase of 'paused/source' of " +
      "the same pipeline; set the phase on the pipeline only.",
    compliant: [vertex("Paused", { name: "source", replicas: 0 }), vertex("Paused", { name: "worker", replicas: 0 })],
  },
  "no-plain-credentials": {
    violating: [deployment({ namespace: "leaky", container: { env: env({ DB_PASSWORD: PASSWORD }) } })],
    message:
      "leaky/web.spec.template.spec.containers[0].env[0].value: the value of DB_PASSWORD in plain text in an environment " +
      "variable (not shown); keep it in a Secret and refer to that.",
    compliant: [
      deployment({
        namespace: "tight",
        container: { env: env({ DB_PASSWORD: { secretKeyRef: { name: "db", key: "password" } }, MAX_TOKENS: "4096" }) },
      }),
      secret({ token: JWT, password: PASSWORD }, { namespace: "tight" }),
    ],
  },
};
