/**
 * The platform's two etcds: the one that tenants share, with authentication; and one without for Kubernetes alone, so
 * that no tenant's churn or mistake reaches the apiserver's data.
 */
import { renameSync } from "node:fs";
import { keep, randomSecret, read } from "./files.ts";
import { layout } from "./layout.ts";
import type { PortName, Ports } from "./ports.ts";
import { httpRequest } from "./request.ts";
import type { Server } from "./server.ts";
import { clientTls, tlsOf } from "./tls.ts";

/** Seconds for one request. */
const deadline = 5;

/** How clients reach the tenants' etcd. By name with TLS: gRPC for Node.js would send an address as server name. */
export const etcdEndpoint = (home: string, ports: Ports): string =>
  tlsOf(home) ? `https://localhost:${ports.etcd}` : `http://127.0.0.1:${ports.etcd}`;

function etcdServer(home: string, ports: Ports, name: "etcd" | "kubernetes-etcd", endpoint: string, extra: string[]) {
  const peer: PortName = `${name}-peer`;
  const peers = `http://127.0.0.1:${ports[peer]}`;
  return {
    name,
    tool: "etcd",
    ports: [name, peer],
    endpoint,
    args: [
      `--name=${name}`,
      `--data-dir=${layout(home).dataOf(name)}`,
      `--listen-client-urls=${endpoint.replace("localhost", "127.0.0.1")}`,
      `--advertise-client-urls=${endpoint}`,
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
  const tls = tlsOf(home);
  const server = etcdServer(home, ports, "etcd", etcdEndpoint(home, ports), [
    // Every password here is 256 random bits, so a slow hash protects nothing; at the default cost of 10 each log-in
    // takes 60-300 ms of CPU, which two cores feel in every test.
    "--bcrypt-cost=4",
    "--auto-compaction-mode=periodic",
    "--auto-compaction-retention=1h",
    ...(tls ? [`--cert-file=${tls.server.cert}`, `--key-file=${tls.server.key}`] : []),
    ...(tls ? [`--trusted-ca-file=${tls.ca}`, "--client-cert-auth"] : []),
  ]);
  return { ...server, ready: () => assertGuarded(home, adminPlace(home, ports)) };
}

/** Kubernetes' etcd. The apiserver compacts it by itself. */
export function kubernetesEtcd(home: string, ports: Ports): Server {
  // Skipping fsync saves seconds of boot on slow disks. Only a crash of the machine can lose data by it, never a killed
  // process, and this cluster is simulated: `ringfence dev reset` makes a new one.
  const endpoint = `http://127.0.0.1:${ports["kubernetes-etcd"]}`;
  const server = etcdServer(home, ports, "kubernetes-etcd", endpoint, ["--unsafe-no-fsync"]);
  return {
    ...server,
    ready: async () => {
      await call({ endpoint }, "kv/range", { key: encode("/"), limit: "1" });
    },
  };
}

/** Sets a new random password for root; a kill in between is repaired by the next `up`. */
export async function rotateRootPassword(home: string, ports: Ports): Promise<void> {
  const { etcdPassword, nextEtcdPassword } = layout(home);
  const place = adminPlace(home, ports);
  const token = await logIn(home, place);
  const password = keep(nextEtcdPassword, randomSecret);
  await call(place, "auth/user/changepw", { name: "root", password }, token);
  renameSync(nextEtcdPassword, etcdPassword);
}

/** An etcd, and what its TLS wants of a client. */
interface EtcdPlace {
  endpoint: string;
  tls?: ReturnType<typeof clientTls>;
}

const adminPlace = (home: string, ports: Ports): EtcdPlace => ({
  endpoint: etcdEndpoint(home, ports),
  tls: clientTls(home),
});

/** Turns authentication on where a first boot, perhaps a killed one, has not yet; then reads as root. */
async function assertGuarded(home: string, place: EtcdPlace): Promise<void> {
  const token = await logIn(home, place).catch(async (error: Error) => {
    if (!error.message.includes("authentication is not enabled")) throw error;
    await enableAuthentication(place, keep(layout(home).etcdPassword, randomSecret));
    return logIn(home, place);
  });
  await call(place, "kv/range", { key: encode("/"), limit: "1" }, token);
}

async function enableAuthentication(place: EtcdPlace, password: string): Promise<void> {
  const unlessThere = (error: Error) => {
    if (!error.message.includes("already exists")) throw error;
  };
  await call(place, "auth/role/add", { name: "root" }).catch(unlessThere);
  await call(place, "auth/user/add", { name: "root", password }).catch(unlessThere);
  await call(place, "auth/user/changepw", { name: "root", password });
  await call(place, "auth/user/grant", { user: "root", role: "root" });
  await call(place, "auth/enable", {});
}

async function logIn(home: string, place: EtcdPlace): Promise<string> {
  const { etcdPassword, nextEtcdPassword } = layout(home);
  const attempt = async (password: string) =>
    (await call<{ token: string }>(place, "auth/authenticate", { name: "root", password })).token;
  const refused = (error: Error) => error.message.includes("invalid user ID or password");

  const next = read(nextEtcdPassword);
  try {
    return await attempt(keep(etcdPassword, randomSecret));
  } catch (error) {
    if (!refused(error as Error)) throw error;
    if (next === undefined)
      throw new Error(
        `etcd: ${place.endpoint} refuses root's password in ${etcdPassword}; \`ringfence dev reset\` starts afresh`,
      );
  }
  const token = await attempt(next);
  renameSync(nextEtcdPassword, etcdPassword);
  return token;
}

const encode = (text: string) => Buffer.from(text).toString("base64");

/** One request to etcd's own JSON gateway. */
async function call<T>({ endpoint, tls }: EtcdPlace, path: string, body: object, token?: string): Promise<T> {
  const url = `${endpoint}/v3/${path}`;
  const headers = token ? { authorization: token } : {};
  const answer = await httpRequest(url, { ...tls, method: "POST", headers, body, within: deadline }).catch(
    (error: Error) => {
      throw new Error(`etcd: ${url}: ${error.message}`);
    },
  );
  const { message } = answer.body as { message?: string };
  if (answer.status >= 300) throw new Error(`etcd: ${url}: ${message ?? answer.status}`);
  return answer.body as T;
}
