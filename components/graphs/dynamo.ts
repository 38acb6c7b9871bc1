/**
 * Ready graphs of NVIDIA Dynamo: what its operator would make of them (ai-dynamo/dynamo, deploy/operator/internal/dynamo,
 * component_{frontend,worker}.go), as vertices of a pipeline. Everything in them can be overridden where they are spread.
 */
import * as pulumi from "@pulumi/pulumi";
import type { AvailabilityInput } from "../plan/availability.ts";
import { dynamoGraphSpec } from "../plan/dynamo-graph.ts";
import { FRONTEND } from "../plan/planes.ts";
import { InvalidSpec, problemsSoFar } from "../plan/problem.ts";
import { type Engine, RELEASE, type Role } from "./engine.ts";

export { type Engine, type VllmArgs, vllm } from "./engine.ts";

type Variables = Record<string, pulumi.Input<string>>;

/** Processor time and memory, as Kubernetes writes them: `500m`, `16Gi`. */
export interface Amounts {
  cpu?: pulumi.Input<string>;
  memory?: pulumi.Input<string>;
}

/** What all parts of a graph can be told. */
export interface PartArgs {
  /** Pods while the pipeline runs. @default 1 */
  replicas?: pulumi.Input<number>;
  /** @default the engine's, and NVIDIA's dynamo-frontend for a frontend */
  image?: pulumi.Input<string>;
  /** They go before the graph's own of the same names. @default {} */
  env?: Variables;
  /** @default none */
  resources?: { requests?: Amounts; limits?: Amounts };
  /** Of `/dev/shm`, in memory: a bound, not a reservation. @default 8 GiB, as Dynamo's operator */
  sharedMemoryBytes?: number;
  /** How its pods end. @default the pipeline's */
  availability?: AvailabilityInput;
}

/** A pool by its name, as GpuPool has one. */
interface NamedPool {
  readonly name: string;
}

export interface WorkerArgs<Pool extends NamedPool = NamedPool> extends PartArgs {
  /** The nodes to run on. */
  pool: Pool;
  /** Of each pod. vLLM spreads the model over them, unless the engine's arguments say how. @default 1 */
  gpus?: number;
  /** For this part's workers, after the engine's own. @default [] */
  args?: string[];
}

export interface GraphArgs {
  /** What runs the model: `dynamo.vllm({ model })`. */
  engine: Engine;
  /** Serves HTTP, pre-processes and routes. @default one pod */
  frontend?: PartArgs;
  /**
   * Seconds that a worker may take to load its model, until it is started anew; `up` waits as long. @default 7200, as Dynamo's
   * operator
   */
  startupSeconds?: number;
  /** For models that are not public; becomes HF_TOKEN, from a Secret. @default none */
  huggingFaceToken?: pulumi.Input<string>;
}

export interface AggregatedArgs<Pool extends NamedPool> extends GraphArgs {
  /** Workers that do all of a request. */
  worker: WorkerArgs<Pool>;
}

export interface DisaggregatedArgs<Pool extends NamedPool> extends GraphArgs {
  /** Workers that read the prompt. */
  prefill: WorkerArgs<Pool>;
  /** Workers that write the answer. */
  decode: WorkerArgs<Pool>;
}

const HTTP_PORT = 8000;
const SYSTEM_PORT = 9090;
/** Pinned, so that a NetworkPolicy can name them: else the system chooses. */
const RESPONSES_PORT = 9091;
const REQUESTS_PORT = 9092;

const SHARED_MEMORY = 8 * 2 ** 30;
/** The user of NVIDIA's images. */
const FS_GROUP = 1000;
const DEFAULT_STARTUP = 7200;
/** Models and tokenizers come from Hugging Face. */
const DOWNLOADS = [443];

/** One kind of worker, and frontends that route to the one whose cache has most of a prompt. */
export function aggregated<Pool extends NamedPool>(args: AggregatedArgs<Pool>) {
  judge("aggregated", args, ["worker"]);
  return graph(args, { frontend: frontend(args), worker: worker(args, args.worker, "aggregated") });
}

/** Workers that read prompts and workers that write answers, so that neither waits for the other's kind of work. */
export function disaggregated<Pool extends NamedPool>(args: DisaggregatedArgs<Pool>) {
  judge("disaggregated", args, ["prefill", "decode"]);
  const { prefill, decode } = args;
  return graph(args, {
    frontend: frontend(args),
    prefill: worker(args, prefill, "prefill"),
    decode: worker(args, decode, "decode"),
  });
}

/** What a Pipeline is made of: spread it into its args. Its planes are the pipeline's to say: the graphs suit all of them. */
function graph<Vertices>({ engine }: GraphArgs, vertices: Vertices) {
  const message = { role: "user", content: "Say hello." };
  const body = JSON.stringify({ model: engine.model, messages: [message], max_tokens: 16 });
  const endpoint = { vertex: FRONTEND, port: "http", path: "/v1/chat/completions", body };
  return { vertices, endpoint };
}

function frontend(args: GraphArgs) {
  const given = args.frontend ?? {};
  const get = (path: string) => ({ path, port: "http" });
  return {
    ...common(args, given),
    image: given.image ?? `nvcr.io/nvidia/ai-dynamo/dynamo-frontend:${RELEASE}`,
    command: ["python3", "-m", "dynamo.frontend"],
    component: FRONTEND,
    env: {
      DYN_HTTP_PORT: String(HTTP_PORT),
      DYN_TCP_RESPONSE_STREAM_PORT: String(RESPONSES_PORT),
      DYN_ROUTER_MODE: "kv",
      ...given.env,
    },
    ports: { http: HTTP_PORT, responses: RESPONSES_PORT },
    open: { cluster: ["http"], world: DOWNLOADS },
    probes: {
      startup: { ...get("/live"), failureThreshold: 30 },
      liveness: { ...get("/live"), timeoutSeconds: 3 },
      readiness: { ...get("/health"), timeoutSeconds: 3 },
    },
  };
}

function worker<Pool extends NamedPool>(args: GraphArgs, given: WorkerArgs<Pool>, role: Role) {
  const { engine } = args;
  const { pool, gpus = 1 } = given;
  const get = (path: string) => ({ path, port: "system" });
  return {
    ...common(args, given),
    image: given.image ?? engine.image,
    command: engine.command,
    args: [...engine.args(role, gpus), ...(given.args ?? [])],
    component: role === "prefill" ? "prefill" : "backend",
    env: {
      DYN_SYSTEM_PORT: String(SYSTEM_PORT),
      DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS: '["generate"]',
      DYN_TCP_RPC_PORT: String(REQUESTS_PORT),
      ...given.env,
    },
    pool,
    gpus,
    ports: { system: SYSTEM_PORT, requests: REQUESTS_PORT },
    // The cache goes from GPU to GPU over UCX, which binds ports as it likes.
    open: { cluster: [], world: DOWNLOADS, tenant: role === "aggregated" ? [] : ("any" as const) },
    probes: {
      // Until it is over nothing else is asked.
      startup: {
        ...get("/live"),
        timeoutSeconds: 5,
        failureThreshold: Math.ceil((args.startupSeconds ?? DEFAULT_STARTUP) / 10),
      },
      liveness: { ...get("/live"), periodSeconds: 5, timeoutSeconds: 4 },
      readiness: { ...get("/health"), timeoutSeconds: 4 },
    },
  };
}

const common = (
  { huggingFaceToken }: GraphArgs,
  { replicas, resources, sharedMemoryBytes, availability }: PartArgs,
) => ({
  replicas: replicas ?? 1,
  ...(resources && { resources }),
  sharedMemoryBytes: sharedMemoryBytes ?? SHARED_MEMORY,
  fsGroup: FS_GROUP,
  ...(availability && { availability }),
  ...(huggingFaceToken !== undefined && { secretEnv: { HF_TOKEN: huggingFaceToken } }),
});

/** Says at once what is plainly wrong; a pipeline judges what its vertices become. */
function judge(name: "aggregated" | "disaggregated", args: object, workers: string[]): void {
  const plain = Object.fromEntries(
    Object.entries(args).map(([key, given]) => {
      if (!workers.includes(key)) return [key, given];
      return [key, { ...given, ...(given?.pool && { pool: given.pool.name }) }];
    }),
  );
  // An engine is made by its own function.
  const written = { ...plain, graph: name, engine: { model: (plain.engine as Engine | undefined)?.model } };
  const problems = problemsSoFar(dynamoGraphSpec, written, `dynamo.${name}`);
  if (problems.length > 0) throw new pulumi.RunError(new InvalidSpec(problems).message);
}
