/** A connection to etcd: how it is made, and why there is none. */
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import { DelegateBackoff, handleWhen, noop, retry } from "cockatiel";
import {
  Etcd3,
  EtcdAuthenticationFailedError,
  GRPCCancelledError,
  GRPCDeadlineExceededError,
  GRPCUnavailableError,
  type IOptions,
} from "etcd3";
import { CALL_DEADLINE_MS, StoreError } from "./errors.ts";
import type { PortForward } from "./port-forward.ts";
import { type ClientTls, probeTls, type TlsTrouble } from "./tls.ts";

/** Where etcd is and who we are there. */
export interface EtcdAccess {
  endpoints: string[];
  username: string;
  password: string;
  /** Of https endpoints. */
  tls?: ClientTls | undefined;
  /** The way there when this machine has none of its own; the certificate is still the first endpoint's. */
  forward?: PortForward | undefined;
}

/**
 * Every change of a user or role makes etcd fail whatever is in flight, of all users, before it is applied: such a call
 * is made again, for about as long as a call may take.
 */
const throughChanges = retry(
  handleWhen(({ message }) => message.includes("revision of auth store is old")),
  { maxAttempts: 150, backoff: new DelegateBackoff(() => 10 + Math.random() * 90) },
);

/** How every client of ours calls: with a deadline, and without etcd3's own retries, which multiply ours, and its circuit breaker, which refuses everything for seconds. */
export const CALLS: Pick<IOptions, "defaultCallOptions" | "faultHandling"> = {
  defaultCallOptions: ({ isStream }) => (isStream ? {} : { deadline: Date.now() + CALL_DEADLINE_MS }),
  faultHandling: { host: () => noop, global: throughChanges },
};

/** No answer came, whatever became of the call. */
const NO_ANSWER = [GRPCUnavailableError, GRPCDeadlineExceededError, GRPCCancelledError];

/**
 * @param grpc options of the channel, before ours
 * @throws StoreError when there is no way there
 */
export async function connect(access: EtcdAccess, grpc: IOptions["grpcOptions"] = {}): Promise<Etcd3> {
  const { endpoints, username, password, tls, forward } = access;
  const client = new Etcd3({
    hosts: forward ? [await throughForward(endpoints, forward)] : endpoints,
    auth: { username, password },
    ...(tls && { credentials: credentialsOf(tls) }),
    ...CALLS,
    // By default it would try to connect again after up to two minutes; whoever restarts an etcd waits seconds.
    grpcOptions: { "grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 1_000, ...grpc },
  });
  if (forward) verifyAs(client, new URL(endpoints[0] ?? "").hostname);
  return client;
}

/** By name: gRPC sends what it dials as TLS server name, which must not be an address. */
async function throughForward([endpoint = ""]: string[], forward: PortForward): Promise<string> {
  return `${new URL(endpoint).protocol}//${(await forward.address()).replace("127.0.0.1", "localhost")}`;
}

/**
 * Has certificates verified against another name than the address that is dialled. gRPC's option for it does not reach
 * the log-in, for which etcd3 makes a channel without options; the credentials are the ones that both share.
 */
function verifyAs(client: Etcd3, name: string): void {
  type Credentials = { verifyOptions?: { checkServerIdentity?: typeof checkServerIdentity } };
  const { credentials } = (client as unknown as { pool: { authenticator: { credentials: Credentials } } }).pool
    .authenticator;
  if (credentials.verifyOptions)
    credentials.verifyOptions.checkServerIdentity = (_dialled: string, certificate: PeerCertificate) =>
      checkServerIdentity(name, certificate);
}

/** etcd3 types the authority as required; without one, gRPC trusts what Node.js does. */
const credentialsOf = ({ ca, cert, key }: ClientTls) => ({
  rootCertificate: (ca === undefined ? null : Buffer.from(ca)) as Buffer,
  ...(cert && key && { certChain: Buffer.from(cert), privateKey: Buffer.from(key) }),
});

/** Without a connection nothing was sent. */
export const notSent = (message: string): boolean =>
  /ECONNREFUSED|No connection established|Name resolution failed/.test(message);

const noAnswer = (error: Error): boolean => notSent(error.message) || NO_ANSWER.some((kind) => error instanceof kind);

/** Whether it is TLS that keeps us from connecting: no patience mends that, and gRPC does not tell. */
export async function tlsTroubleOf(error: Error, access: EtcdAccess): Promise<TlsTrouble | undefined> {
  if (!(error instanceof GRPCUnavailableError)) return undefined;
  const { endpoints, tls, forward } = access;
  const at = await forward?.address();
  const secure = endpoints.filter((endpoint) => endpoint.startsWith("https://"));
  const troubles = await Promise.all(secure.map((endpoint) => probeTls(endpoint, tls, at)));
  return troubles.find((trouble) => trouble !== undefined);
}

/** The error for a person; never a secret of the access. */
export function explain(cause: Error, label: string, access: EtcdAccess): StoreError {
  // gRPC: "14 UNAVAILABLE: No connection established. Last error: Error: connect ECONNREFUSED …. Resolution note: "
  const message = cause.message.replace(/^\d+ /, "").replace(/\.? ?Resolution note: ?$/, "");
  if (message.includes("authentication is not enabled")) {
    const advice = "run 'etcdctl auth enable'";
    return new StoreError(`${label} has authentication off, so nothing would keep tenants apart: ${advice}`, {
      cause,
    });
  }
  if (cause instanceof EtcdAuthenticationFailedError) {
    return new StoreError(
      `${label} refused the log-in of '${access.username}': correct its password in the platform's access`,
      { cause },
    );
  }
  // Without a connection nothing was sent; with one that broke, or a deadline, the call may have happened.
  if (noAnswer(cause)) {
    const advice = "start it, or correct the endpoints in the platform's access";
    return new StoreError(`${label} does not answer (${access.forward?.trouble ?? message}): ${advice}`, {
      unreachable: true,
      inDoubt: !notSent(message),
      cause,
    });
  }
  return new StoreError(`${label}: ${message}`, { cause });
}
