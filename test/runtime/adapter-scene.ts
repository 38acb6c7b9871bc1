/**
 * Pods with an engine and a loader, without a kubelet: their objects are in the real API server, the loader and the engine are
 * processes, the loader with a token that is bound to its pod. Rights and admission are those that a vertex makes.
 */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KubeConfig, type KubernetesObject, KubernetesObjectApi } from "@kubernetes/client-node";
import { Pipeline } from "../../components/index.ts";
import {
  ADAPTERS_GATE,
  ADAPTERS_LABEL,
  type AdapterRecord,
  adapterGeneration,
  adapterRecord,
  LOADED_LABELS,
  loadedLabel,
  SERVING_ANNOTATION,
  WANTED_KEY,
} from "../../components/plan/adapter.ts";
import { namespaceName } from "../../components/plan/names.ts";
import { until } from "../../dev/platform/wait.ts";
import { run } from "../components/engine.ts";
import { platformNamed } from "../components/scene.ts";
import { BASE, Pod, VERTEX } from "./adapter-pod.ts";

// biome-ignore lint/suspicious/noExplicitAny: Kubernetes objects are read field by field
type Fields = any;

/** The objects of a pipeline with adapters, as its program makes them. */
async function manifests(): Promise<Fields[]> {
  const registered = await run(
    () =>
      new Pipeline("chat", {
        platform: platformNamed("platform"),
        vertices: {
          [VERTEX]: {
            image: "registry.example.com/engine:1",
            ports: { http: 8000 },
            adapters: { port: "http", image: "registry.example.com/ringfence:1" },
          },
        },
      }),
  );
  const kinds = /ServiceAccount|Role|RoleBinding|ValidatingAdmissionPolicy|Deployment/;
  return [...registered.values()].filter(({ type }) => kinds.test(type)).map(({ inputs }) => inputs);
}

export class AdapterScene {
  readonly namespace = `adapters-${randomBytes(4).toString("hex")}`;
  readonly directory = mkdtempSync(join(tmpdir(), "ringfence-adapters-"));
  readonly pods: Pod[] = [];
  readonly #objects: KubernetesObjectApi;
  readonly #cluster: { server: string; ca: string };
  #cleanup: Fields[] = [];
  #template: Fields;

  private constructor() {
    const config = new KubeConfig();
    config.loadFromDefault();
    this.#objects = KubernetesObjectApi.makeApiClient(config);
    const { server, caData = "" } = config.getCurrentCluster() ?? assert.fail();
    this.#cluster = { server, ca: Buffer.from(caData, "base64").toString() };
  }

  static async open(): Promise<AdapterScene> {
    const scene = new AdapterScene();
    await scene.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: scene.namespace } });
    const generation = createHash("sha256").update(scene.namespace).digest("hex").slice(0, 24);
    for (const manifest of await manifests()) {
      // The mock engine's generation is for reading, and the namespace made of it is nobody's.
      const text = JSON.stringify(manifest)
        .replaceAll(namespaceName("default/chat", "gen-of-default/chat"), scene.namespace)
        .replaceAll("gen-of-default/chat", generation);
      const object = JSON.parse(text);
      if (object.kind === "Deployment") scene.#template = object.spec.template;
      else await scene.create(object);
    }
    return scene;
  }

  async create(object: Fields): Promise<void> {
    await this.#objects.create(object as KubernetesObject);
    if (!object.metadata.namespace) this.#cleanup.push(object);
  }

  /** A pod's object, its engine and its loader. */
  async pod(name: string, options: { loader?: boolean } = {}): Promise<Pod> {
    const metadata = { name, namespace: this.namespace, labels: this.#template.metadata.labels };
    const container = { name: "engine", image: "registry.example.com/engine:1" };
    // Nobody schedules it, so nobody else writes its status.
    const { serviceAccountName, readinessGates } = this.#template.spec;
    const spec = {
      schedulerName: "nobody",
      automountServiceAccountToken: false,
      serviceAccountName,
      readinessGates,
      containers: [container],
    };
    await this.#objects.create({ apiVersion: "v1", kind: "Pod", metadata, spec } as KubernetesObject);
    const object = await this.read("Pod", name);
    const pod = new Pod(this, name, object.metadata.uid, join(this.directory, name));
    this.pods.push(pod);
    pod.token = await this.#tokenOf(object);
    await pod.startEngine();
    if (options.loader !== false) await pod.startLoader();
    return pod;
  }

  async #tokenOf(pod: Fields): Promise<string> {
    const { namespace } = this;
    const { name, uid } = pod.metadata;
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${pod.spec.serviceAccountName}/token`;
    const spec = { expirationSeconds: 3600, boundObjectRef: { apiVersion: "v1", kind: "Pod", name, uid } };
    const answer = await this.ask("POST", path, { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec });
    assert.equal(answer.status, 201, JSON.stringify(answer.body));
    return answer.body.status.token;
  }

  /** One request, as somebody: the admin of the platform, or a pod by its token. */
  async ask(method: string, path: string, body?: object, token?: string): Promise<{ status: number; body: Fields }> {
    const config = new KubeConfig();
    config.loadFromDefault();
    const admin = config.getCurrentUser()?.token;
    const type = method === "PATCH" ? "application/strategic-merge-patch+json" : "application/json";
    const headers = { authorization: `Bearer ${token ?? admin}`, "content-type": type };
    const sent = request(this.#cluster.server + path, { method, headers, ca: this.#cluster.ca });
    sent.end(body && JSON.stringify(body));
    const [response] = (await once(sent, "response")) as [IncomingMessage];
    const text = (await response.toArray()).join("");
    return { status: response.statusCode ?? 0, body: JSON.parse(text) };
  }

  /** Makes a Secret, and lets the loaders read it. */
  async secret(name: string, stringData: Record<string, string>): Promise<void> {
    const { namespace } = this;
    await this.create({ apiVersion: "v1", kind: "Secret", metadata: { name, namespace }, stringData });
    const rbac = { apiVersion: "rbac.authorization.k8s.io/v1", metadata: { name, namespace } };
    const rules = [{ apiGroups: [""], resources: ["secrets"], resourceNames: [name], verbs: ["get"] }];
    await this.create({ ...rbac, kind: "Role", rules });
    const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name };
    const subjects = [{ kind: "ServiceAccount", name: `adapters.${VERTEX}`, namespace }];
    await this.create({ ...rbac, kind: "RoleBinding", roleRef, subjects });
  }

  read(kind: string, name: string): Promise<Fields> {
    return this.#objects.read({ apiVersion: "v1", kind, metadata: { name, namespace: this.namespace } });
  }

  /** Makes or changes an adapter's ConfigMap. @returns the record */
  async want(adapter: string, artifact: string, more: Partial<AdapterRecord> = {}): Promise<AdapterRecord> {
    const record = recordOf(adapter, artifact, more);
    const metadata = { name: `adapter.${adapter}`, namespace: this.namespace, labels: { [ADAPTERS_LABEL]: VERTEX } };
    await this.#apply({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata,
      data: { [WANTED_KEY]: JSON.stringify(record) },
    });
    return record;
  }

  /** Makes or changes an adapter's Service. */
  async serve(record: AdapterRecord): Promise<void> {
    const metadata = {
      name: record.adapter,
      namespace: this.namespace,
      labels: { [ADAPTERS_LABEL]: VERTEX },
      annotations: { [SERVING_ANNOTATION]: JSON.stringify(record) },
    };
    const spec = { selector: { [loadedLabel(record)]: "loaded" }, ports: [{ name: "http", port: 8000 }] };
    await this.#apply({ apiVersion: "v1", kind: "Service", metadata, spec });
  }

  async #apply(object: Fields): Promise<void> {
    const there = await this.read(object.kind, object.metadata.name).catch(() => undefined);
    if (!there) return this.create(object);
    await this.#objects.patch(object as KubernetesObject);
  }

  async remove(kind: string, name: string): Promise<void> {
    await this.#objects.delete({ apiVersion: "v1", kind, metadata: { name, namespace: this.namespace } });
  }

  /** Waits until a pod's object is as it should be. */
  async sees(pod: Pod, what: string, holds: (state: PodState) => boolean, within = 90): Promise<PodState> {
    return until({
      what: `${pod.name}: ${what}`,
      within,
      attempt: async () => {
        const state = await this.state(pod);
        if (!holds(state)) throw new Error(`${JSON.stringify(state)}\n${pod.log.slice(-2000)}`);
        return state;
      },
    });
  }

  async state(pod: Pod): Promise<PodState> {
    const { metadata, status } = await this.read("Pod", pod.name);
    const gate = status.conditions?.find(({ type }: Fields) => type === ADAPTERS_GATE);
    const labels = Object.keys(metadata.labels ?? {}).filter((label) => label.startsWith(LOADED_LABELS));
    return { labels, open: gate?.status === "True", message: gate?.message ?? "" };
  }

  /** Reasons and messages of Events about a pod. */
  async events(pod: Pod): Promise<Array<{ type: string; reason: string; message: string }>> {
    const { body } = await this.ask("GET", `/api/v1/namespaces/${this.namespace}/events`);
    return body.items.filter(({ involvedObject }: Fields) => involvedObject.uid === pod.uid);
  }

  async close(): Promise<void> {
    for (const pod of this.pods) await pod.close();
    for (const { apiVersion, kind, metadata } of this.#cleanup.reverse())
      await this.#objects.delete({ apiVersion, kind, metadata: { name: metadata.name } });
    // Suites that come after take snapshots of the cluster.
    await until({
      what: `the end of namespace ${this.namespace}`,
      within: 120,
      attempt: () =>
        assert.rejects(
          this.#objects.read({ apiVersion: "v1", kind: "Namespace", metadata: { name: this.namespace } }),
          {
            code: 404,
          },
        ),
    });
    rmSync(this.directory, { recursive: true, force: true });
  }

  get api(): { host: string; port: string; ca: string } {
    const { hostname, port } = new URL(this.#cluster.server);
    return { host: hostname, port, ca: this.#cluster.ca };
  }
}

export const recordOf = (adapter: string, artifact: string, more: Partial<AdapterRecord> = {}): AdapterRecord =>
  adapterRecord.parse({ adapter, generation: adapterGeneration(artifact), baseModel: BASE, artifact, ...more });

export interface PodState {
  labels: string[];
  open: boolean;
  message: string;
}
