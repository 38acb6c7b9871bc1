/** Where the tenant's stores are, and who we are there: what every vertex of a pipeline finds in its environment. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { VisibleError } from "../components/plan/visible-error.ts";
import type { EtcdAccess } from "../components/stores/etcd-connection.ts";
import { EtcdSession } from "../components/stores/etcd-session.ts";
import { Bus, type BusAccess } from "../components/stores/nats-bus.ts";

export interface ConnectionOptions {
  /** The environment to read. @default process.env */
  env?: Readonly<Record<string, string | undefined>>;
  /** Takes one line for each thing that an operator should hear of. @default writes it to stderr */
  log?: (line: string) => void;
}

export interface Connection {
  etcd: EtcdSession;
  bus: Bus;
  /** What every key begins with. */
  prefix: string;
  /** For people: which vertex this is, and where it runs. */
  vertex: string;
  host: string;
  log: (line: string) => void;
  close(): Promise<void>;
}

/** What a connection is made of. */
export interface ConnectionAccess extends Pick<Connection, "prefix" | "vertex"> {
  etcd: EtcdAccess;
  nats: Omit<BusAccess, "name">;
}

/**
 * @param role names the connection in NATS' lists
 * @throws VisibleError that names the variable; StoreError when a store does not answer
 */
export async function openConnection(role: string, { env = process.env, log }: ConnectionOptions): Promise<Connection> {
  const host = env.HOSTNAME ?? hostname();
  return connectTo(accessOf(env), { role, host, log: log ?? toStderr });
}

/** @throws StoreError when a store does not answer */
export async function connectTo(
  { etcd: etcdAccess, nats, prefix, vertex }: ConnectionAccess,
  { role, host, log }: { role: string; host: string; log: (line: string) => void },
): Promise<Connection> {
  const bus = await Bus.connect({ ...nats, name: `${vertex || "ringfence"} ${role} (${hostname()})` });
  const etcd = await EtcdSession.open(etcdAccess).catch(async (error) => {
    await bus.close();
    throw error;
  });
  const close = async () => {
    etcd.close();
    await bus.close();
  };
  return { etcd, bus, prefix, vertex, host, log, close };
}

/** @throws VisibleError that names the variable */
function accessOf(env: NonNullable<ConnectionOptions["env"]>): ConnectionAccess {
  const needed = (name: string): string => {
    const value = env[name];
    if (value) return value;
    throw new VisibleError(
      `${name}: not set; expected what Ringfence gives every vertex whose planes are brokered: run it as a vertex, or set it`,
    );
  };
  const file = (name: string, path: string): string => {
    try {
      return readFileSync(path, "utf8");
    } catch (cause) {
      throw new VisibleError(`${name}: cannot read '${path}' (${(cause as Error).message}): mount it`, { cause });
    }
  };
  const pem = (name: string) => (env[name] ? file(name, env[name]) : undefined);
  const credentials = needed("NATS_AUTH_CREDENTIALS_FILE");
  const etcdCA = pem("RINGFENCE_ETCD_CA_PATH");
  return {
    etcd: {
      endpoints: needed("ETCD_ENDPOINTS").split(","),
      username: needed("ETCD_AUTH_USERNAME"),
      password: needed("ETCD_AUTH_PASSWORD"),
      ...(etcdCA !== undefined && { tls: { ca: etcdCA } }),
    },
    nats: {
      servers: needed("NATS_SERVER").split(","),
      creds: () => file("NATS_AUTH_CREDENTIALS_FILE", credentials),
      // The names that Dynamo has for them.
      tls: {
        ca: pem("NATS_TLS_CA_CERT_PATH"),
        cert: pem("NATS_TLS_CLIENT_CERT_PATH"),
        key: pem("NATS_TLS_CLIENT_KEY_PATH"),
      },
    },
    // Behind a proxy that puts the prefix there, nothing is set.
    prefix: env.RINGFENCE_ETCD_PREFIX ?? "",
    vertex: env.RINGFENCE_VERTEX ?? "",
  };
}

const toStderr = (line: string) => process.stderr.write(`ringfence: ${line}\n`);
