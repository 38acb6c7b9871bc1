/** An etcd of a benchmark's own, as a platform would run it: with authentication, and waiting for its disk. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Etcd, EtcdAccess } from "../components/stores/etcd.ts";
import { freePort } from "../dev/platform/ports.ts";
import { until } from "../dev/platform/wait.ts";
import { ensureTools } from "../dev/tools/index.ts";

/** Seconds. */
const START_DEADLINE = 30;

/** Files in PEM, as dev/platform/certificates.ts makes them. */
export interface Certificates {
  ca: string;
  cert: string;
  key: string;
}

export interface OwnEtcd {
  access: EtcdAccess;
  /** Another listener's address, when there are certificates. */
  tlsEndpoint?: string;
  /** Stops it and removes its data. */
  remove(): Promise<void>;
}

/**
 * Starts one and turns authentication on.
 * @param options.bcryptCost of passwords; etcd's default is 10
 * @param options.certificates adds a TLS listener that takes client certificates for log-ins
 */
export async function startEtcd(options: { bcryptCost: number; certificates?: Certificates }): Promise<OwnEtcd> {
  const etcd = await toolPath("etcd");
  const directory = mkdtempSync(join(tmpdir(), "ringfence-bench-etcd-"));
  const [endpoint, peers] = [`http://127.0.0.1:${await freePort()}`, `http://127.0.0.1:${await freePort()}`];
  const { certificates } = options;
  const listener = certificates && `https://127.0.0.1:${await freePort()}`;
  // By name, for etcd3 sends it as TLS server name, which may be no address.
  const tlsEndpoint = listener?.replace("127.0.0.1", "localhost");
  const clients = [endpoint, ...(listener ? [listener] : [])].join();
  const child = spawn(
    etcd,
    [
      `--data-dir=${directory}`,
      `--listen-client-urls=${clients}`,
      `--advertise-client-urls=${clients}`,
      `--listen-peer-urls=${peers}`,
      `--initial-advertise-peer-urls=${peers}`,
      `--initial-cluster=default=${peers}`,
      `--bcrypt-cost=${options.bcryptCost}`,
      "--quota-backend-bytes=8589934592",
      "--log-level=error",
      ...(certificates
        ? [
            `--cert-file=${certificates.cert}`,
            `--key-file=${certificates.key}`,
            `--trusted-ca-file=${certificates.ca}`,
            "--client-cert-auth",
          ]
        : []),
    ],
    { stdio: "ignore" },
  );
  await until({
    what: `etcd at ${endpoint}`,
    within: START_DEADLINE,
    attempt: async () => {
      if (!(await fetch(`${endpoint}/health`)).ok) throw new Error("not healthy");
    },
  });
  await turnAuthenticationOn(endpoint);
  return {
    access: { endpoints: [endpoint], username: "root", password: "root" },
    tlsEndpoint,
    remove: async () => {
      await stop(child);
      rmSync(directory, { recursive: true });
    },
  };
}

/** A grpc-proxy in front of an etcd. */
export async function startProxy(endpoint: string): Promise<{ endpoint: string; stop(): Promise<void> }> {
  const address = `127.0.0.1:${await freePort()}`;
  const args = ["grpc-proxy", "start", `--endpoints=${endpoint}`, `--listen-addr=${address}`];
  const child = spawn(await toolPath("etcd"), [...args, `--advertise-client-url=${address}`], { stdio: "ignore" });
  await until({
    what: `grpc-proxy at ${address}`,
    within: START_DEADLINE,
    // Any answer will do: it has no user to ask etcd with.
    attempt: () => fetch(`http://${address}/health`),
  });
  return { endpoint: `http://${address}`, stop: () => stop(child) };
}

/** What etcdctl prints. */
export async function etcdctl({ endpoints, username, password }: EtcdAccess, ...args: string[]): Promise<string> {
  const options = [`--endpoints=${endpoints.join()}`, `--user=${username}:${password}`, "--command-timeout=120s"];
  // It refuses to be told by its environment, too.
  const { stdout } = await promisify(execFile)(await toolPath("etcdctl"), [...args, ...options], { env: {} });
  return stdout;
}

async function toolPath(name: string): Promise<string> {
  const tool = (await ensureTools())[name];
  if (!tool) throw new Error(`the tools have no ${name}: run 'npx ringfence doctor'`);
  return tool.path;
}

/** Ends a process and waits until it is gone. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}

/** By etcd's JSON gateway: our own client refuses an etcd that has it off. */
async function turnAuthenticationOn(endpoint: string): Promise<void> {
  const steps: Array<[string, object]> = [
    ["role/add", { name: "root" }],
    ["user/add", { name: "root", password: "root" }],
    ["user/grant", { user: "root", role: "root" }],
    ["enable", {}],
  ];
  for (const [path, body] of steps) {
    const { ok, status } = await fetch(`${endpoint}/v3/auth/${path}`, { method: "POST", body: JSON.stringify(body) });
    if (!ok) throw new Error(`etcd at ${endpoint} answered ${status} to auth/${path}`);
  }
}

/** A user of that name, bound to the prefix; its password is its name. */
export async function addUser(admin: Etcd, name: string, prefix: string): Promise<void> {
  await admin.addRole(name);
  await admin.grantPrefix(name, prefix);
  await admin.addUser(name, name);
  await admin.grantRole(name, name);
}
