/**
 * A kubelet that can forward ports: a kwok of the test's own beside the platform's, with a node of its own. What it is
 * asked to forward to a pod's port it carries to a server on this machine, so that a Service with such a pod is as good
 * as one whose pod really runs there.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { KubeConfig, type KubernetesObject, KubernetesObjectApi } from "@kubernetes/client-node";
import { freePort } from "../../dev/platform/ports.ts";
import { until } from "../../dev/platform/wait.ts";

const NODE = "forwarding";
const ANNOTATION = "ringfence.dev/test-kubelet";

/** A Service of one pod on the kubelet's node, and where its port leads. */
export interface Placed {
  name: string;
  port: number;
  /** A port of 127.0.0.1. */
  target: number;
}

export class Kubelet {
  readonly namespace: string;
  readonly #objects: KubernetesObjectApi;
  readonly #process: ChildProcess;
  readonly #directory: string;

  private constructor(namespace: string, objects: KubernetesObjectApi, process: ChildProcess, directory: string) {
    this.namespace = namespace;
    this.#objects = objects;
    this.#process = process;
    this.#directory = directory;
  }

  /** @param kubeconfig of the platform's admin. @param services ports of pods are told apart by their number alone */
  static async start(kubeconfig: string, namespace: string, services: Placed[]): Promise<Kubelet> {
    const directory = mkdtempSync(join(tmpdir(), "ringfence-kubelet-"));
    const config = join(directory, "forwards.json");
    const forwards = services.map(({ port, target }) => ({
      ports: [port],
      target: { address: "127.0.0.1", port: target },
    }));
    const meta = { apiVersion: "kwok.x-k8s.io/v1alpha1", kind: "ClusterPortForward", metadata: { name: "servers" } };
    writeFileSync(config, JSON.stringify({ ...meta, spec: { forwards } }));
    const port = await freePort();
    const args = [
      `--kubeconfig=${kubeconfig}`,
      `--config=${fileURLToPath(new URL("../../dev/platform/stages.yaml", import.meta.url))}`,
      `--config=${config}`,
      `--manage-nodes-with-annotation-selector=${ANNOTATION}=true`,
      `--node-port=${port}`,
      `--server-address=127.0.0.1:${port}`,
    ];
    const kwok = spawn("kwok", args, { stdio: "ignore" });
    const loaded = new KubeConfig();
    loaded.loadFromFile(kubeconfig);
    const kubelet = new Kubelet(namespace, KubernetesObjectApi.makeApiClient(loaded), kwok, directory);
    try {
      await kubelet.#join();
      for (const service of services) await kubelet.#place(service);
    } catch (error) {
      await kubelet.stop();
      throw error;
    }
    return kubelet;
  }

  async #join(): Promise<void> {
    const metadata = { name: NODE, annotations: { [ANNOTATION]: "true" } };
    const taints = [{ key: ANNOTATION, effect: "NoSchedule" }];
    // The API server asks for a kubelet at its node's Hostname first.
    const addresses = ["Hostname", "InternalIP"].map((type) => ({ type, address: "127.0.0.1" }));
    await this.#create({ apiVersion: "v1", kind: "Node", metadata, spec: { taints }, status: { addresses } });
    await this.#create({ apiVersion: "v1", kind: "Namespace", metadata: { name: this.namespace } });
    await until({
      what: `node ${NODE}`,
      within: 120,
      attempt: async () => {
        const node = await this.#read("Node", NODE);
        if (!node.status.daemonEndpoints?.kubeletEndpoint?.Port) throw new Error("it has no kubelet yet");
      },
    });
    const account = { name: "default", namespace: this.namespace };
    await until({
      what: "the namespace's ServiceAccount, without which it takes no pods",
      within: 120,
      attempt: () => this.#objects.read({ apiVersion: "v1", kind: "ServiceAccount", metadata: account }),
    });
  }

  async #place({ name, port }: Placed): Promise<void> {
    const namespace = this.namespace;
    const spec = { selector: { app: name }, ports: [{ name: "client", port, targetPort: port }] };
    await this.#create({ apiVersion: "v1", kind: "Service", metadata: { name, namespace }, spec });
    await this.addPod(name, `${name}-0`);
  }

  /** Adds a pod to a Service and waits until the Service lists it as ready. */
  async addPod(service: string, name: string): Promise<void> {
    const metadata = { name, namespace: this.namespace, labels: { app: service } };
    const spec = {
      nodeName: NODE,
      automountServiceAccountToken: false,
      containers: [{ name: "main", image: "server:1" }],
    };
    await this.#create({ apiVersion: "v1", kind: "Pod", metadata, spec });
    await this.#listed(service, name, true);
  }

  /** Removes a pod and waits until its Service does not list it any more. */
  async removePod(service: string, name: string): Promise<void> {
    await this.#objects.delete({ apiVersion: "v1", kind: "Pod", metadata: { name, namespace: this.namespace } });
    await this.#listed(service, name, false);
  }

  async #listed(service: string, pod: string, wanted: boolean): Promise<void> {
    await until({
      what: `${pod} of Service ${service}`,
      within: 120,
      attempt: async () => {
        const selector = `kubernetes.io/service-name=${service}`;
        const { items } = await this.#objects.list(
          "discovery.k8s.io/v1",
          "EndpointSlice",
          this.namespace,
          undefined,
          undefined,
          undefined,
          undefined,
          selector,
        );
        const endpoints = items.flatMap((slice) => (slice as Fields).endpoints ?? []);
        const ready = endpoints.some(
          ({ conditions, targetRef }: Fields) => targetRef?.name === pod && conditions.ready,
        );
        if (ready !== wanted) throw new Error(ready ? "it is still listed" : "it is not listed as ready");
      },
    });
  }

  async #create(object: Fields): Promise<void> {
    await this.#objects.create(object as KubernetesObject);
  }

  async #read(kind: string, name: string): Promise<Fields> {
    return this.#objects.read({ apiVersion: "v1", kind, metadata: { name } });
  }

  /** Ends it and takes its node and namespace away. */
  async stop(): Promise<void> {
    const gone = (error: { code?: number }) => {
      if (error.code !== 404) throw error;
    };
    for (const kind of ["Namespace", "Node"]) {
      const name = kind === "Node" ? NODE : this.namespace;
      await this.#objects.delete({ apiVersion: "v1", kind, metadata: { name } }).catch(gone);
      await until({
        what: `${kind} ${name}`,
        within: 120,
        attempt: () => this.#read(kind, name).then(() => Promise.reject(new Error("it is still there")), gone),
      });
    }
    this.#process.kill("SIGTERM");
    if (this.#process.exitCode === null && this.#process.signalCode === null) await once(this.#process, "exit");
    rmSync(this.#directory, { recursive: true });
  }
}

// biome-ignore lint/suspicious/noExplicitAny: Kubernetes objects are read field by field
type Fields = any;
