/** What runs a model in a worker of Dynamo's. */
import type * as pulumi from "@pulumi/pulumi";

/** What a worker does of a request: all of it, or one of its two parts. */
export type Role = "aggregated" | "prefill" | "decode";

/** An engine with a model: how a graph starts a worker of it. */
export interface Engine {
  /** As clients name the model in their requests. */
  model: string;
  image: pulumi.Input<string>;
  /** The program and its first arguments; the process itself, no shell, for a shell passes no SIGTERM on. */
  command: string[];
  /** @param gpus of each pod */
  args(role: Role, gpus: number): string[];
}

export interface VllmArgs {
  /** As Hugging Face names it (`deepseek-ai/DeepSeek-R1-Distill-Llama-8B`), or a path in the image. */
  model: string;
  /** @default NVIDIA's vllm-runtime, of the release that these graphs are written for */
  image?: pulumi.Input<string>;
  /** For every worker, after the graph's own: vLLM takes the last of a flag that comes twice. @default [] */
  args?: string[];
}

/** The release of Dynamo whose flags, variables and probes these graphs use. */
export const RELEASE = "1.4.0";

/** The key-value cache goes from prefill to decode straight between GPUs, over NIXL. */
const TRANSFER = JSON.stringify({ kv_connector: "NixlConnector", kv_role: "kv_both" });

/**
 * Without it vLLM tells nobody which prefixes it has in its cache, and the router's `kv` mode guesses. Dynamo's own part of the
 * worker reads it in the pod and passes it on to the event plane; decode workers have none to tell of.
 */
const CACHE_EVENTS = JSON.stringify({
  publisher: "zmq",
  topic: "kv-events",
  endpoint: "tcp://*:20080",
  enable_kv_cache_events: true,
});

/** How an engine spreads one model over several GPUs; whoever says one of them has thought of it. */
const SPREAD = /^(-tp|-pp|-dp|--(tensor|pipeline|data)[-_]parallel[-_]size)(=|$)/;

/** Workers that run a model by vLLM. */
export const vllm = ({ model, image, args = [] }: VllmArgs): Engine => ({
  model: servedName(args) ?? model,
  image: image ?? `nvcr.io/nvidia/ai-dynamo/vllm-runtime:${RELEASE}`,
  command: ["python3", "-m", "dynamo.vllm"],
  args: (role, gpus) => [
    "--model",
    model,
    ...(role === "aggregated" ? [] : ["--disaggregation-mode", role, "--kv-transfer-config", TRANSFER]),
    ...(role === "decode" ? [] : ["--kv-events-config", CACHE_EVENTS]),
    ...(gpus > 1 && !args.some((word) => SPREAD.test(word)) ? ["--tensor-parallel-size", String(gpus)] : []),
    ...args,
  ],
});

/** The name that clients use, when it is not the model's. */
function servedName(args: string[]): string | undefined {
  const at = args.findLastIndex((word) => /^--served[-_]model[-_]name(=|$)/.test(word));
  return at < 0 ? undefined : (args[at]?.split("=")[1] ?? args[at + 1]);
}
