/** Dynamo as article 000 met it: workers that register in the root that they are given, and a frontend that reads all of it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Etcd3, Lease, Watcher } from "etcd3";
import { until } from "../../components/stores/errors.ts";
import { freePort } from "../../dev/platform/ports.ts";
import { etcdClient } from "../support/etcd.ts";
import { access } from "./scene.ts";

const DEADLINE_MS = 60_000;

/** Longer than any test takes: through etcd's own proxy nobody prolongs it. Whoever starts a worker stops it, or releases its tenant. */
const LEASE_S = 300;

/** Credentials for etcd. */
interface LogIn {
  username: string;
  password: string;
}

const clients = new Set<Etcd3>();
const proxies = new Set<ChildProcess>();

/** etcd's root as the admin has it: where deployments without Ringfence live. */
export const sharedRoot = (): Etcd3 => connect(access.etcd.endpoints, access.etcd);

/** A root of a tenant's own: a proxy of etcd's that puts the tenant's prefix before every key and hands its log-in on. */
export async function ownRoot({ prefix, username, password }: LogIn & { prefix: string }): Promise<Etcd3> {
  const listen = `127.0.0.1:${await freePort()}`;
  const endpoints = access.etcd.endpoints.map((url) => new URL(url).host).join(",");
  const where = [`--endpoints=${endpoints}`, `--listen-addr=${listen}`, `--advertise-client-url=${listen}`];
  const proxy = spawn("etcd", ["grpc-proxy", "start", `--namespace=${prefix}`, ...where], { stdio: "ignore" });
  proxies.add(proxy);
  const root = connect([`http://${listen}`], { username, password });
  const ready = () =>
    root.get("ready").then(
      () => true,
      () => undefined,
    );
  await until(ready, { deadlineMs: DEADLINE_MS, late: () => new Error(`no proxy answers at ${listen}`) });
  return root;
}

function connect(hosts: string[], logIn: LogIn): Etcd3 {
  const client = etcdClient(hosts, logIn);
  clients.add(client);
  return client;
}

/** Closes every root. For `after`. */
export async function closeRoots(): Promise<void> {
  for (const client of clients) client.close();
  clients.clear();
  for (const proxy of proxies) {
    proxy.kill("SIGKILL");
    if (proxy.exitCode === null && proxy.signalCode === null) await once(proxy, "exit");
  }
  proxies.clear();
}

/** What one worker serves, and as what. */
export interface Served {
  namespace: string;
  model: string;
  /** The NIXL engine's id. */
  engine: string;
}

/** A key as a version of Dynamo writes it. */
interface Written {
  key: string;
  value: string | Buffer;
  /** Whether it goes with the worker's lease; what does not stays until somebody removes it. */
  leased: boolean;
  /** What tells whose it is: its layout, its value alone, or nothing. */
  told: "layout" | "value" | "nothing";
}

/** Every key that workers of Dynamo 0.1 to 1.5 write for one instance, and llmctl and the operator for it. */
export function keysOf({ namespace, model, engine }: Served, lease: string): Written[] {
  const id = BigInt(lease).toString(16);
  const slug = model.toLowerCase().replace(/[^a-z0-9-]/g, "_");
  const [component, endpoint] = ["backend", "generate"];
  const instance = { namespace, component, endpoint, instance_id: Number(lease), transport: { nats_tcp: "subject" } };
  const card = { display_name: model, slug, context_length: 8192 };
  const entry = { name: model, endpoint: { namespace, component, name: endpoint }, model_type: "Chat" };
  const scope = { kind: "Component", namespace, component };
  const leased: Record<string, unknown> = {
    // 0.6 to 1.5
    [`v1/instances/${namespace}/${component}/${endpoint}/${id}`]: { type: "Endpoint", ...instance },
    [`v1/mdc/${namespace}/${component}/${endpoint}/${id}`]: { type: "Model", ...instance, card_json: card },
    [`v1/event_channels/namespace/${namespace}/component/${component}/topic/kv/${id}`]: { type: "EventChannel", scope },
    [`v1/event_channels/${namespace}/${component}/kv/${id}`]: { type: "EventChannel", ...instance },
    [`v1/event_sources/namespace/${namespace}/topic/kv/${id}`]: { type: "EventSource", scope },
    [`v1/kv_routers/${namespace}/${component}/${engine}`]: { overlap_score_weight: 1 },
    [`v1/${namespace}/planner/num_prefill_workers`]: 2,
    [`v1/${namespace}/ports/10.0.0.7/20001`]: { worker_id: engine },
    // 0.2.1 to 0.5
    [`instances/${namespace}/${component}/${endpoint}:${id}`]: instance,
    [`dyn://${namespace}/ports/10.0.0.7/20001`]: { worker_id: engine },
    // 0.1 to 0.2.0
    [`${namespace}/components/VllmWorker/${endpoint}:${id}`]: instance,
    [`/${namespace}/disagg_router/max_local_prefill_length`]: 1000,
  };
  const nobodys: Record<string, unknown> = {
    [`mdc/${slug}`]: card,
    [`public/components/disagg_router/models/chat/${model}`]: { max_local_prefill_length: 1000 },
  };
  const written = (key: string, value: unknown, goesWithLease: boolean, told: Written["told"]): Written => ({
    key,
    value: JSON.stringify(value),
    leased: goesWithLease,
    told,
  });
  return [
    ...Object.entries(leased).map(([key, value]) => written(key, value, true, "layout")),
    written(`models/${engine}`, entry, true, "value"),
    written(`public/components/http/models/chat/${model}`, entry, false, "value"),
    ...Object.entries(nobodys).map(([key, value]) => written(key, value, false, "nothing")),
    { key: `dynamo/nixl_metadata/${engine}`, value: nixlMetadata(engine), leased: false, told: "nothing" },
  ];
}

/** msgpack, which is not text: `{ engine_id }`. */
const nixlMetadata = (engine: string) =>
  Buffer.concat([
    Buffer.from([0x81, 0xa9]),
    Buffer.from("engine_id"),
    Buffer.from([0xd9, engine.length]),
    Buffer.from(engine),
  ]);

/** A worker that serves a model for as long as its lease lives. */
export class Worker {
  readonly served: Served;
  readonly lease: Lease;
  /** The lease's id, as Dynamo writes it in keys. */
  readonly id: string;
  readonly keys: Written[];

  private constructor(served: Served, lease: Lease, grant: string) {
    this.served = served;
    this.lease = lease;
    this.id = BigInt(grant).toString(16);
    this.keys = keysOf(served, grant);
  }

  static async start(root: Etcd3, served: Served): Promise<Worker> {
    const lease = root.lease(LEASE_S);
    const worker = new Worker(served, lease, await lease.grant());
    for (const { key, value, leased } of worker.keys) await (leased ? lease : root).put(key).value(value).exec();
    return worker;
  }

  /** Whether its lease lives: a worker that loses it shuts down. */
  async isServing(root: Etcd3): Promise<boolean> {
    const { TTL } = await root.leaseClient.leaseTimeToLive({ ID: await this.lease.grant() });
    return BigInt(TTL) > 0n;
  }

  /** Ends as a process does: what hangs on its lease goes, the rest stays. */
  async stop(): Promise<void> {
    await this.lease.revoke();
  }
}

/** A frontend: lists the whole root, then watches all of it, and filters only then. */
export class Frontend {
  readonly #keys: Map<string, string>;

  private constructor(keys: Map<string, string>, watcher: Watcher) {
    this.#keys = keys;
    watcher.on("put", ({ key, value }) => keys.set(key.toString(), value.toString()));
    watcher.on("delete", ({ key }) => keys.delete(key.toString()));
    // The server ends it with the test.
    watcher.on("error", () => {});
  }

  static async open(root: Etcd3): Promise<Frontend> {
    const { header, kvs } = await root.getAll().prefix("").exec();
    const after = (BigInt(header.revision) + 1n).toString();
    const watcher = await root.watch().prefix("").startRevision(after).create();
    return new Frontend(new Map(kvs.map(({ key, value }) => [key.toString(), value.toString()])), watcher);
  }

  /** What a user is offered: the models of every version's registrations. */
  models(): string[] {
    const names = this.#below("v1/mdc/", "models/", "public/components/http/models/").map((value) => {
      const { name, card_json } = JSON.parse(value) as { name?: string; card_json?: { display_name: string } };
      return card_json?.display_name ?? name ?? value;
    });
    return [...new Set(names)].sort();
  }

  /** The ids of the workers that requests would be sent to. */
  workers(): string[] {
    const ids = [...this.#keys.keys()]
      .filter((key) => /^(v1\/)?instances\/|^[^/]+\/components\/VllmWorker\//.test(key))
      .map((key) => key.split(/[/:]/).at(-1) as string);
    return [...new Set(ids)].sort();
  }

  /** Whose NIXL memory a prefill worker would write to. */
  engines(): string[] {
    return [...this.#keys.keys()].flatMap((key) => /^dynamo\/nixl_metadata\/(.*)/.exec(key)?.slice(1) ?? []).sort();
  }

  /** Every key that it knows of. */
  keys(): string[] {
    return [...this.#keys.keys()].sort();
  }

  /** Waits until it knows all that this worker wrote. */
  async hears(worker: Worker): Promise<void> {
    const missing = () => worker.keys.filter(({ key }) => !this.#keys.has(key));
    await until(async () => missing().length === 0 || undefined, {
      deadlineMs: DEADLINE_MS,
      late: () => new Error(`the frontend does not see '${missing()[0]?.key}'`),
    });
  }

  /** Waits until it knows nothing. */
  async isEmpty(): Promise<void> {
    await until(async () => this.#keys.size === 0 || undefined, {
      deadlineMs: DEADLINE_MS,
      late: () => new Error(`the frontend still sees '${this.keys()[0]}'`),
    });
  }

  #below(...prefixes: string[]): string[] {
    return [...this.#keys]
      .filter(([key]) => prefixes.some((prefix) => key.startsWith(prefix)))
      .map(([, value]) => value);
  }
}
