/**
 * Who tells which pods serve an adapter. Ringfence: a loader beside each engine labels its pod, and Kubernetes' endpoint controller
 * follows the labels. The others as AIBrix' controller has had them, one process for all pods, written after ../shared/facts/numaflow-aibrix.md
 * (pkg/controller/modeladapter at e3e10f9e): it loads, and writes an EndpointSlice by hand.
 */
import type { KubernetesObject } from "@kubernetes/client-node";

// biome-ignore lint/suspicious/noExplicitAny: Kubernetes objects are read field by field
export type Fields = any;

/** What a central controller works with. */
export interface Hands {
  namespace: string;
  /** The pods of its way, as its watch has them. */
  pods(): Fields[];
  /** The base URL of a pod's engine. */
  engineOf(pod: Fields): string;
  write(slice: KubernetesObject): Promise<void>;
}

/** How long a controller waits for an engine, milliseconds. */
export const PATIENCE_MS = 5_000;

export const isReady = ({ metadata, status }: Fields): boolean =>
  !metadata.deletionTimestamp &&
  (status?.conditions ?? []).some(({ type, status }: Fields) => type === "Ready" && status === "True");

/** Has it loaded, as the name that the engine lists tells. @throws when the engine does not do it in time */
export async function loadCentrally(engine: string, name: string, path: string): Promise<void> {
  const ask = (url: string, body?: object) =>
    fetch(engine + url, {
      signal: AbortSignal.timeout(PATIENCE_MS),
      ...(body && { method: "POST", body: JSON.stringify(body) }),
    });
  const { data } = (await (await ask("/v1/models")).json()) as { data: Array<{ id: string }> };
  if (data.some(({ id }) => id === name)) return;
  const { status } = await ask("/v1/load_lora_adapter", { lora_name: name, lora_path: path });
  if (status !== 200) throw new Error(`${engine} answered ${status}`);
}

const sliceOf = (service: string, addresses: string[]): Fields => ({
  apiVersion: "discovery.k8s.io/v1",
  kind: "EndpointSlice",
  metadata: { name: `${service}-by-hand`, labels: { "kubernetes.io/service-name": service } },
  addressType: "IPv4",
  ports: [{ name: "http", port: 8000 }],
  endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready: true } })),
});

/** Each reconcile loads where it is lacking and adds that pod's address; none is ever taken out (as before #1132). */
export function append(hands: Hands, service: string, adapter: { name: string; path: string }) {
  const addresses: string[] = [];
  return async () => {
    for (const pod of hands.pods().filter(isReady)) {
      if (addresses.includes(pod.status.podIP)) continue;
      try {
        await loadCentrally(hands.engineOf(pod), adapter.name, adapter.path);
      } catch {
        continue;
      }
      addresses.push(pod.status.podIP);
      await hands.write(sliceOf(service, addresses));
    }
  };
}

/** Each reconcile loads on all instances in turn, then writes all of them; with none it returns before that (as at e3e10f9e). */
export function rebuild(hands: Hands, service: string, adapter: { name: string; path: string }) {
  return async () => {
    const loaded: string[] = [];
    for (const pod of hands.pods().filter(isReady)) {
      try {
        await loadCentrally(hands.engineOf(pod), adapter.name, adapter.path);
        loaded.push(pod.status.podIP);
      } catch {
        // It is tried again with the next reconcile.
      }
    }
    if (loaded.length > 0) await hands.write(sliceOf(service, loaded));
  };
}
