/** Where the tenant's stores are, and who we are there: what every vertex of a pipeline finds in its environment. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { VisibleError } from "../components/plan/visible-error.ts";
import { EtcdSession } from "../components/stores/etcd-session.ts";
import { Bus } from "../components/stores/nats-bus.ts";

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

/**
 * @param role names the connection in NATS' lists
 * @throws VisibleError that names the variable; StoreError when a store does not answer
 */
export async function openConnection(role: string, { env = process.env, log }: ConnectionOptions): Promise<Connection> {
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
  const authority = (name: string) => (env[name] ? file(name, env[name]) : undefined);
  const credentials = needed("NATS_AUTH_CREDENTIALS_FILE");
  const etcdAccess = {
    endpoints: needed("ETCD_ENDPOINTS").split(","),
    username: needed("ETCD_AUTH_USERNAME"),
    password: needed("ETCD_AUTH_PASSWORD"),
    ca: authority("RINGFENCE_ETCD_CA_PATH"),
  };
  const bus = await Bus.connect({
    servers: needed("NATS_SERVER").split(","),
    creds: () => file("NATS_AUTH_CREDENTIALS_FILE", credentials),
    ca: authority("NATS_TLS_CA_CERT_PATH"),
    name: `${env.RINGFENCE_VERTEX ?? "ringfence"} ${role} (${hostname()})`,
  });
  const etcd = new EtcdSession(etcdAccess);
  const { RINGFENCE_ETCD_PREFIX: prefix = "", RINGFENCE_VERTEX: vertex = "" } = env;
  const close = async () => {
    etcd.close();
    await bus.close();
  };
  // Behind a proxy that puts the prefix there, nothing is set.
  return { etcd, bus, prefix, vertex, host: env.HOSTNAME ?? hostname(), log: log ?? toStderr, close };
}

const toStderr = (line: string) => process.stderr.write(`ringfence: ${line}\n`);
