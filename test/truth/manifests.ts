/** Every manifest that the components make: each graph on each plane, with pools, quotas, TLS and Observability in turn. */
import { createHash } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";
import {
  dynamo,
  GpuPool,
  type GpuPoolArgs,
  ModelAdapter,
  Observability,
  Pipeline,
  type PipelineArgs,
  Platform,
  type QuotaArgs,
} from "../../components/index.ts";
import type { PlanesInput } from "../../components/plan/planes.ts";
import { type Fields, run, Secret } from "../components/engine.ts";

/** A Kubernetes object, ready to be sent. */
export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string };
}

/** One deployment to look at. */
export interface Case {
  title: string;
  manifests: Manifest[];
}

const H100 = { product: "NVIDIA-H100-80GB-HBM3", nodes: 4, gpusPerNode: 8 };

const POOLS: Record<string, GpuPoolArgs> = {
  "whole GPUs": H100,
  "MIG, single": { ...H100, mig: { profile: "1g.10gb", strategy: "single" }, rollout: "replace" },
  "MIG, mixed": { ...H100, mig: { profile: "3g.40gb", strategy: "mixed" }, priorityClass: "inference" },
  "time-slicing": { ...H100, timeSlicing: { replicas: 4, renamed: true }, spread: { required: true, maxSkew: 2 } },
  "everything set": {
    ...H100,
    memoryMiB: 80_000,
    nodeSelector: { "cloud.example.com/pool": "h100" },
    tolerations: [{ key: "spot", operator: "Exists", effect: "NoSchedule" }],
    priority: 1000,
    spread: { topologyKey: "topology.kubernetes.io/zone" },
  },
};

const QUOTAS: Record<string, QuotaArgs | undefined> = {
  "own quota": undefined,
  "quota given": { gpus: { "nvidia.com/gpu": 64, "nvidia.com/mig-3g.40gb": 64, "nvidia.com/gpu.shared": 64 } },
};

/** Every mixture of planes that there is. */
const PLANES: PlanesInput[] = (["etcd", "kubernetes"] as const).flatMap((discovery) =>
  (["nats", "tcp"] as const).flatMap((requests) =>
    (["nats", "zmq"] as const).map((events) => ({ discovery, requests, events })),
  ),
);

/** The only one for edges. */
const BROKERED: PlanesInput = { discovery: "etcd", requests: "nats", events: "nats" };

type Graph = (pool: GpuPool) => Pick<PipelineArgs, "vertices" | "edges">;

const engine = () =>
  dynamo.vllm({ model: "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", args: ["--max-model-len", "8192"] });

const GRAPHS: Record<string, Graph> = {
  aggregated: (pool) => dynamo.aggregated({ engine: engine(), worker: { pool, replicas: 2 } }),
  disaggregated: (pool) =>
    dynamo.disaggregated({
      engine: engine(),
      frontend: { replicas: 2, resources: { requests: { cpu: "2", memory: "4Gi" }, limits: { memory: "8Gi" } } },
      prefill: { pool, gpus: 1, env: { LOG: "debug" } },
      decode: { pool, gpus: 1, replicas: 3 },
      huggingFaceToken: pulumi.secret("hf_token"),
    }),
  "written by hand": (pool) => ({
    vertices: {
      web: {
        image: "registry.example.com/web:1",
        ports: { http: 8000, metrics: 9090 },
        open: { cluster: ["http"], tenant: ["metrics"], world: [443] },
        probes: {
          startup: { path: "/live", port: "http", failureThreshold: 30 },
          readiness: { path: "/", port: "http" },
        },
        preStopSleepSeconds: 5,
        resources: { requests: { cpu: "500m", memory: "1Gi" } },
      },
      worker: {
        image: "registry.example.com/worker@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        command: ["python3"],
        args: ["-m", "worker"],
        ports: { http: 8000 },
        adapters: { port: "http", image: "registry.example.com/ringfence:1" },
        env: { LOG: "info" },
        secretEnv: { TOKEN: pulumi.secret("sesame") },
        gpus: 1,
        pool,
        replicas: 2,
        sharedMemoryBytes: 2 ** 30,
        fsGroup: 1000,
      },
      helper: { image: "registry.example.com/helper:1" },
    },
  }),
  "with edges": (pool) => {
    const image = "registry.example.com/flow:1";
    return {
      vertices: {
        in: { image, kind: "source" },
        cat: { image, kind: "processor", partitions: 2, gpus: 1, pool, scale: { min: 1, max: 3 } },
        out: { image, kind: "sink" },
      },
      edges: [
        { from: "in", to: "cat", edge: "stream" },
        { from: "cat", to: "out", edge: "stream" },
      ],
    };
  },
};

const CERTIFICATE = { cert: "nobody reads it here", key: pulumi.secret("sesame") };
const CA = "-----BEGIN CERTIFICATE-----\nnobody reads it here\n-----END CERTIFICATE-----\n";

/**
 * Each graph on each mixture of planes, twice where its part of etcd can be kept apart in two ways. The other choices change
 * from case to case, so that each of them meets each graph: all products of them would say nothing more.
 */
export async function everyCase(): Promise<Case[]> {
  const cases: Case[] = [];
  let turn = 0;
  for (const [graphName, graph] of Object.entries(GRAPHS))
    for (const planes of graphName === "with edges" ? [BROKERED] : PLANES) {
      const { discovery, requests, events } = planes as Exclude<PlanesInput, string>;
      const byHand = graphName === "written by hand";
      const isolations = byHand && discovery === "etcd" ? (["proxy", "rbac"] as const) : ([undefined] as const);
      for (const isolation of isolations) {
        const [poolName, pool] = nth(POOLS, turn);
        const [quotaName, quota] = nth(QUOTAS, Math.floor(turn / 2));
        const tls = turn % 3 === 1;
        const paused = turn % 5 === 4;
        turn++;
        const words = [graphName, discovery, requests, events, isolation, poolName, quotaName];
        const title = [...words, tls && "TLS", paused && "paused"].filter(Boolean).join(", ");
        const program = () => {
          const platform = platformOf(tls);
          const nodes = new GpuPool("pool", pool, { provider: platform.kubernetes });
          const chat = new Pipeline("chat", {
            platform,
            ...graph(nodes),
            planes,
            ...(isolation && { isolation }),
            ...(isolation === "proxy" && tls && { proxy: { certificate: CERTIFICATE } }),
            ...(quota && { quota }),
            ...(paused && { lifecycle: { desiredPhase: "Paused" } }),
          });
          if (byHand)
            new ModelAdapter("sql", {
              pipeline: chat,
              vertex: "worker",
              baseModel: "llama",
              artifact: "s3://models/sql",
              credentials: { AWS_ACCESS_KEY_ID: "key", AWS_SECRET_ACCESS_KEY: pulumi.secret("sesame") },
            });
          new Observability("watch", {
            platform,
            pipelines: { chat },
            prometheus: { namespace: "monitoring", labels: { release: "prometheus" } },
            grafana: { namespace: "monitoring" },
          });
        };
        cases.push({ title, manifests: await manifestsOf(program) });
      }
    }
  return cases;
}

function platformOf(tls: boolean): Platform {
  const trust = tls ? { tls: { ca: CA } } : {};
  return new Platform("platform", {
    etcd: { endpoints: [`http${tls ? "s" : ""}://etcd.ringfence-system.svc:2379`], ...trust },
    nats: { servers: [`${tls ? "tls" : "nats"}://nats.ringfence-system.svc:4222`], ...trust },
  });
}

function nth<T>(choices: Record<string, T>, turn: number): [string, T] {
  const entries = Object.entries(choices);
  return entries[turn % entries.length] as [string, T];
}

/** What a program asks Kubernetes for. */
async function manifestsOf(program: () => unknown): Promise<Manifest[]> {
  const registered = [...(await run(program)).values()];
  const objects = registered.filter(({ type, inputs }) => type.startsWith("kubernetes:") && inputs.kind);
  // Where a program gives no name, Pulumi makes one of the resource's.
  return objects.map(({ name, inputs }) => plain({ ...inputs, metadata: { name, ...inputs.metadata } }) as Manifest);
}

/** Secrets as the provider sends them, and generations as they are, where the mock engine's are readable. */
function plain(value: unknown): unknown {
  if (value instanceof Secret) return plain(value.value);
  if (typeof value === "string")
    return value.replace(/gen-of-[\w/-]+/g, (name) => createHash("sha256").update(name).digest("hex").slice(0, 24));
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  const fields = Object.entries(value as Fields).filter(([, field]) => field !== undefined);
  return Object.fromEntries(fields.map(([key, field]) => [key, plain(field)]));
}
