/** What the API server says of a pipeline's Deployments and pods, as it happens, in the order in which it happened. */
import { KubeConfig, Watch } from "@kubernetes/client-node";
import { PHASE_ANNOTATION, PIPELINE_LABEL, VERTEX_LABEL } from "../../components/plan/labels.ts";
import { until } from "../../dev/platform/wait.ts";

interface Live {
  kind: "Deployment" | "Pod";
  metadata: {
    name: string;
    namespace: string;
    resourceVersion: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
  };
  spec: { replicas?: number };
  status?: { conditions?: Array<{ type: string; status: string }> };
}

/** One change. */
export interface Change {
  /** The API server's own order, over all kinds: etcd's revision. */
  at: number;
  type: "ADDED" | "MODIFIED" | "DELETED";
  kind: Live["kind"];
  vertex: string;
  /** Of a Deployment: pods that shall be there. */
  replicas: number;
  phase: string | undefined;
  /** Of a pod. */
  ready: boolean;
}

const PATHS: Array<[Live["kind"], string]> = [
  ["Deployment", "/apis/apps/v1/deployments"],
  ["Pod", "/api/v1/pods"],
];

export class Events {
  readonly #changes: Change[] = [];
  readonly #watches: AbortController[] = [];

  /** Begins to watch a pipeline's, on the cluster of a KUBECONFIG. */
  static async of(env: NodeJS.ProcessEnv, pipeline: string): Promise<Events> {
    const events = new Events();
    const config = new KubeConfig();
    config.loadFromFile(env.KUBECONFIG ?? "");
    for (const [kind, path] of PATHS) {
      const take = (type: string, live: Live) => events.#take(type as Change["type"], { ...live, kind });
      const ended = (error: unknown) => {
        if ((error as Error | null)?.name !== "AbortError") events.#broken = error ?? new Error("the watch ended");
      };
      const watch = new Watch(config);
      // Of silence; an update may well take longer than the client's own 30 s, which it does not let us set.
      Reflect.set(watch, "requestTimeoutMs", 600_000);
      events.#watches.push(await watch.watch(path, { labelSelector: `${PIPELINE_LABEL}=${pipeline}` }, take, ended));
    }
    return events;
  }

  #broken: unknown;

  /** What has happened since `from`, oldest first. */
  since(from: number): Change[] {
    if (this.#broken) throw this.#broken;
    return this.#changes.filter(({ at }) => at > from).sort((a, b) => a.at - b.at);
  }

  /** The newest change. */
  get now(): number {
    return Math.max(0, ...this.#changes.map(({ at }) => at));
  }

  /** Waits for a change, which a watch may tell a little later than whoever made it. @returns when the first one was */
  first(from: number, what: string, is: (change: Change) => boolean): Promise<number> {
    return until({
      what,
      within: 120,
      attempt: async () => {
        const found = this.since(from).find(is);
        if (!found) throw new Error("no such event");
        return found.at;
      },
    });
  }

  /** When the last such change was; `first` tells that there was one. */
  last(from: number, is: (change: Change) => boolean): number {
    return this.since(from).findLast(is)?.at ?? 0;
  }

  close(): void {
    for (const watch of this.#watches) watch.abort();
  }

  #take(type: Change["type"], { kind, metadata, spec, status }: Live): void {
    this.#changes.push({
      at: Number(metadata.resourceVersion),
      type,
      kind,
      vertex: metadata.labels?.[VERTEX_LABEL] ?? "",
      replicas: spec.replicas ?? 0,
      phase: metadata.annotations?.[PHASE_ANNOTATION],
      ready: status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false,
    });
  }
}
