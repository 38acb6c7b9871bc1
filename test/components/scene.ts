/** A platform with a pool and a pipeline on it, as most tests want them. */
import { GpuPool, Pipeline, type PipelineArgs, Platform } from "../../components/index.ts";
import type { Fields } from "./engine.ts";

export const platformNamed = (name: string): Platform =>
  new Platform(name, {
    etcd: { endpoints: ["http://admin-etcd:2379"], clusterEndpoints: ["http://etcd:2379", "http://etcd-2:2379"] },
    nats: { servers: ["nats://admin-nats:4222"], clusterServers: ["nats://nats:4222"] },
  });

/** Two vertices: `web` with a port, `worker` with GPUs. */
export function vertices(): PipelineArgs["vertices"] {
  const pool = new GpuPool("h100", { product: "NVIDIA-H100-80GB-HBM3" });
  return {
    web: { image: "frontend:1", ports: { http: 8000 }, env: { LOG: "info" } },
    worker: { image: "vllm:1", command: ["python3"], args: ["-m", "vllm"], replicas: 3, gpus: 2, pool },
  };
}

/** A container's environment variables that have a value of their own. */
export const envOf = (container: Fields): Fields =>
  Object.fromEntries(container.env.map(({ name, value }: Fields) => [name, value]));

export const chat = (change: Partial<PipelineArgs> = {}): Pipeline =>
  new Pipeline("chat", { platform: platformNamed("platform"), vertices: vertices(), ...change });
