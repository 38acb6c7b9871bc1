/** Kubernetes, as cleanup sees it: what is ours, what holds it, and every object there is. Workloads are Pulumi's business. */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import * as http from "node:http";
import * as https from "node:https";
import { text } from "node:stream/consumers";
import { KubeConfig } from "@kubernetes/client-node";
import { bulkhead } from "cockatiel";
import { CALL_DEADLINE_MS, StoreError, until } from "./errors.ts";

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

export interface PersistentVolume extends KubernetesObject {
  spec: {
    /** What it is bound to, or was: it stays when the claim goes. */
    claimRef?: { namespace?: string };
    /** What happens to it then. */
    persistentVolumeReclaimPolicy?: string;
    [other: string]: unknown;
  };
}

/** An object, and the path at which it can be read and deleted. */
export interface Located {
  path: string;
  object: KubernetesObject;
}

/** What a server has of one group's preferred version, as far as it can be listed. */
interface Kind {
  /** `/api/v1`, `/apis/apps/v1`, … */
  root: string;
  groupVersion: string;
  /** The kind in paths: `deployments`. */
  name: string;
  kind: string;
  namespaced: boolean;
  verbs: string[];
}

const VOLUMES: Kind = {
  root: "/api/v1",
  groupVersion: "v1",
  name: "persistentvolumes",
  kind: "PersistentVolume",
  namespaced: false,
  verbs: ["list"],
};

/** An API server that has too much to do, or does not serve a new kind yet, did nothing, and wants to be asked again. */
const TOO_BUSY = 429;

/** Lists at a time: an API server refuses whoever asks for much more. */
const LISTS_AT_ONCE = 16;

export class Kubernetes {
  /** Names the server in messages. */
  readonly label: string;
  /** For the client's own tunnels, see port-forward.ts. */
  readonly config = new KubeConfig();
  /** Keeps connections: most of what a request costs here is the handshake. */
  #agent: https.RequestOptions["agent"];

  constructor({ kubeconfig, context }: KubernetesAccess) {
    if (kubeconfig === undefined) this.config.loadFromDefault();
    else if (kubeconfig.includes("\n")) this.config.loadFromString(kubeconfig);
    else this.config.loadFromFile(kubeconfig);
    if (context) this.config.setCurrentContext(context);
    this.label = `Kubernetes at ${this.config.getCurrentCluster()?.server ?? "(no current context)"}`;
  }

  /** What a path has; undefined when there is nothing. */
  get(path: string): Promise<unknown> {
    return this.#json("GET", path);
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

  /** Begins the deletion of an object; one that is gone already is fine. */
  async remove({ path }: Located): Promise<void> {
    await this.#json("DELETE", path);
  }

  /**
   * The pods of a namespace; none when there is no such namespace.
   * @param selector a label selector @default all
   */
  async pods(namespace: string, selector?: string): Promise<KubernetesObject[]> {
    const query = selector === undefined ? "" : `?labelSelector=${encodeURIComponent(selector)}`;
    return this.#items(`/api/v1${inNamespace(namespace)}/pods${query}`);
  }

  /** Makes an object. @param path of its kind in its namespace */
  create(path: string, object: object): Promise<unknown> {
    return this.#json("POST", path, { content: object, type: "application/json" });
  }

  /**
   * Changes what is named, by a strategic merge: lists are merged by their keys, null removes.
   * @returns the object; undefined when it is not there
   */
  patch(path: string, change: object): Promise<unknown> {
    return this.#json("PATCH", path, { content: change, type: "application/strategic-merge-patch+json" });
  }

  async persistentVolumes(): Promise<PersistentVolume[]> {
    return (await this.#list([VOLUMES])).map(({ object }) => object as PersistentVolume);
  }

  /** Every object that can be listed, in each resource's preferred version. */
  async objects(): Promise<KubernetesObject[]> {
    return (await this.#list(await this.#kinds())).map(({ object }) => object);
  }

  /** Every object in a namespace. */
  async objectsIn(namespace: string): Promise<KubernetesObject[]> {
    const kinds = (await this.#kinds()).filter(({ namespaced }) => namespaced);
    return (await this.#list(kinds, { within: inNamespace(namespace) })).map(({ object }) => object);
  }

  /**
   * Objects outside of all namespaces, of the kinds whose objects can be deleted.
   * @param selector a label selector
   */
  async clusterObjects(selector: string): Promise<Located[]> {
    const kinds = (await this.#kinds()).filter(({ namespaced, verbs }) => !namespaced && verbs.includes("delete"));
    return this.#list(kinds, { query: `?labelSelector=${encodeURIComponent(selector)}` });
  }

  async #kinds(): Promise<Kind[]> {
    type Resources = { groupVersion: string; resources: Array<Omit<Kind, "root" | "groupVersion">> };
    const { groups } = (await this.#json("GET", "/apis")) as {
      groups: Array<{ preferredVersion: { groupVersion: string } }>;
    };
    const roots = ["/api/v1", ...groups.map(({ preferredVersion }) => `/apis/${preferredVersion.groupVersion}`)];
    const versions = await atOnce(roots, async (root) => {
      // A group whose last kind was removed since is gone.
      const { groupVersion, resources } = ((await this.#json("GET", root)) ?? { resources: [] }) as Resources;
      return resources.map((resource) => ({ ...resource, root, groupVersion }));
    });
    return versions.flat().filter(({ name, verbs }) => verbs.includes("list") && !name.includes("/"));
  }

  async #list(kinds: Kind[], { within = "", query = "" } = {}): Promise<Located[]> {
    const lists = await atOnce(kinds, async ({ root, name, kind, groupVersion }) =>
      (await this.#items(`${root}${within}/${name}${query}`)).map((item) => ({
        path: `${root}${inNamespace(item.metadata.namespace)}/${name}/${item.metadata.name}`,
        object: { ...item, apiVersion: groupVersion, kind },
      })),
    );
    return lists.flat();
  }

  /** The items of a list; none when there is no such kind any more. */
  async #items(path: string): Promise<KubernetesObject[]> {
    return ((await this.#json("GET", path)) as { items: KubernetesObject[] } | undefined)?.items ?? [];
  }

  /** One request; undefined when the object is not there. */
  async #json(method: string, path: string, body?: Body): Promise<unknown> {
    const server = this.config.getCurrentCluster()?.server;
    if (!server)
      throw new StoreError(
        "Kubernetes: the kubeconfig has no current context: set one, or 'context' in the platform's access",
      );
    let last = "";
    const { status, body: text } = await until(
      async () => {
        const answer = await this.#send(method, new URL(server + path), body);
        last = answer.body;
        return answer.status === TOO_BUSY ? undefined : answer;
      },
      {
        deadlineMs: CALL_DEADLINE_MS,
        late: () => new StoreError(`${this.label} goes on answering ${TOO_BUSY} to ${method} ${path}: ${reason(last)}`),
      },
    );
    if (status === 404) return undefined;
    if (status >= 400) throw new StoreError(`${this.label} answered ${status} to ${method} ${path}: ${reason(text)}`);
    return JSON.parse(text);
  }

  async #send(method: string, url: URL, body?: Body): Promise<{ status: number; body: string }> {
    const options: https.RequestOptions = { method, signal: AbortSignal.timeout(2 * CALL_DEADLINE_MS) };
    await this.config.applyToHTTPSOptions(options);
    this.#agent ??= Object.assign(options.agent as https.Agent, { keepAlive: true });
    options.agent = this.#agent;
    try {
      const request = (url.protocol === "http:" ? http : https).request(url, options);
      if (body) request.setHeader("content-type", body.type);
      request.end(body && JSON.stringify(body.content));
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

interface Body {
  content: object;
  type: string;
}

const inNamespace = (namespace?: string) => (namespace ? `/namespaces/${namespace}` : "");

function reason(body: string): string {
  try {
    return (JSON.parse(body) as { message?: string }).message ?? body;
  } catch {
    return body.slice(0, 200);
  }
}

/** Does it for all, a bounded number at a time; results in order. */
function atOnce<T, R>(items: T[], act: (item: T) => Promise<R>): Promise<R[]> {
  const gate = bulkhead(LISTS_AT_ONCE, Number.POSITIVE_INFINITY);
  return Promise.all(items.map((item) => gate.execute(() => act(item))));
}
