/** What a loader knows of the cluster, and what it says there: the adapters of its vertex, its pod and that pod's siblings. */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  ADAPTERS_GATE,
  ADAPTERS_LABEL,
  type AdapterRecord,
  adapterRecord,
  failureLines,
  failuresIn,
  LOADED,
  LOADED_LABELS,
  SERVING_ANNOTATION,
  WANTED_KEY,
} from "../components/plan/adapter.ts";
import { PIPELINE_LABEL, VERTEX_LABEL } from "../components/plan/labels.ts";
import { parse } from "../components/plan/problem.ts";
import { type ApiAccess, KubernetesApi, type KubernetesObject } from "../components/stores/kubernetes-api.ts";
import { Watched } from "../components/stores/kubernetes-watch.ts";

export interface ClusterOptions {
  /** The API server, and the directory with the pod's `token` and the server's `ca.crt`. */
  server: string;
  tokenDirectory: string;
  namespace: string;
  /** The pod's name and uid. */
  pod: string;
  uid: string;
  pipeline: string;
  vertex: string;
  /** Something is another than before. */
  changed: () => void;
  /** A line for whoever reads the logs. */
  say: (line: string) => void;
}

/** A pod of the vertex, as far as it matters who loads what. */
export interface Sibling {
  name: string;
  /** Whether it has no deletion under way. */
  stays: boolean;
  ready: boolean;
  createdAt: string;
  /** Labels of ours that it has. */
  loaded: Set<string>;
  /** Why it could not load which, by the engine's name of each. */
  failures: Map<string, string>;
}

export interface View {
  /** What shall be loaded: what serves, then what is wanted beside it. */
  records: AdapterRecord[];
  pods: Sibling[];
}

/** What the pod says of itself. */
export interface Word {
  /** The labels of what is loaded. */
  labels: string[];
  /** Whether the readiness gate lets the pod be ready. */
  open: boolean;
  failures: Array<[name: string, why: string]>;
}

export class Cluster {
  readonly #options: ClusterOptions;
  readonly #kubernetes: KubernetesApi;
  readonly #watches: { wanted: Watched; serving: Watched; pods: Watched };
  #said = new Set<string>();

  constructor(options: ClusterOptions) {
    this.#options = options;
    const { server, tokenDirectory, namespace, pipeline, vertex, changed, say } = options;
    this.#kubernetes = new KubernetesApi(asPod(server, tokenDirectory));
    const watch = (kind: string, selector: string) =>
      Watched.start(this.#kubernetes, {
        path: `/api/v1/namespaces/${namespace}/${kind}`,
        selector,
        changed,
        failed: (error) => say(`watching ${kind}: ${error.message}`),
      });
    this.#watches = {
      wanted: watch("configmaps", `${ADAPTERS_LABEL}=${vertex}`),
      serving: watch("services", `${ADAPTERS_LABEL}=${vertex}`),
      pods: watch("pods", `${PIPELINE_LABEL}=${pipeline},${VERTEX_LABEL}=${vertex}`),
    };
  }

  /** Undefined until all of it was read once. */
  view(): View | undefined {
    const [wanted, serving, pods] = [this.#watches.wanted, this.#watches.serving, this.#watches.pods].map((watched) =>
      watched.items(),
    );
    if (!wanted || !serving || !pods) return undefined;
    const records = new Map<string, AdapterRecord>();
    // What serves comes first: a new pod has the earlier generation, too, as long as requests name it.
    for (const object of [...serving, ...wanted]) {
      const record = this.#recordOf(object);
      if (record) records.set(`${record.adapter} ${record.generation}`, record);
    }
    return { records: [...records.values()], pods: pods.map(siblingOf) };
  }

  /** What the pod's labels and its readiness gate say, as far as this process knows. */
  own(): { labels: Set<string>; open: boolean; message: string } | undefined {
    const pod = this.#watches.pods.items()?.find(({ metadata }) => metadata.name === this.#options.pod);
    if (!pod) return undefined;
    const gate = conditionsOf(pod).find(({ type }) => type === ADAPTERS_GATE);
    return { labels: siblingOf(pod).loaded, open: gate?.status === "True", message: gate?.message ?? "" };
  }

  /**
   * Labels and gate in one write, so that none of them is ever true without the other.
   * @param had labels that go when they are not among the new ones
   */
  async speak(word: Word, had: Iterable<string>): Promise<void> {
    const { namespace, pod, uid } = this.#options;
    const gone = [...had].filter((label) => !word.labels.includes(label));
    const labels = Object.fromEntries([
      ...gone.map((label) => [label, null]),
      ...word.labels.map((label) => [label, LOADED]),
    ]);
    const condition = {
      type: ADAPTERS_GATE,
      status: word.open ? "True" : "False",
      reason: word.open ? "Settled" : "Unsettled",
      message: failureLines(word.failures),
      lastTransitionTime: new Date().toISOString(),
    };
    const path = `/api/v1/namespaces/${namespace}/pods/${pod}/status`;
    // The uid is compared by the API server: a namesake of the pod is another pod.
    await this.#kubernetes.patch(path, { metadata: { uid, labels }, status: { conditions: [condition] } });
  }

  /** Tells of an adapter in an Event of the pod; a failure to do so is only logged. */
  async tell(type: "Normal" | "Warning", reason: string, message: string): Promise<void> {
    const { namespace, pod, uid, say } = this.#options;
    say(message);
    const now = new Date().toISOString();
    const event = {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name: `${pod}.${randomBytes(8).toString("hex")}`, namespace },
      involvedObject: { apiVersion: "v1", kind: "Pod", name: pod, namespace, uid },
      type,
      reason,
      message: message.slice(0, 1024),
      source: { component: "ringfence-adapter-loader" },
      firstTimestamp: now,
      lastTimestamp: now,
      count: 1,
    };
    await this.#kubernetes
      .create(`/api/v1/namespaces/${namespace}/events`, event)
      .catch((error: Error) => say(`no Event: ${error.message}`));
  }

  /** What an artifact's store asks for. @throws StoreError when the Secret cannot be read */
  async credentials(secret: string | undefined): Promise<Record<string, string>> {
    if (secret === undefined) return {};
    const path = `/api/v1/namespaces/${this.#options.namespace}/secrets/${secret}`;
    const { data = {} } = ((await this.#kubernetes.get(path)) ?? {}) as { data?: Record<string, string> };
    return Object.fromEntries(Object.entries(data).map(([key, text]) => [key, Buffer.from(text, "base64").toString()]));
  }

  stop(): void {
    for (const watched of Object.values(this.#watches)) watched.stop();
  }

  #recordOf(object: KubernetesObject): AdapterRecord | undefined {
    const { name, annotations } = object.metadata;
    const text = annotations?.[SERVING_ANNOTATION] ?? (object.data as Record<string, string> | undefined)?.[WANTED_KEY];
    try {
      return parse(adapterRecord, JSON.parse(text ?? ""), name);
    } catch (error) {
      const line = `'${name}' is no adapter's record: ${(error as Error).message}`;
      if (!this.#said.has(line)) this.#options.say(line);
      this.#said.add(line);
      return undefined;
    }
  }
}

interface Condition {
  type: string;
  status: string;
  message?: string;
}

const conditionsOf = ({ status }: KubernetesObject) =>
  (status as { conditions?: Condition[] } | undefined)?.conditions ?? [];

function siblingOf(pod: KubernetesObject): Sibling {
  const { name, labels = {}, deletionTimestamp, creationTimestamp } = pod.metadata;
  const conditions = conditionsOf(pod);
  return {
    name,
    stays: deletionTimestamp === undefined,
    ready: conditions.some(({ type, status }) => type === "Ready" && status === "True"),
    createdAt: String(creationTimestamp ?? ""),
    loaded: new Set(Object.keys(labels).filter((label) => label.startsWith(LOADED_LABELS))),
    failures: failuresIn(conditions.find(({ type }) => type === ADAPTERS_GATE)?.message),
  };
}

/** As the pod. Its token is read again for each request: the kubelet renews it, and the authority's certificate. */
function asPod(server: string, directory: string): ApiAccess {
  const read = (name: string) => readFile(join(directory, name), "utf8");
  return {
    server,
    options: async () => {
      const [ca, token] = await Promise.all([read("ca.crt"), read("token")]);
      return { ca, headers: { authorization: `Bearer ${token.trim()}` } };
    },
    correct: `the pod's token in ${directory}, and what its NetworkPolicies let out`,
  };
}
