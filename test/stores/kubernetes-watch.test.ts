import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { until } from "../../components/stores/errors.ts";
import { KubernetesApi } from "../../components/stores/kubernetes-api.ts";
import { Watched } from "../../components/stores/kubernetes-watch.ts";

/** An API server of which a test plays the part of the store: what it answers to lists, and what its watches tell. */
class Store {
  /** Names and versions. */
  objects = new Map<string, number>();
  version = 1;
  lists = 0;
  /** The versions from which watches began. */
  readonly from: string[] = [];
  readonly tokens: Array<string | undefined> = [];
  watch: ServerResponse | undefined;
  refuses = 0;
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  async open(): Promise<string> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "", "http://store");
    this.tokens.push(request.headers.authorization);
    if (this.refuses > 0) {
      this.refuses--;
      response.writeHead(403).end(JSON.stringify({ message: "not for you" }));
    } else if (url.searchParams.has("watch")) {
      this.from.push(url.searchParams.get("resourceVersion") ?? "");
      this.watch = response;
      response.flushHeaders();
    } else {
      this.lists++;
      const items = [...this.objects].map(([name, version]) => objectOf(name, version));
      response.end(JSON.stringify({ metadata: { resourceVersion: String(this.version) }, items }));
    }
  }

  /** Tells whoever watches. @param cut where the line is sent in two pieces */
  async tell(type: string, name: string, cut?: number): Promise<void> {
    this.version++;
    if (type === "DELETED") this.objects.delete(name);
    else if (type !== "BOOKMARK") this.objects.set(name, this.version);
    const line = `${JSON.stringify({ type, object: objectOf(name, this.version) })}\n`;
    this.watch?.write(line.slice(0, cut));
    if (cut === undefined) return;
    await new Promise((resolve) => setImmediate(resolve));
    this.watch?.write(line.slice(cut));
  }
}

const objectOf = (name: string, version: number) => ({ metadata: { name, resourceVersion: String(version) } });

describe("a watch of Kubernetes", () => {
  let store: Store;
  let watched: Watched;
  let token = "first";
  let failures: string[];

  beforeEach(async () => {
    store = new Store();
    failures = [];
    const server = await store.open();
    const options = () => ({ headers: { authorization: token } });
    watched = Watched.start(new KubernetesApi({ server, options, correct: "it" }), {
      path: "/api/v1/namespaces/a/pods",
      selector: "a=b",
      changed: () => {},
      failed: ({ message }) => failures.push(message),
    });
    await begun(1);
  });
  afterEach(() => {
    watched.stop();
    store.close();
  });

  const comes = (what: string, holds: () => boolean) =>
    until(async () => holds() || undefined, {
      deadlineMs: 60_000,
      everyMs: 5,
      late: () => new Error(`${what}: ${JSON.stringify([watched.items(), store.from, failures])}`),
    });
  const begun = (times: number) => comes(`watch ${times}`, () => store.from.length === times);
  const has = (...names: string[]) =>
    comes(`has ${names}`, () => String(watched.items()?.map(({ metadata }) => metadata.name)) === String(names));

  it("has what was listed, and what it is told of", async () => {
    assert.deepEqual(watched.items(), []);
    await store.tell("ADDED", "é", 40);
    await store.tell("ADDED", "b");
    await has("é", "b");
    await store.tell("MODIFIED", "b");
    await comes("the newer one", () => watched.items()?.[1]?.metadata.resourceVersion === String(store.version));
    await store.tell("DELETED", "é");
    await has("b");
  });

  it("goes on where the server ended it, with the token of that time", async () => {
    await store.tell("ADDED", "a");
    await store.tell("BOOKMARK", "");
    token = "second";
    store.watch?.end();
    await begun(2);
    assert.deepEqual([store.from, store.lists], [["1", "3"], 1]);
    assert.equal(store.tokens.at(-1), "second");
    await store.tell("ADDED", "b");
    await has("a", "b");
    assert.deepEqual(failures, []);
  });

  it("lists again when the server has forgotten what was since then", async () => {
    await store.tell("ADDED", "a");
    await has("a");
    store.objects.clear();
    store.objects.set("other", 9);
    const status = { kind: "Status", metadata: {}, code: 410, message: "too old resource version" };
    store.watch?.end(`${JSON.stringify({ type: "ERROR", object: status })}\n`);
    await has("other");
    assert.match(String(failures), /ended the watch of .*pods: too old resource version/);
  });

  it("keeps what it had while nobody answers, and lists again when somebody does", async () => {
    await store.tell("ADDED", "a");
    await has("a");
    store.refuses = 2;
    store.objects.set("b", 7);
    store.watch?.destroy();
    await comes("two refusals", () => failures.length === 3);
    assert.match(failures[0] ?? "", /does not answer \(aborted\)/);
    assert.match(failures[1] ?? "", /answered 403 to GET .*: not for you/);
    await has("a", "b");
  });

  it("tells of nothing when it was stopped", async () => {
    const { watch } = store;
    watched.stop();
    await once(watch as ServerResponse, "close");
    assert.deepEqual([failures, store.lists], [[], 1]);
  });
});
