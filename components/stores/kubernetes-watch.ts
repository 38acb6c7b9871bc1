/** Objects of one kind in a namespace, kept up to date. */
import { backoff, pause } from "./backoff.ts";
import { StoreError } from "./errors.ts";
import type { KubernetesApi, KubernetesObject } from "./kubernetes-api.ts";

/** Milliseconds until an API server that refused or did not answer is asked again. */
const AGAIN = { initialMs: 200, maxMs: 15_000 };

/** Seconds after which the server ends a watch, as kubectl has it; milliseconds more until it is ended here. */
const WATCH_SECONDS = 300;
const WATCH_MARGIN_MS = 30_000;

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

interface List {
  metadata: { resourceVersion: string };
  items: KubernetesObject[];
}

/** A line of a watch. */
interface Change {
  type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  object: KubernetesObject & { message?: string };
}

/** What the API server had when it last spoke; after an outage it is asked for everything again. */
export class Watched {
  readonly #api: KubernetesApi;
  readonly #options: WatchOptions;
  readonly #stop = new AbortController();
  #items: Map<string, KubernetesObject> | undefined;
  #next = backoff(AGAIN);

  private constructor(api: KubernetesApi, options: WatchOptions) {
    this.#api = api;
    this.#options = options;
  }

  /** Begins to watch; it goes on until `stop`. */
  static start(api: KubernetesApi, options: WatchOptions): Watched {
    const watched = new Watched(api, options);
    void watched.#run();
    return watched;
  }

  /** Undefined until the first answer. */
  items(): KubernetesObject[] | undefined {
    return this.#items && [...this.#items.values()];
  }

  stop(): void {
    this.#stop.abort();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        for (let version = await this.#list(); ; ) {
          const seen = await this.#watch(version);
          // Whoever ends each watch at once is not asked all the time.
          if (seen === version) await pause(this.#next(), signal);
          version = seen;
        }
      } catch (error) {
        if (signal.aborted) return;
        this.#options.failed(error as Error);
        await pause(this.#next(), signal);
      }
    }
  }

  get #query(): string {
    return `${this.#options.path}?labelSelector=${encodeURIComponent(this.#options.selector)}`;
  }

  /** @returns the version from which on it is to be watched */
  async #list(): Promise<string> {
    const answer = (await this.#api.get(this.#query)) as List | undefined;
    if (!answer) throw new StoreError(`${this.#api.label} has no ${this.#options.path}`);
    this.#items = new Map(answer.items.map((item) => [item.metadata.name, item]));
    if (!this.#stop.signal.aborted) this.#options.changed();
    return answer.metadata.resourceVersion;
  }

  /** @returns the last version that was told of, when the server has ended it */
  async #watch(from: string): Promise<string> {
    const query = `&watch=true&allowWatchBookmarks=true&timeoutSeconds=${WATCH_SECONDS}&resourceVersion=${from}`;
    const late = AbortSignal.timeout(1000 * WATCH_SECONDS + WATCH_MARGIN_MS);
    let version = from;
    let rest = "";
    for await (const piece of this.#api.stream(this.#query + query, AbortSignal.any([this.#stop.signal, late]))) {
      const lines = (rest + piece).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) version = this.#take(JSON.parse(line) as Change);
    }
    return version;
  }

  /** @throws StoreError when the server has forgotten what was since then, or refuses to go on */
  #take({ type, object }: Change): string {
    // A Status, in the place of an object.
    if (type === "ERROR")
      throw new StoreError(`${this.#api.label} ended the watch of ${this.#options.path}: ${object.message}`);
    this.#next = backoff(AGAIN);
    const { name, resourceVersion } = object.metadata;
    if (type === "DELETED") this.#items?.delete(name);
    else if (type !== "BOOKMARK") this.#items?.set(name, object);
    if (type !== "BOOKMARK" && !this.#stop.signal.aborted) this.#options.changed();
    return String(resourceVersion);
  }
}
