/** Kubernetes, as cleanup sees it: namespaces of ours, and every object there is. Workloads are Pulumi's business. */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import * as http from "node:http";
import * as https from "node:https";
import { text } from "node:stream/consumers";
import { KubeConfig } from "@kubernetes/client-node";
import { CALL_DEADLINE_MS, StoreError } from "./errors.ts";

/** Which cluster, as whom. */
export interface KubernetesAccess {
  /** A path or the text of a kubeconfig; KUBECONFIG or ~/.kube/config when left out. */
  kubeconfig?: string | undefined;
  context?: string | undefined;
}

/** Any Kubernetes object, as far as it is looked at here. */
export interface KubernetesObject {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    namespace?: string;
    uid?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    finalizers?: string[];
    deletionTimestamp?: string;
    [other: string]: unknown;
  };
  [other: string]: unknown;
}

export class Kubernetes {
  /** Names the server in messages. */
  readonly label: string;
  readonly #config = new KubeConfig();

  constructor({ kubeconfig, context }: KubernetesAccess) {
    if (kubeconfig === undefined) this.#config.loadFromDefault();
    else if (kubeconfig.includes("\n")) this.#config.loadFromString(kubeconfig);
    else this.#config.loadFromFile(kubeconfig);
    if (context) this.#config.setCurrentContext(context);
    this.label = `Kubernetes at ${this.#config.getCurrentCluster()?.server ?? "(no current context)"}`;
  }

  async namespace(name: string): Promise<KubernetesObject | undefined> {
    return this.#json("GET", `/api/v1/namespaces/${name}`) as Promise<KubernetesObject | undefined>;
  }

  /** @param selector a label selector, for example `ringfence.dev/owner` */
  async namespaces(selector: string): Promise<KubernetesObject[]> {
    return this.#items(`/api/v1/namespaces?labelSelector=${encodeURIComponent(selector)}`);
  }

  /** Begins the deletion of a namespace and all that is in it; one that is gone already is fine. */
  async deleteNamespace(name: string): Promise<void> {
    await this.#json("DELETE", `/api/v1/namespaces/${name}`);
  }

  /** Every object that can be listed, in each resource's preferred version. */
  async objects(): Promise<KubernetesObject[]> {
    type Resources = { groupVersion: string; resources: Array<{ name: string; kind: string; verbs: string[] }> };
    const groups = (await this.#json("GET", "/apis")) as {
      groups: Array<{ preferredVersion: { groupVersion: string } }>;
    };
    const roots = ["/api/v1", ...groups.groups.map(({ preferredVersion }) => `/apis/${preferredVersion.groupVersion}`)];
    const found: KubernetesObject[] = [];
    for (const root of roots) {
      const { groupVersion, resources } = (await this.#json("GET", root)) as Resources;
      for (const { name, kind, verbs } of resources) {
        if (!verbs.includes("list") || name.includes("/")) continue;
        for (const item of await this.#items(`${root}/${name}`))
          found.push({ ...item, apiVersion: groupVersion, kind });
      }
    }
    return found;
  }

  async #items(path: string): Promise<KubernetesObject[]> {
    return ((await this.#json("GET", path)) as { items: KubernetesObject[] }).items;
  }

  /** One request; undefined when the object is not there. */
  async #json(method: string, path: string): Promise<unknown> {
    const server = this.#config.getCurrentCluster()?.server;
    if (!server)
      throw new StoreError(
        "Kubernetes: the kubeconfig has no current context: set one, or 'context' in the platform's access",
      );
    const { status, body } = await this.#send(method, new URL(server + path));
    if (status === 404) return undefined;
    if (status >= 400) throw new StoreError(`${this.label} answered ${status} to ${method} ${path}: ${reason(body)}`);
    return JSON.parse(body);
  }

  async #send(method: string, url: URL): Promise<{ status: number; body: string }> {
    const options: https.RequestOptions = { method, signal: AbortSignal.timeout(2 * CALL_DEADLINE_MS) };
    await this.#config.applyToHTTPSOptions(options);
    try {
      const request = (url.protocol === "http:" ? http : https).request(url, options);
      request.end();
      const [response] = (await once(request, "response")) as [IncomingMessage];
      return { status: response.statusCode ?? 0, body: await text(response) };
    } catch (cause) {
      throw new StoreError(
        `${this.label} does not answer (${(cause as Error).message}): start it, or correct the kubeconfig in the platform's access`,
        {
          unreachable: true,
          inDoubt: true,
          cause,
        },
      );
    }
  }
}

function reason(body: string): string {
  try {
    return (JSON.parse(body) as { message?: string }).message ?? body;
  } catch {
    return body.slice(0, 200);
  }
}
