/** Objects of one kind in a namespace, kept up to date. */
import { ListWatch, type KubernetesObject as Shape, Watch } from "@kubernetes/client-node";
import { backoff, pause } from "./backoff.ts";
import { StoreError } from "./errors.ts";
import type { Kubernetes, KubernetesObject } from "./kubernetes.ts";

/** Milliseconds until an API server that refused or did not answer is asked again. */
const AGAIN = { initialMs: 200, maxMs: 15_000 };

export interface WatchOptions {
  /** Of the kind in its namespace, for example `/api/v1/namespaces/chat/pods`. */
  path: string;
  /** A label selector. */
  selector: string;
  /** Something of it is another than before. */
  changed: () => void;
  /** The API server refused, or does not answer; it is asked again. */
  failed: (error: Error) => void;
}

/** What the API server had when it last spoke; after an outage it is asked for everything again. */
export class Watched {
  readonly #list: ListWatch<Shape>;
  readonly #stop = new AbortController();
  #listed = false;

  private constructor(list: ListWatch<Shape>) {
    this.#list = list;
  }

  /** Begins to watch; it goes on until `stop`. */
  static start(kubernetes: Kubernetes, { path, selector, changed, failed }: WatchOptions): Watched {
    const query = `?labelSelector=${encodeURIComponent(selector)}`;
    const listed = async () => {
      const answer = await kubernetes.get(path + query);
      if (answer === undefined) throw new StoreError(`${kubernetes.label} has no ${path}`);
      // Once the list has taken it in: an empty answer changes nothing, and is an answer.
      setImmediate(() => {
        watched.#listed = true;
        changed();
      });
      return answer as never;
    };
    const list = new ListWatch<Shape>(path, new Watch(kubernetes.config), listed, false, selector);
    const watched = new Watched(list);
    let next = backoff(AGAIN);
    const begin = () => {
      if (!watched.#stop.signal.aborted) void list.start();
    };
    list.on("change", () => {
      next = backoff(AGAIN);
      changed();
    });
    list.on("error", (error) => {
      if (watched.#stop.signal.aborted) return;
      failed(error as Error);
      void pause(next(), watched.#stop.signal).then(begin);
    });
    begin();
    return watched;
  }

  /** Undefined until the first answer. */
  items(): KubernetesObject[] | undefined {
    return this.#listed ? ([...this.#list.list()] as unknown as KubernetesObject[]) : undefined;
  }

  stop(): void {
    this.#stop.abort();
    void this.#list.stop();
  }
}
