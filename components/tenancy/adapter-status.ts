/** How the adapters of a pipeline are: what is wanted, what serves, which pods have it, and who fails and why. */
import {
  ADAPTERS_GATE,
  ADAPTERS_LABEL,
  type AdapterRecord,
  adapterRecord,
  failuresIn,
  loadedLabel,
  loadedName,
  SERVING_ANNOTATION,
  WANTED_KEY,
} from "../plan/adapter.ts";
import { VERTEX_LABEL } from "../plan/labels.ts";
import { parse } from "../plan/problem.ts";
import type { KubernetesObject } from "../stores/kubernetes.ts";
import type { Stores } from "./access.ts";

export interface AdapterStatus {
  adapter: string;
  vertex: string;
  /** The generation that shall serve. */
  generation: string;
  /** The generation that does; undefined when there is no Service yet. */
  serving: string | undefined;
  /** Pods that shall have it, pods that have it loaded, and those among them that are ready. */
  wanted: number;
  loaded: number;
  ready: number;
  failures: Array<{ pod: string; why: string }>;
}

/** By name. @param namespace the tenant's */
export async function adapterStatus(stores: Stores, namespace: string): Promise<AdapterStatus[]> {
  const kubernetes = await stores.kubernetes();
  const list = async (kind: string) => {
    const path = `/api/v1/namespaces/${namespace}/${kind}?labelSelector=${encodeURIComponent(ADAPTERS_LABEL)}`;
    return ((await kubernetes.get(path)) as { items?: KubernetesObject[] } | undefined)?.items ?? [];
  };
  const [wanted, serving, pods] = await Promise.all([
    list("configmaps"),
    list("services"),
    kubernetes.pods(namespace, VERTEX_LABEL),
  ]);
  return wanted
    .map((object) => {
      const record = recordIn((object.data as Record<string, string> | undefined)?.[WANTED_KEY], object);
      const vertex = object.metadata.labels?.[ADAPTERS_LABEL] ?? "";
      const service = serving.find(({ metadata }) => metadata.name === record.adapter);
      const served = service && recordIn(service.metadata.annotations?.[SERVING_ANNOTATION], service);
      return {
        adapter: record.adapter,
        vertex,
        generation: record.generation,
        serving: served?.generation,
        ...countOf(record, vertex, pods),
      };
    })
    .sort((a, b) => (a.adapter < b.adapter ? -1 : 1));
}

/** How far a generation has come on the pods of its vertex. */
export function countOf(
  record: AdapterRecord,
  vertex: string,
  all: KubernetesObject[],
): Pick<AdapterStatus, "wanted" | "loaded" | "ready" | "failures"> {
  const pods = all.filter(
    ({ metadata }) => metadata.labels?.[VERTEX_LABEL] === vertex && metadata.deletionTimestamp === undefined,
  );
  const have = pods.filter(({ metadata }) => metadata.labels?.[loadedLabel(record)] !== undefined);
  const failures = pods.flatMap((pod) => {
    const why = failuresIn(conditionOf(pod, ADAPTERS_GATE)?.message).get(loadedName(record));
    return why === undefined ? [] : [{ pod: pod.metadata.name, why }];
  });
  return {
    wanted: record.replicas === "all" ? pods.length : Math.min(record.replicas, pods.length),
    loaded: have.length,
    ready: have.filter((pod) => conditionOf(pod, "Ready")?.status === "True").length,
    failures,
  };
}

const recordIn = (text: string | undefined, { metadata }: KubernetesObject): AdapterRecord =>
  parse(adapterRecord, JSON.parse(text ?? "null"), metadata.name);

const conditionOf = ({ status }: KubernetesObject, type: string) =>
  (status as { conditions?: Array<{ type: string; status: string; message?: string }> } | undefined)?.conditions?.find(
    (condition) => condition.type === type,
  );
