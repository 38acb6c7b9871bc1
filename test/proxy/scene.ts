/** Proxies as the component declares them, run by the real binary; and the kubelet's part: a proxy that is not alive is started again. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Etcd3, Range } from "etcd3";
import { Platform } from "../../components/index.ts";
import { until } from "../../components/stores/errors.ts";
import { freePort } from "../../dev/platform/ports.ts";
import { type Fields, run } from "../components/engine.ts";
import { chat } from "../components/scene.ts";

const DEADLINE_MS = 90_000;

/** Waits until it holds. */
export const eventually = (what: string, holds: () => boolean | Promise<boolean>): Promise<true> =>
  until(async () => ((await holds()) ? true : undefined), {
    deadlineMs: DEADLINE_MS,
    late: () => new Error(`${what}: not within ${DEADLINE_MS} ms`),
  });

export interface LogIn {
  username: string;
  password: string;
}

export interface TenantOfEtcd extends LogIn {
  prefix: string;
}

export const ROOT: LogIn = { username: "root", password: "admin" };

const clients = new Set<Etcd3>();

export function connect(endpoint: string, { username, password }: LogIn): Etcd3 {
  const client = new Etcd3({ hosts: [endpoint], auth: { username, password } });
  clients.add(client);
  return client;
}

/** A user with a role for one prefix, as a slot has them. */
export async function newTenant(admin: Etcd3, name: string): Promise<TenantOfEtcd> {
  const tenant = {
    prefix: `/ringfence/tenants/${name}/`,
    username: `ringfence.${name}`,
    password: `password of ${name}`,
  };
  const role = admin.role(tenant.username);
  await role.create();
  await role.grant({ permission: "Readwrite", range: Range.prefix(tenant.prefix) });
  await (await admin.user(tenant.username).create(tenant.password)).addRole(role);
  return tenant;
}

/**
 * Knows the keys of the whole root as Dynamo's runtime does: lists, watches from there on, and when a watch is ended goes on
 * behind what it has heard, with a new connection and a new log-in. A watch that is merely silent it takes for a quiet one.
 */
export class Discovery {
  readonly keys = new Map<string, string>();
  /** How many watches it has opened. */
  watches = 0;
  readonly #endpoint: string;
  readonly #logIn: LogIn;
  #next = 0n;
  #closed = false;

  private constructor(endpoint: string, logIn: LogIn) {
    this.#endpoint = endpoint;
    this.#logIn = logIn;
  }

  /** @returns once it has listed and its first watch is confirmed */
  static async open(endpoint: string, logIn: LogIn): Promise<Discovery> {
    const discovery = new Discovery(endpoint, logIn);
    const root = connect(endpoint, logIn);
    const { header, kvs } = await root.getAll().prefix("").exec();
    for (const { key, value } of kvs) discovery.keys.set(key.toString(), value.toString());
    discovery.#next = BigInt(header.revision) + 1n;
    await discovery.#watch(root);
    return discovery;
  }

  async #watch(root: Etcd3): Promise<void> {
    const watcher = await root.watch().prefix("").startRevision(this.#next.toString()).create();
    this.watches++;
    watcher.on("data", ({ header }) => {
      this.#next = BigInt(header.revision) + 1n;
    });
    watcher.on("put", ({ key, value }) => this.keys.set(key.toString(), value.toString()));
    watcher.on("delete", ({ key }) => this.keys.delete(key.toString()));
    // etcd3 tries a lost connection again by itself, and says so; with an old token it is refused, and the watch is over.
    watcher.once("error", () => void this.#again());
  }

  async #again(): Promise<void> {
    while (!this.#closed) {
      const root = connect(this.#endpoint, this.#logIn);
      try {
        return await this.#watch(root);
      } catch {
        root.close();
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
  }

  close(): void {
    this.#closed = true;
  }
}

/** The containers of the proxy's pod, as the component renders them: words of the proxy, variables of its front. */
interface Declared {
  proxy: string[];
  script: string;
  env: Record<string, string>;
}

async function containers(tls: boolean): Promise<Declared> {
  // What they are is of no matter: the pod names files.
  const certificate = { cert: "certificate", key: "key" };
  const platform = () =>
    new Platform("platform", {
      etcd: {
        endpoints: ["https://admin-etcd:2379"],
        clusterEndpoints: ["https://etcd:2379"],
        tls: { ca: "authority" },
      },
      nats: { servers: ["nats://admin-nats:4222"], clusterServers: ["nats://nats:4222"] },
    });
  const over = () => (tls ? { platform: platform(), proxy: { certificate } } : {});
  const all = await run(() => chat({ isolation: "proxy", ...over() }));
  const pod = all.get("Deployment chat-etcd-proxy")?.inputs.spec.template.spec as Fields;
  const [proxy, front] = pod.containers;
  const script = all.get("ConfigMap chat-etcd-proxy-front")?.inputs.data["front.cjs"];
  const env = Object.fromEntries(front.env.map(({ name, value }: Fields) => [name, value ?? ""]));
  return { proxy: [...proxy.command, ...proxy.args], script, env };
}

/** Files of a client's certificate, when etcd asks for one. */
export interface ProxyTls {
  ca: string;
  cert: string;
  key: string;
}

interface PodPorts {
  client: number;
  proxy: number;
  health: number;
}

/** One pod: the proxy, its front unless left out, and a kubelet that restarts the proxy when the front says so. */
export class ProxyPod {
  /** For clients: of the front, or of the proxy without one. */
  readonly endpoint: string;
  /** How often the kubelet has started the proxy again. */
  restarts = 0;
  /** Looks of the front at its proxy that failed. */
  complaints = 0;
  readonly #etcd: string;
  readonly #tls: ProxyTls | undefined;
  readonly #tenant: TenantOfEtcd;
  readonly #declared: Declared;
  readonly #ports: PodPorts;
  readonly #directory = mkdtempSync(join(tmpdir(), "ringfence-proxy-"));
  readonly #kubelet = new AbortController();
  #probing: Promise<void> | undefined;
  #proxy: ChildProcess | undefined;
  #front: ChildProcess | undefined;

  private constructor(
    etcd: string,
    tenant: TenantOfEtcd,
    ports: PodPorts,
    declared: Declared,
    tls: ProxyTls | undefined,
  ) {
    this.#etcd = etcd;
    this.#tls = tls;
    this.#tenant = tenant;
    this.#ports = ports;
    this.#declared = declared;
    this.endpoint = `http://127.0.0.1:${ports.client}`;
  }

  /**
   * @param etcd its endpoint
   * @param options.fronted as the component declares it; without, it is what etcd's proxy does by itself
   */
  static async start(
    etcd: string,
    tenant: TenantOfEtcd,
    { fronted = true, tls }: { fronted?: boolean; tls?: ProxyTls } = {},
  ): Promise<ProxyPod> {
    const [proxy, health] = [await freePort(), await freePort()];
    const client = fronted ? await freePort() : proxy;
    const pod = new ProxyPod(etcd, tenant, { client, proxy, health }, await containers(tls !== undefined), tls);
    await pod.startProxy();
    if (fronted) await pod.#startFront();
    return pod;
  }

  async startProxy(): Promise<void> {
    const { proxy } = this.#ports;
    const replace: Record<string, string> = {
      "--endpoints": this.#etcd,
      "--namespace": this.#tenant.prefix,
      "--listen-addr": `127.0.0.1:${proxy}`,
      "--advertise-client-url": this.endpoint,
      ...(this.#tls && { "--cacert": this.#tls.ca, "--cert": this.#tls.cert, "--key": this.#tls.key }),
    };
    const [command = "", ...args] = this.#declared.proxy.map((arg) => {
      const [flag = ""] = arg.split("=", 1);
      return Object.hasOwn(replace, flag) ? `${flag}=${replace[flag]}` : arg;
    });
    const flags = args.map((arg) => arg.split("=", 1)[0]);
    assert.deepEqual(
      Object.keys(replace).filter((flag) => !flags.includes(flag)),
      [],
    );
    this.#proxy = spawn(command, args, { stdio: "ignore", cwd: this.#directory });
    await eventually(`the proxy at ${proxy}`, () => accepts(proxy));
  }

  async killProxy(): Promise<void> {
    await kill(this.#proxy);
  }

  async #startFront(): Promise<void> {
    const { client, proxy, health } = this.#ports;
    const tls = this.#tls && { ETCD_CA: this.#tls.ca, ETCD_CERT: this.#tls.cert, ETCD_KEY: this.#tls.key };
    const { env } = this.#declared;
    assert.deepEqual(
      Object.keys(tls ?? {}).filter((name) => !env[name]),
      [],
    );
    const file = join(this.#directory, "front.cjs");
    writeFileSync(file, this.#declared.script);
    this.#front = spawn(process.execPath, [file], {
      stdio: ["ignore", "pipe", "inherit"],
      env: {
        PORT: String(client),
        PROXY: `http://127.0.0.1:${proxy}`,
        ETCD_ENDPOINTS: this.#etcd,
        ETCD_AUTH_USERNAME: this.#tenant.username,
        ETCD_AUTH_PASSWORD: this.#tenant.password,
        ...tls,
        KEY: env.KEY,
        HEALTH_PORT: String(health),
        // Everything in this room is quick: etcd's tokens live two seconds here, and not five minutes.
        INTERVAL_MS: "300",
        DEADLINE_MS: "4000",
      },
    });
    this.#front.stdout?.on("data", () => {
      this.complaints++;
    });
    const ready = () =>
      fetch(`http://127.0.0.1:${health}/ready`).then(
        ({ ok }) => ok,
        () => false,
      );
    await eventually("the front is ready", ready);
    this.#probing = this.#probe();
  }

  async #probe(): Promise<void> {
    while (!this.#kubelet.signal.aborted) {
      const { status } = await fetch(`http://127.0.0.1:${this.#ports.health}/`);
      if (status === 503) {
        this.restarts++;
        await this.killProxy();
        await this.startProxy();
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  async stop(): Promise<void> {
    this.#kubelet.abort();
    await this.#probing;
    await Promise.all([kill(this.#front), kill(this.#proxy)]);
    rmSync(this.#directory, { recursive: true });
  }
}

/** Ends every client. For `after`. */
export function closeClients(): void {
  for (const client of clients) client.close();
  clients.clear();
}

async function kill(process: ChildProcess | undefined): Promise<void> {
  if (!process || process.exitCode !== null || process.signalCode !== null) return;
  process.kill("SIGKILL");
  await once(process, "exit");
}

const accepts = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = createConnection({ host: "127.0.0.1", port });
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
