/**
 * The platform's two etcds: the one that tenants share, with authentication; and one without for Kubernetes alone, so
 * that no tenant's churn or mistake reaches the apiserver's data.
 */
import { renameSync } from "node:fs";
import { keep, randomSecret, read } from "./files.ts";
import { layout } from "./layout.ts";
import type { PortName, Ports } from "./ports.ts";
import type { Server } from "./server.ts";

/** Seconds for one request. */
const deadline = 5;

function etcdServer(home: string, ports: Ports, name: "etcd" | "kubernetes-etcd", extra: string[]) {
  const peer: PortName = `${name}-peer`;
  const client = `http://127.0.0.1:${ports[name]}`;
  const peers = `http://127.0.0.1:${ports[peer]}`;
  return {
    name,
    tool: "etcd",
    ports: [name, peer],
    endpoint: client,
    args: [
      `--name=${name}`,
      `--data-dir=${layout(home).dataOf(name)}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peers}`,
      `--initial-advertise-peer-urls=${peers}`,
      `--initial-cluster=${name}=${peers}`,
      "--quota-backend-bytes=2147483648",
      ...extra,
    ],
  };
}

/** The etcd of the tenants. */
export function tenantEtcd(home: string, ports: Ports): Server {
  const server = etcdServer(home, ports, "etcd", [
    // Every password here is 256 random bits, so a slow hash protects nothing; at the default cost of 10 each log-in
    // takes 60-300 ms of CPU, which two cores feel in every test.
    "--bcrypt-cost=4",
    "--auto-compaction-mode=periodic",
    "--auto-compaction-retention=1h",
  ]);
  return { ...server, ready: () => assertGuarded(home, server.endpoint) };
}

/** Kubernetes' etcd. The apiserver compacts it by itself. */
export function kubernetesEtcd(home: string, ports: Ports): Server {
  // Skipping fsync saves seconds of boot on slow disks. Only a crash of the machine can lose data by it, never a killed
  // process, and this cluster is simulated: `ringfence dev reset` makes a new one.
  const server = etcdServer(home, ports, "kubernetes-etcd", ["--unsafe-no-fsync"]);
  return {
    ...server,
    ready: async () => {
      await call(server.endpoint, "kv/range", { key: encode("/"), limit: "1" });
    },
  };
}

/** Sets a new random password for root; a kill in between is repaired by the next `up`. */
export async function rotateRootPassword(home: string, ports: Ports): Promise<void> {
  const endpoint = `http://127.0.0.1:${ports.etcd}`;
  const { etcdPassword, nextEtcdPassword } = layout(home);
  const token = await logIn(home, endpoint);
  const password = keep(nextEtcdPassword, randomSecret);
  await call(endpoint, "auth/user/changepw", { name: "root", password }, token);
  renameSync(nextEtcdPassword, etcdPassword);
}

/** Turns authentication on where a first boot, perhaps a killed one, has not yet; then reads as root. */
async function assertGuarded(home: string, endpoint: string): Promise<void> {
  const token = await logIn(home, endpoint).catch(async (error: Error) => {
    if (!error.message.includes("authentication is not enabled")) throw error;
    await enableAuthentication(endpoint, keep(layout(home).etcdPassword, randomSecret));
    return logIn(home, endpoint);
  });
  await call(endpoint, "kv/range", { key: encode("/"), limit: "1" }, token);
}

async function enableAuthentication(endpoint: string, password: string): Promise<void> {
  const unlessThere = (error: Error) => {
    if (!error.message.includes("already exists")) throw error;
  };
  await call(endpoint, "auth/role/add", { name: "root" }).catch(unlessThere);
  await call(endpoint, "auth/user/add", { name: "root", password }).catch(unlessThere);
  await call(endpoint, "auth/user/changepw", { name: "root", password });
  await call(endpoint, "auth/user/grant", { user: "root", role: "root" });
  await call(endpoint, "auth/enable", {});
}

async function logIn(home: string, endpoint: string): Promise<string> {
  const { etcdPassword, nextEtcdPassword } = layout(home);
  const attempt = async (password: string) =>
    (await call<{ token: string }>(endpoint, "auth/authenticate", { name: "root", password })).token;
  const refused = (error: Error) => error.message.includes("invalid user ID or password");

  const next = read(nextEtcdPassword);
  try {
    return await attempt(keep(etcdPassword, randomSecret));
  } catch (error) {
    if (!refused(error as Error)) throw error;
    if (next === undefined)
      throw new Error(
        `etcd: ${endpoint} refuses root's password in ${etcdPassword}; \`ringfence dev reset\` starts afresh`,
      );
  }
  const token = await attempt(next);
  renameSync(nextEtcdPassword, etcdPassword);
  return token;
}

const encode = (text: string) => Buffer.from(text).toString("base64");

/** One request to etcd's own JSON gateway: booting needs no client library. */
async function call<T>(endpoint: string, path: string, body: object, token?: string): Promise<T> {
  const response = await fetch(`${endpoint}/v3/${path}`, {
    method: "POST",
    body: JSON.stringify(body),
    headers: token ? { authorization: token } : {},
    signal: AbortSignal.timeout(deadline * 1000),
  });
  const answer = (await response.json()) as T & { message?: string };
  if (!response.ok) throw new Error(`etcd: ${endpoint}/v3/${path}: ${answer.message ?? response.status}`);
  return answer;
}
