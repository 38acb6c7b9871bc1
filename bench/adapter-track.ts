/** One way of telling which pods serve an adapter, with its pods: processes on the embedded platform. */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { KubernetesObjectApi } from "@kubernetes/client-node";
import { ADAPTERS_GATE, type AdapterRecord, loadedName } from "../components/plan/adapter.ts";
import { PIPELINE_LABEL, VERTEX_LABEL } from "../components/plan/labels.ts";
import type { Kubernetes } from "../components/stores/kubernetes.ts";
import { Watched } from "../components/stores/kubernetes-watch.ts";
import { localAddress } from "../dev/platform/process-pods.ts";
import { until } from "../dev/platform/wait.ts";
import { append, type Fields, isReady, rebuild } from "./adapter-ways.ts";

export const WAYS = ["ringfence", "append", "rebuild"] as const;
export type Way = (typeof WAYS)[number];

/** After which a removal that did not come is taken for one that does not, milliseconds. */
export const NEVER_MS = 10_000;

export interface Place {
  namespace: string;
  record: AdapterRecord;
  kubernetes: Kubernetes;
  objects: KubernetesObjectApi;
  create: (object: Fields) => Promise<void>;
}

/** One way, with its pods. */
export class Track {
  readonly way: Way;
  readonly #place: Place;
  readonly #pods: Watched;
  readonly #slices: Watched;
  readonly #created = new Map<string, number>();
  readonly #readyAt = new Map<string, number>();
  readonly #endedAt = new Map<string, number>();
  /** Of each address, when it was last seen to come or to go. */
  readonly #seen = new Map<string, { listed: boolean; at: number }>();
  readonly #reconcile: (() => Promise<void>) | undefined;
  #again = false;
  #working = false;
  #over = false;

  constructor(way: Way, place: Place) {
    const { namespace, record, kubernetes, objects } = place;
    this.#place = place;
    this.way = way;
    const failed = (error: Error) => console.error(error.message);
    this.#pods = Watched.start(kubernetes, {
      path: `/api/v1/namespaces/${namespace}/pods`,
      selector: `${VERTEX_LABEL}=${way}`,
      changed: () => this.#podsChanged(),
      failed,
    });
    this.#slices = Watched.start(kubernetes, {
      path: `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`,
      selector: `kubernetes.io/service-name=${way}`,
      changed: () => this.#slicesChanged(),
      failed,
    });
    const hands = {
      namespace,
      pods: () => (this.#pods.items() ?? []) as Fields[],
      engineOf,
      write: async (slice: Fields) => {
        const object = { ...slice, metadata: { ...slice.metadata, namespace } };
        await objects.patch(object, undefined, undefined, "bench", true, "application/apply-patch+yaml" as never);
      },
    };
    const adapter = { name: loadedName(record), path: record.artifact };
    this.#reconcile = { ringfence: undefined, append, rebuild }[way]?.(hands, way, adapter);
  }

  /** @returns the name of a new pod */
  async start(env: Record<string, string> = {}): Promise<string> {
    const name = `${this.way}-${randomBytes(3).toString("hex")}`;
    this.#created.set(name, performance.now());
    await this.#place.create(podOf(this.way, name, env));
    return name;
  }

  /** Waits until a pod is an endpoint. */
  async served(name: string): Promise<{ afterReadyMs: number; afterCreationMs: number }> {
    await this.ready(name);
    const address = this.#addressOf(name);
    await this.#until(`${name} is an endpoint`, () => this.#seen.get(address)?.listed === true);
    const { at = Number.NaN } = this.#seen.get(address) ?? {};
    const loadedAt = await loadedAtOf(address, loadedName(this.#place.record));
    const both = Math.max(this.#readyAt.get(name) as number, loadedAt);
    return { afterReadyMs: Math.max(0, at - both), afterCreationMs: at - (this.#created.get(name) as number) };
  }

  /** Waits until a pod is ready. */
  ready(name: string): Promise<void> {
    return this.#until(`${name} is ready`, () => this.#readyAt.has(name));
  }

  /** Ends a pod. @returns milliseconds from the begin of its end until it was no endpoint; infinity when it stays one */
  async end(name: string): Promise<number> {
    const address = this.#addressOf(name);
    const { namespace, objects } = this.#place;
    await objects.delete({ apiVersion: "v1", kind: "Pod", metadata: { name, namespace } });
    await this.#until(`the end of ${name} begins`, () => this.#endedAt.has(name));
    const from = this.#endedAt.get(name) as number;
    while (this.#seen.get(address)?.listed && performance.now() - from < NEVER_MS) await sleep(5);
    const { listed, at } = this.#seen.get(address) ?? { listed: false, at: from };
    return listed ? Number.POSITIVE_INFINITY : Math.max(0, at - from);
  }

  /** Removes a slice that nobody keeps true any more. */
  async forget(): Promise<void> {
    if (!this.#reconcile) return;
    const { namespace, objects } = this.#place;
    const metadata = { name: `${this.way}-by-hand`, namespace };
    await objects.delete({ apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice", metadata }).catch(() => undefined);
  }

  stop(): void {
    this.#over = true;
    this.#pods.stop();
    this.#slices.stop();
  }

  #addressOf(name: string): string {
    const pod = (this.#pods.items() as Fields[]).find(({ metadata }) => metadata.name === name);
    return pod.status.podIP;
  }

  #podsChanged(): void {
    const now = performance.now();
    for (const pod of (this.#pods.items() ?? []) as Fields[]) {
      const { name, deletionTimestamp } = pod.metadata;
      if (isReady(pod) && !this.#readyAt.has(name)) this.#readyAt.set(name, now);
      if (deletionTimestamp && !this.#endedAt.has(name)) this.#endedAt.set(name, now);
    }
    void this.#work();
  }

  #slicesChanged(): void {
    const now = performance.now();
    const listed = new Set(
      ((this.#slices.items() ?? []) as Fields[]).flatMap(({ endpoints }) =>
        (endpoints ?? []).flatMap(({ addresses, conditions }: Fields) => (conditions.ready ? addresses : [])),
      ),
    );
    for (const address of listed)
      if (!this.#seen.get(address)?.listed) this.#seen.set(address, { listed: true, at: now });
    for (const [address, seen] of this.#seen)
      if (seen.listed && !listed.has(address)) this.#seen.set(address, { listed: false, at: now });
  }

  /** One reconcile at a time, and one more when something changed meanwhile: as a controller's work queue does. */
  async #work(): Promise<void> {
    if (!this.#reconcile) return;
    this.#again = true;
    if (this.#working) return;
    this.#working = true;
    while (this.#again && !this.#over) {
      this.#again = false;
      await this.#reconcile().catch((error: Error) => console.error(`${this.way}: ${error.message}`));
    }
    this.#working = false;
  }

  async #until(what: string, holds: () => boolean): Promise<void> {
    await until({
      what,
      within: 90,
      attempt: async () => {
        if (!holds()) throw new Error("not yet");
      },
    });
  }
}

export function engineOf({ status }: Fields): string {
  return `http://${localAddress(status.podIP)}:8000`;
}

/** When an engine finished loading, by this process' clock. */
async function loadedAtOf(address: string, name: string): Promise<number> {
  const answer = await fetch(`http://${localAddress(address)}:8000/stand-in`);
  const { loadedAt } = (await answer.json()) as { loadedAt: Record<string, number> };
  return (loadedAt[name] ?? Number.NaN) - performance.timeOrigin;
}

function podOf(way: Way, name: string, env: Record<string, string>): Fields {
  const ours = way === "ringfence";
  const variables = { PORT: "8000", MODEL: "base", ...env };
  const field = (variable: string, fieldPath: string) => ({ name: variable, valueFrom: { fieldRef: { fieldPath } } });
  const adapters = { name: "adapters", mountPath: "/var/run/ringfence/adapters" };
  const api = { name: "api", mountPath: "/var/run/ringfence/api" };
  const image = "ringfence.dev/bench:1";
  const loader = {
    name: "adapter-loader",
    image,
    restartPolicy: "Always",
    command: ["node", "/ringfence/runtime/adapter-loader.ts"],
    env: [
      { name: "RINGFENCE_PIPELINE", value: "bench" },
      { name: "RINGFENCE_VERTEX", value: way },
      { name: "RINGFENCE_ENGINE_PORT", value: "8000" },
      { name: "RINGFENCE_ADAPTERS_DIRECTORY", value: adapters.mountPath },
      { name: "RINGFENCE_ADAPTERS_PORT", value: "9095" },
      { name: "RINGFENCE_TOKEN_DIRECTORY", value: api.mountPath },
      field("POD_NAME", "metadata.name"),
      field("POD_NAMESPACE", "metadata.namespace"),
      field("POD_UID", "metadata.uid"),
    ],
    readinessProbe: { httpGet: { path: "/ready", port: 9095 }, periodSeconds: 1, failureThreshold: 1 },
    volumeMounts: [adapters, api],
  };
  const token = { serviceAccountToken: { path: "token" } };
  const ca = { configMap: { name: "kube-root-ca.crt", items: [{ key: "ca.crt", path: "ca.crt" }] } };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, labels: { [PIPELINE_LABEL]: "bench", [VERTEX_LABEL]: way } },
    spec: {
      terminationGracePeriodSeconds: 5,
      automountServiceAccountToken: false,
      ...(ours && {
        serviceAccountName: "loader",
        readinessGates: [{ conditionType: ADAPTERS_GATE }],
        initContainers: [loader],
        volumes: [
          { name: "adapters", emptyDir: {} },
          { name: "api", projected: { sources: [token, ca] } },
        ],
      }),
      containers: [
        {
          name: "engine",
          image,
          command: ["node", "/ringfence/test/support/stand-in-engine.ts"],
          env: Object.entries(variables).map(([variable, value]) => ({ name: variable, value })),
          ports: [{ name: "http", containerPort: 8000 }],
          readinessProbe: { httpGet: { path: "/health", port: 8000 }, periodSeconds: 1 },
        },
      ],
    },
  };
}
