/** What the suites of this room share: a tenant, workers in processes of their own, and a steady load of real requests. */
import assert from "node:assert/strict";
import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../../components/stores/errors.ts";
import { freePort } from "../../dev/platform/ports.ts";
import {
  Client,
  type ClientOptions,
  type RequestError,
  type RequestOptions,
  type ServeOptions,
} from "../../runtime/index.ts";
import { access, newLedger, newProcess, newRealm, provision, type Tenant, tidy } from "../tenancy/scene.ts";
import type { Task, WorkerSpec } from "./worker-process.ts";

/** A worker's process. */
export interface Running {
  instance: string;
  port: number;
  process: ChildProcess;
  /** What it wrote to stderr. */
  said: () => string;
  /** Resolves at its end with its exit code or signal. */
  ended: Promise<number | NodeJS.Signals>;
}

/** What became of a load. */
export interface Load {
  sent: number;
  answered: number;
  failures: RequestError[];
  /** Milliseconds of those that were answered. */
  took: number[];
  /** Ends it, and waits for what is under way. */
  stop(): Promise<void>;
}

/** Short times, so that a suite takes seconds; the same in every worker. */
export const TIMES = { leaseTtl: 1, propagationSeconds: 0.5, graceSeconds: 5 };

/** One tenant, with its workers and clients; `close` in `after`. */
export class Scene {
  readonly tenant: Tenant;
  readonly env: Record<string, string>;
  readonly #directory: string;
  readonly #running = new Set<Running>();
  readonly #clients: Client[] = [];
  readonly #proxies: ChildProcess[] = [];

  private constructor(tenant: Tenant) {
    this.tenant = tenant;
    this.#directory = mkdtempSync(join(tmpdir(), "ringfence-runtime-"));
    const creds = join(this.#directory, "nats.creds");
    writeFileSync(creds, tenant.nats.creds.worker as string, { mode: 0o600 });
    this.env = {
      RINGFENCE_PIPELINE: "chat",
      RINGFENCE_VERTEX: "worker",
      RINGFENCE_ETCD_PREFIX: tenant.etcd.prefix,
      ETCD_ENDPOINTS: access.etcd.endpoints.join(","),
      ETCD_AUTH_USERNAME: tenant.etcd.username,
      ETCD_AUTH_PASSWORD: tenant.etcd.password,
      NATS_SERVER: access.nats.servers.join(","),
      NATS_AUTH_CREDENTIALS_FILE: creds,
    };
  }

  static async make(): Promise<Scene> {
    const stores = newProcess();
    return new Scene(await provision(stores, await newLedger(stores), `${newRealm()}/chat`));
  }

  /** The environment of a vertex before whose etcd is a proxy that puts the prefix before every key. */
  async throughProxy(): Promise<Record<string, string>> {
    const { RINGFENCE_ETCD_PREFIX: prefix, ...env } = this.env;
    const listen = `127.0.0.1:${await freePort()}`;
    const endpoints = access.etcd.endpoints.map((url) => new URL(url).host).join(",");
    const where = [`--endpoints=${endpoints}`, `--listen-addr=${listen}`, `--advertise-client-url=${listen}`];
    this.#proxies.push(spawn("etcd", ["grpc-proxy", "start", `--namespace=${prefix}`, ...where], { stdio: "ignore" }));
    const answers = () => fetch(`http://${listen}/health`).then(Boolean, () => false);
    await eventually("the proxy answers", answers);
    return { ...env, ETCD_ENDPOINTS: `http://${listen}` };
  }

  /** Starts a worker and waits until it is registered. */
  async worker(
    endpoint: string,
    { hangs = false, ...options }: ServeOptions & { hangs?: boolean } = {},
  ): Promise<Running> {
    const spec: WorkerSpec = { endpoint, runs: this.#runs(endpoint), hangs, options: { ...TIMES, ...options } };
    appendFileSync(spec.runs, "");
    const child = fork(new URL("worker-process.ts", import.meta.url), [JSON.stringify(spec)], {
      env: { ...process.env, ...this.env },
      stdio: ["ignore", "inherit", "pipe", "ipc"],
    });
    let said = "";
    child.stderr?.on("data", (text) => {
      said += text;
    });
    const ended = once(child, "exit").then(([code, signal]) => code ?? signal);
    const [started] = (await Promise.race([
      once(child, "message"),
      ended.then((code) => assert.fail(`the worker ended with ${code} before it was ready: ${said}`)),
    ])) as [{ instance: string; port: number }];
    const running = { ...started, process: child, said: () => said, ended };
    this.#running.add(running);
    return running;
  }

  workers(endpoint: string, count: number, options: ServeOptions = {}): Promise<Running[]> {
    return Promise.all(Array.from({ length: count }, () => this.worker(endpoint, options)));
  }

  async client(options: ClientOptions = {}): Promise<Client> {
    const client = await Client.open({ env: this.env, healthIntervalMs: 250, ...options });
    this.#clients.push(client);
    return client;
  }

  /** Sends requests at a steady rate; every body has a key of its own. */
  load(
    client: Client,
    endpoint: string,
    options: RequestOptions & { perSecond?: number; task?: Partial<Task> } = {},
  ): Load {
    const { perSecond = 100, task = {}, ...of } = options;
    const open = new Set<Promise<void>>();
    const load: Load = { sent: 0, answered: 0, failures: [], took: [], stop: async () => undefined };
    const send = async (key: string) => {
      const begun = performance.now();
      try {
        const answer = await client.request<{ key: string }>(endpoint, { key, ...task } satisfies Task, of);
        assert.equal(answer.key, key, "a caller got somebody else's answer");
        load.answered++;
        load.took.push(performance.now() - begun);
      } catch (error) {
        load.failures.push(error as RequestError);
      }
    };
    const begun = performance.now();
    const timer = setInterval(() => {
      while (load.sent < ((performance.now() - begun) / 1000) * perSecond) {
        const sent = send(`${endpoint}-${load.sent++}`).finally(() => open.delete(sent));
        open.add(sent);
      }
    }, 5);
    load.stop = async () => {
      clearInterval(timer);
      await Promise.all(open);
    };
    return load;
  }

  /** How often the handlers of an endpoint ran, by key. */
  runs(endpoint: string): Map<string, number> {
    const runs = new Map<string, number>();
    for (const key of readFileSync(this.#runs(endpoint), "utf8").split("\n").filter(Boolean))
      runs.set(key, (runs.get(key) ?? 0) + 1);
    return runs;
  }

  async close(): Promise<void> {
    for (const client of this.#clients) await client.close();
    for (const { process } of this.#running) process.kill("SIGKILL");
    await Promise.all([...this.#running].map(({ ended }) => ended));
    for (const proxy of this.#proxies) proxy.kill("SIGKILL");
    rmSync(this.#directory, { recursive: true, force: true });
    await tidy();
  }

  #runs(endpoint: string): string {
    return join(this.#directory, `${endpoint}.runs`);
  }
}

/** Waits for a condition. @param withinMs more than anything here takes on a machine that is busy with something else */
export const eventually = (what: string, holds: () => boolean | Promise<boolean>, withinMs = 90_000): Promise<true> =>
  until(async () => ((await holds()) ? true : undefined), {
    deadlineMs: withinMs,
    everyMs: 20,
    late: () => new Error(`not within ${withinMs} ms: ${what}`),
  });

/** Lets a load go on until so many more were answered: time for things to go wrong, in requests. */
export const untilAnswered = (load: Load, more: number): Promise<true> => {
  const goal = load.answered + more;
  return eventually(`${more} more answers`, () => load.answered >= goal);
};

export { sleep };
