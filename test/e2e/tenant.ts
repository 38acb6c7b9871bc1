/** What a tenant does with what the stack's outputs give it. */
import { connect, credsAuthenticator } from "nats";
import { etcdctl } from "./scene.ts";

export interface TenantEtcd {
  endpoints: string[];
  prefix: string;
  username: string;
  password: string;
}

export interface TenantNats {
  servers: string[];
  account: string;
  /** The text of a credentials file. */
  creds: string;
}

const asTenant = ({ endpoints, username, password }: TenantEtcd) => ({
  ...process.env,
  ETCDCTL_ENDPOINTS: endpoints.join(","),
  ETCDCTL_USER: `${username}:${password}`,
});

export const writeAsTenant = (etcd: TenantEtcd, key: string): Promise<string> =>
  etcdctl(asTenant(etcd), "put", key, "hello");

export const readAsTenant = (etcd: TenantEtcd, key: string): Promise<string> =>
  etcdctl(asTenant(etcd), "get", key, "--print-value-only");

/** Publishes, and hears it itself. */
export async function publishAsTenant({ servers, creds }: TenantNats, subject: string): Promise<void> {
  const connection = await connect({ servers, authenticator: credsAuthenticator(Buffer.from(creds)), timeout: 60_000 });
  try {
    connection.subscribe(subject, { max: 1, callback: (_error, message) => void message.respond("heard") });
    await connection.request(subject, "hello", { timeout: 60_000 });
  } finally {
    await connection.close();
  }
}
