/**
 * The embedded platform: etcd, NATS and Kubernetes on 127.0.0.1, everything of it under one home directory.
 * Every command may be killed anywhere; the next `up` finds what runs and brings the rest.
 */
import { existsSync, mkdirSync, realpathSync, renameSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { etcdEndpoint, kubernetesEtcd, rotateRootPassword, tenantEtcd } from "./etcd.ts";
import { read, write } from "./files.ts";
import { kubernetesServers } from "./kubernetes.ts";
import { layout } from "./layout.ts";
import { exclusively } from "./lock.ts";
import { natsEndpoint, natsServer } from "./nats.ts";
import * as node from "./node/index.ts";
import { ensurePorts, keptPorts, movePort, type Ports } from "./ports.ts";
import { processPods } from "./process-pods.ts";
import { findProcess, stopProcess } from "./processes.ts";
import { bring, type Options, type Place, type Server, type ToolOptions } from "./server.ts";
import { clientTls, ensureTls, tlsOf } from "./tls.ts";

export { assertPossible as assertNodePossible } from "./node/index.ts";

export interface PlatformStatus {
  home: string;
  /** Whether every server runs. */
  running: boolean;
  servers: { name: string; pid?: number; running: boolean; endpoint?: string; log: string }[];
  /** Empty before the first `up`. */
  endpoints: { etcd: string[]; nats: string[]; kubernetes: string };
  /** Paths: root's password in etcd, the creds of NATS' system user, the operator's seed, the kubeconfig, the access file. */
  credentials: { etcd: string; nats: string; operator: string; kubeconfig: string; access: string };
}

export interface TlsOption {
  /** Turns TLS on in etcd and NATS, with certificates required of clients; once on it stays until `reset`. @default false */
  tls?: boolean;
}

export interface NodeOption {
  /** The binary's path for each of containerd, its shim, ctr, runc, kubelet and the CNI plugins: adds a real node, which stays until `down` (docs/real-node.md). @default none */
  realNode?: Record<string, string>;
}

/**
 * Brings the platform to ready. Servers that run as they should are kept, dead ones start on their old data and ports.
 * @throws when a server dies or is not ready within a minute (with the end of its log), or its port is taken
 */
export function up(options: ToolOptions & TlsOption & NodeOption): Promise<PlatformStatus> {
  mkdirSync(options.home, { recursive: true, mode: 0o700 });
  const home = locate(options.home);
  if (options.realNode) node.assertPossible(home);
  return exclusively(home, async () => {
    if (options.tls) ensureTls(home);
    if (options.realNode) node.ask(home, options.realNode);
    const ports = await ensurePorts(home);
    for (const wave of waves(home, ports))
      await settle(wave.map((server) => bring(server, ports, { ...options, home })));
    writeAccess(home, ports);
    if (!node.isAsked(home)) await node.forgetLeft(home, ports);
    const status = statusOf(home);
    // A killed `down` may have asked a server to stop that still answered a moment ago.
    const lost = status.servers.find((server) => !server.running);
    if (lost) throw new Error(`${lost.name}: went away during up (log: ${lost.log}); run \`ringfence dev up\` again`);
    return status;
  });
}

/** Stops every server, in the reverse order of their starts; their data stay. */
export function down(options: Options): Promise<void> {
  const home = locate(options.home);
  return exclusively(home, async () => {
    await stopAll({ ...options, home });
    node.askNoMore(home);
  });
}

/** What runs, and where its endpoints and credentials are. */
export async function status(options: Place): Promise<PlatformStatus> {
  return statusOf(locate(options.home));
}

/**
 * Of the secrets in the state of stacks on this platform. The `encryptionsalt` in the committed Pulumi.dev.yaml belongs
 * to it, so it is the same everywhere and guards nothing: the state lies beside the admin's own credentials.
 */
const PASSPHRASE = "ringfence-dev";

/**
 * Stops the platform and makes the next `up` a fresh one on the same ports. Stores and their credentials go. Pulumi's
 * state is set aside as `state.<time>`, since it may know stacks on real clusters too.
 */
export function reset(options: Options): Promise<void> {
  const home = locate(options.home);
  return exclusively(home, async () => {
    await stopAll({ ...options, home });
    node.askNoMore(home);
    const { access, credentials, data, kubeconfig, outside, state } = layout(home);
    // The data leave in one step: half a store, should this be killed, would boot into errors.
    const trash = join(home, "trash");
    rmSync(trash, { recursive: true, force: true });
    if (existsSync(data)) renameSync(data, trash);
    if (existsSync(state)) renameSync(state, `${state}.${new Date().toISOString().replaceAll(":", "-")}`);
    for (const path of [credentials, access, kubeconfig, outside, trash])
      rmSync(path, { recursive: true, force: true });
  });
}

/** Starts one server and waits until it is ready. */
export function startServer(options: ToolOptions & { server: string }): Promise<void> {
  const home = locate(options.home);
  return exclusively(home, async () => {
    const ports = await ensurePorts(home);
    await bring(serverNamed(home, ports, options.server), ports, { ...options, home });
  });
}

/** Stops one server. */
export function stopServer(options: Place & { server: string }): Promise<void> {
  const home = locate(options.home);
  return exclusively(home, async () =>
    stopProcess(home, serverNamed(home, await ensurePorts(home), options.server).name),
  );
}

/** Sets a new random password for etcd's root and rewrites the access file. */
export function rotateAdminPassword(options: Place): Promise<void> {
  const home = locate(options.home);
  return exclusively(home, async () => {
    const ports = await ensurePorts(home);
    await rotateRootPassword(home, ports);
    writeAccess(home, ports);
  });
}

/** Moves the tenants' etcd to another port and rewrites the access file. */
export function moveEtcd(options: ToolOptions): Promise<void> {
  const home = locate(options.home);
  return exclusively(home, async () => {
    const ports = await movePort(home, "etcd");
    await bring(serverNamed(home, ports, "etcd"), ports, { ...options, home });
    writeAccess(home, ports);
  });
}

/**
 * What a shell needs to work with the platform; PATH is the caller's business.
 * @throws before the first `up`
 */
export function environment(place: string): Record<string, string> {
  const home = locate(place);
  const { access, etcdPassword, kubeconfig, state, systemCreds } = layout(home);
  const ports = keptPorts(home);
  const tls = tlsOf(home);
  const password = read(etcdPassword);
  if (!ports || password === undefined) throw new Error(`${home}: no platform here yet; run \`ringfence dev up\``);
  mkdirSync(state, { recursive: true, mode: 0o700 });
  return {
    PULUMI_BACKEND_URL: `file://${state}`,
    PULUMI_CONFIG_PASSPHRASE: PASSPHRASE,
    KUBECONFIG: kubeconfig,
    ETCDCTL_ENDPOINTS: etcdEndpoint(home, ports),
    ETCDCTL_USER: `root:${password}`,
    NATS_URL: natsEndpoint(home, ports),
    NATS_CREDS: systemCreds,
    ...(tls && { ETCDCTL_CACERT: tls.ca, ETCDCTL_CERT: tls.client.cert, ETCDCTL_KEY: tls.client.key }),
    ...(tls && { NATS_CA: tls.ca, NATS_CERT: tls.client.cert, NATS_KEY: tls.client.key }),
    RINGFENCE_PLATFORM: access,
    RINGFENCE_HOME: home,
  };
}

/** One spelling for one directory: it marks the processes, so a symbolic link to it must not look like another home. */
function locate(home: string): string {
  return existsSync(home) ? realpathSync(home) : resolve(home);
}

/** The servers in the order of their starts; those of one wave do not need each other. */
function waves(home: string, ports: Ports): Server[][] {
  const [apiserver, others] = kubernetesServers(home, ports);
  const stores = [tenantEtcd(home, ports), natsServer(home, ports), kubernetesEtcd(home, ports)];
  return [stores, [apiserver], [...others, processPods(home), ...node.realNode(home, ports)]];
}

function serverNamed(home: string, ports: Ports, name: string): Server {
  const servers = waves(home, ports).flat();
  const found = servers.find((server) => server.name === name);
  if (!found) throw new Error(`server ${name}: unknown; one of ${servers.map((server) => server.name).join(", ")}`);
  return found;
}

async function stopAll({ home, progress = () => {} }: Options): Promise<void> {
  const ports = keptPorts(home);
  if (!ports) return;
  for (const wave of waves(home, ports).reverse())
    await settle(
      wave.map(async ({ name, stopped }) => {
        if (findProcess(home, name) !== undefined) {
          await stopProcess(home, name);
          progress(`${name}: stopped`);
        }
        await stopped?.();
      }),
    );
}

/** Waits for all of them, so that nothing is left at work in the background, then throws what failed. */
async function settle(work: Promise<void>[]): Promise<void> {
  const failures = (await Promise.allSettled(work)).flatMap((result) =>
    result.status === "rejected" ? [result.reason] : [],
  );
  if (failures.length > 1) throw new Error(failures.map((failure: Error) => failure.message).join("\n"));
  if (failures.length === 1) throw failures[0];
}

/** Writes the file that RINGFENCE_PLATFORM names. */
function writeAccess(home: string, ports: Ports): void {
  const { access, etcdPassword, kubeconfig, operatorSeed, systemCreds } = layout(home);
  const tls = clientTls(home);
  const platform = {
    etcd: { endpoints: [etcdEndpoint(home, ports)], username: "root", password: read(etcdPassword), tls },
    nats: {
      servers: [natsEndpoint(home, ports)],
      tls,
      operatorSeed: read(operatorSeed),
      systemCreds: read(systemCreds),
    },
    kubernetes: { kubeconfig },
  };
  write(access, `${JSON.stringify({ platform }, null, 2)}\n`);
}

function statusOf(home: string): PlatformStatus {
  const { access, etcdPassword, kubeconfig, log, operatorSeed, systemCreds } = layout(home);
  const ports = keptPorts(home);
  const servers = (ports ? waves(home, ports).flat() : []).map(({ name, endpoint }) => {
    const pid = findProcess(home, name);
    return { name, pid, running: pid !== undefined, endpoint, log: log(name) };
  });
  const endpointOf = (name: string) =>
    servers.flatMap((server) => (server.name === name ? (server.endpoint ?? []) : []));
  return {
    home,
    running: servers.length > 0 && servers.every((server) => server.running),
    servers,
    endpoints: {
      etcd: endpointOf("etcd"),
      nats: endpointOf("nats"),
      kubernetes: endpointOf("kube-apiserver")[0] ?? "",
    },
    credentials: { etcd: etcdPassword, nats: systemCreds, operator: operatorSeed, kubeconfig, access },
  };
}
