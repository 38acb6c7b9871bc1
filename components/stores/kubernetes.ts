/** Kubernetes, as cleanup sees it: what is ours, what holds it, and every object there is. Workloads are Pulumi's business. */
import type * as https from "node:https";
import { KubeConfig } from "@kubernetes/client-node";
import { bulkhead } from "cockatiel";
import { KubernetesApi, type KubernetesObject } from "./kubernetes-api.ts";

export type { KubernetesObject } from "./kubernetes-api.ts";

/** Which cluster, as whom. */
export interface KubernetesAccess {
  /** A path or the text of a kubeconfig; KUBECONFIG or ~/.kube/config when left out. */
  kubeconfig?: string | undefined;
  context?: string | undefined;
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

/** Lists at a time: an API server refuses whoever asks for much more. */
const LISTS_AT_ONCE = 16;

export class Kubernetes extends KubernetesApi {
  /** For the client's own tunnels, see port-forward.ts. */
  readonly config: KubeConfig;

  constructor({ kubeconfig, context }: KubernetesAccess) {
    const config = new KubeConfig();
    if (kubeconfig === undefined) config.loadFromDefault();
    else if (kubeconfig.includes("\n")) config.loadFromString(kubeconfig);
    else config.loadFromFile(kubeconfig);
    if (context) config.setCurrentContext(context);
    super({
      server: config.getCurrentCluster()?.server,
      options: async () => {
        const options: https.RequestOptions = {};
        await config.applyToHTTPSOptions(options);
        return options;
      },
      correct: "the kubeconfig in the platform's access",
    });
    this.config = config;
  }

  async namespace(name: string): Promise<KubernetesObject | undefined> {
    return this.json("GET", `/api/v1/namespaces/${name}`) as Promise<KubernetesObject | undefined>;
  }

  /** @param selector a label selector, for example `ringfence.dev/owner` */
  async namespaces(selector: string): Promise<KubernetesObject[]> {
    return this.#items(`/api/v1/namespaces?labelSelector=${encodeURIComponent(selector)}`);
  }

  /** Begins the deletion of a namespace and all that is in it; one that is gone already is fine. */
  async deleteNamespace(name: string): Promise<void> {
    await this.json("DELETE", `/api/v1/namespaces/${name}`);
  }

  /** Begins the deletion of an object; one that is gone already is fine. */
  async remove({ path }: Located): Promise<void> {
    await this.json("DELETE", path);
  }

  /**
   * The pods of a namespace; none when there is no such namespace.
   * @param selector a label selector @default all
   */
  async pods(namespace: string, selector?: string): Promise<KubernetesObject[]> {
    const query = selector === undefined ? "" : `?labelSelector=${encodeURIComponent(selector)}`;
    return this.#items(`/api/v1${inNamespace(namespace)}/pods${query}`);
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
    const { groups } = (await this.json("GET", "/apis")) as {
      groups: Array<{ preferredVersion: { groupVersion: string } }>;
    };
    const roots = ["/api/v1", ...groups.map(({ preferredVersion }) => `/apis/${preferredVersion.groupVersion}`)];
    const versions = await atOnce(roots, async (root) => {
      // A group whose last kind was removed since is gone.
      const { groupVersion, resources } = ((await this.json("GET", root)) ?? { resources: [] }) as Resources;
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
    return ((await this.json("GET", path)) as { items: KubernetesObject[] } | undefined)?.items ?? [];
  }
}

const inNamespace = (namespace?: string) => (namespace ? `/namespaces/${namespace}` : "");

/** Does it for all, a bounded number at a time; results in order. */
function atOnce<T, R>(items: T[], act: (item: T) => Promise<R>): Promise<R[]> {
  const gate = bulkhead(LISTS_AT_ONCE, Number.POSITIVE_INFINITY);
  return Promise.all(items.map((item) => gate.execute(() => act(item))));
}
