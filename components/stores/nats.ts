/**
 * NATS, as the system account sees it: pushes, fences, purges and deletes accounts, and counts what is left of them.
 *
 * Answers to writes prove nothing (the purge of an absent account says "initiated", a second delete says 200), so
 * every writer here is followed by a reader at its caller: `lookup`, `accounts`, `connections`, `streams`.
 */
import {
  type ConnectionOptions,
  connect,
  credsAuthenticator,
  type Msg,
  type NatsConnection,
  RequestStrategy,
  type TlsOptions,
} from "nats";
import { CALL_DEADLINE_MS, StoreError } from "./errors.ts";
import type { PortForward } from "./port-forward.ts";
import { type ClientTls, tlsTrouble } from "./tls.ts";

/** Where NATS is and who we are there. */
export interface NatsAccess {
  servers: string[];
  /** The text of a credentials file. */
  creds: string;
  /** Of tls servers. */
  tls?: ClientTls | undefined;
  /** The way there when this machine has none of its own; the certificate is still the first server's. */
  forward?: PortForward | undefined;
}

/** What a stream of an account holds. */
export interface StreamCount {
  name: string;
  messages: number;
  consumers: number;
}

/** How long the other servers of a cluster have to answer after the first one did, milliseconds. */
const CLUSTER_JITTER_MS = 100;

/** The server's own answer: nobody is subscribed there. */
const NOBODY = 503;

interface ServerAnswer {
  data?: unknown;
  error?: { description?: string; code?: number };
}

export class Nats {
  /** Names the server in messages. */
  readonly label: string;
  readonly #connection: NatsConnection;

  private constructor(label: string, connection: NatsConnection) {
    this.label = label;
    this.#connection = connection;
  }

  static async connect(access: NatsAccess): Promise<Nats> {
    return new Nats(labelOf(access), await dial(access));
  }

  /**
   * Asks, as a user of the account, whether JetStream serves it: a server takes an account whose share it cannot reserve
   * without a word, and refuses only its clients.
   * @throws StoreError
   */
  static async requireJetStream(access: NatsAccess): Promise<void> {
    const user = await Nats.connect(access);
    try {
      const reply = await user.#connection.request("$JS.API.INFO", "", { timeout: CALL_DEADLINE_MS });
      const { error } = reply.json<{ error?: { description?: string } }>();
      if (error) throw new Error(error.description);
    } catch (cause) {
      const advice =
        "lower the pipeline's jetStream.memoryBytes and diskBytes, or raise the servers' max_memory_store and max_file_store";
      throw new StoreError(
        `${user.label} cannot reserve the account's share of JetStream (${(cause as Error).message}): ${advice}`,
        { cause },
      );
    } finally {
      await user.close();
    }
  }

  get closed(): boolean {
    return this.#connection.isClosed();
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }

  /** Pushes an account's JWT to the resolver; the server keeps the one that came last, whichever was issued last. */
  async push(jwt: string): Promise<void> {
    for (const answer of await this.#ask("$SYS.REQ.CLAIMS.UPDATE", jwt)) {
      if (answer.error)
        throw new StoreError(`${this.label} refused the account: ${answer.error.description ?? "no reason given"}`);
    }
  }

  /** The JWT that the resolver has for an account; undefined when it has none. */
  async lookup(account: string): Promise<string | undefined> {
    const answer = await this.#request(`$SYS.REQ.ACCOUNT.${account}.CLAIMS.LOOKUP`, "");
    return answer.string() || undefined;
  }

  /** The public keys of all accounts that the resolver has. */
  async accounts(): Promise<string[]> {
    const answers = await this.#ask("$SYS.REQ.CLAIMS.LIST", "");
    return [...new Set(answers.flatMap(({ data }) => (data as string[] | null) ?? []))].sort();
  }

  /** @param deletion from `encodeDeletion` */
  async deleteAccounts(deletion: string): Promise<void> {
    await this.#ask("$SYS.REQ.CLAIMS.DELETE", deletion);
  }

  /** Removes all that JetStream keeps for an account; also works while the account is fenced. */
  async purge(account: string): Promise<void> {
    await this.#request(`$JS.API.ACCOUNT.PURGE.${account}`, "");
  }

  /** Who is connected as the account, as `name (address)`. */
  async connections(account: string): Promise<string[]> {
    const answers = await this.#ask("$SYS.REQ.SERVER.PING.CONNZ", JSON.stringify({ acc: account }));
    type Connz = { connections?: Array<{ name?: string; ip?: string; port?: number }> };
    return answers.flatMap(({ data }) =>
      ((data as Connz).connections ?? []).map(({ name, ip, port }) => `${name ?? "unnamed"} (${ip}:${port})`),
    );
  }

  /** The streams of an account, object and key-value buckets among them. */
  async streams(account: string): Promise<StreamCount[]> {
    const answers = await this.#ask(
      "$SYS.REQ.SERVER.PING.JSZ",
      JSON.stringify({ account, accounts: true, streams: true, consumers: true }),
    );
    type Stream = { name: string; state?: { messages?: number; consumer_count?: number } };
    type Jsz = { account_details?: Array<{ id?: string; name?: string; stream_detail?: Stream[] }> };
    const found = new Map<string, StreamCount>();
    for (const { data } of answers) {
      for (const detail of (data as Jsz | undefined)?.account_details ?? []) {
        if (detail.id !== account && detail.name !== account) continue;
        for (const { name, state } of detail.stream_detail ?? []) {
          found.set(name, { name, messages: state?.messages ?? 0, consumers: state?.consumer_count ?? 0 });
        }
      }
    }
    return [...found.values()];
  }

  /**
   * Asks whoever listens, and takes what comes until nothing has come for a while; none when nobody listens.
   * @param quietMs how long at most between two answers
   */
  async gather(subject: string, quietMs: number): Promise<Uint8Array[]> {
    const answers: Uint8Array[] = [];
    try {
      const replies = await this.#connection.requestMany(subject, "", {
        strategy: RequestStrategy.JitterTimer,
        maxWait: CALL_DEADLINE_MS,
        jitter: quietMs,
      });
      for await (const { data, headers } of replies) if (headers?.code !== NOBODY) answers.push(data);
    } catch (cause) {
      if ((cause as { code?: string }).code !== String(NOBODY)) throw this.#explain(cause as Error, subject);
    }
    return answers;
  }

  async #request(subject: string, payload: string): Promise<Msg> {
    try {
      return await this.#connection.request(subject, payload, { timeout: CALL_DEADLINE_MS });
    } catch (cause) {
      throw this.#explain(cause as Error, subject);
    }
  }

  /** Asks every server; at least one has to answer. */
  async #ask(subject: string, payload: string): Promise<ServerAnswer[]> {
    const answers: ServerAnswer[] = [];
    try {
      const replies = await this.#connection.requestMany(subject, payload, {
        strategy: RequestStrategy.JitterTimer,
        maxWait: CALL_DEADLINE_MS,
        jitter: CLUSTER_JITTER_MS,
      });
      for await (const reply of replies) answers.push(reply.json<ServerAnswer>());
    } catch (cause) {
      throw this.#explain(cause as Error, subject);
    }
    if (answers.length === 0) throw this.#explain(new Error("no answer"), subject);
    return answers;
  }

  #explain(cause: Error, subject: string): StoreError {
    return new StoreError(
      `${this.label} does not answer on ${subject} (${cause.message}): check that it runs in operator mode with a full resolver`,
      {
        unreachable: true,
        inDoubt: true,
        cause,
      },
    );
  }
}

const isSecure = (servers: string[]) => servers.some((server) => server.startsWith("tls://"));

/**
 * What a client is told of where NATS is.
 * @throws StoreError when there is no way there
 */
export async function wayTo({
  servers,
  tls,
  forward,
}: Omit<NatsAccess, "creds">): Promise<Pick<ConnectionOptions, "servers" | "ignoreClusterUpdates" | "tls">> {
  return {
    servers: forward ? await forward.address() : servers,
    // Its peers would be named by addresses that only the cluster reaches.
    ignoreClusterUpdates: forward !== undefined,
    // Even an empty option insists on TLS: nats.js itself would go on in plain text, whatever the addresses say.
    ...(isSecure(servers) && {
      // The name in the certificate, where another one is dialled.
      tls: { ...tls, ...(forward && { servername: new URL(servers[0] ?? "").hostname }) } as TlsOptions,
    }),
  };
}

/** Whether the server did not let a user in. */
export const isRefusal = (cause: unknown): boolean =>
  ["AUTHORIZATION_VIOLATION", "AUTHENTICATION_EXPIRED"].includes((cause as { code?: string }).code ?? "");

/** Names the servers in messages. */
export const labelOf = ({ servers }: Pick<NatsAccess, "servers">): string => `NATS at ${servers.join(", ")}`;

/**
 * Connects as the user of the access; a connection that is lost does not come back.
 * @throws StoreError
 */
export async function dial(access: NatsAccess): Promise<NatsConnection> {
  const label = labelOf(access);
  const { forward } = access;
  try {
    return await connect({
      ...(await wayTo(access)),
      authenticator: credsAuthenticator(new TextEncoder().encode(access.creds)),
      name: "ringfence",
      timeout: CALL_DEADLINE_MS,
      reconnect: false,
    });
  } catch (cause) {
    if (cause instanceof StoreError) throw cause;
    const { message } = cause as Error;
    if (isRefusal(cause)) {
      throw new StoreError(
        `${label} refused the log-in: correct systemCreds or operatorSeed in the platform's access`,
        { cause },
      );
    }
    const trouble = isSecure(access.servers) && tlsTrouble(cause as Error, access.tls);
    if (trouble) throw new StoreError(`${label}: ${trouble.cause}`, { unreachable: true, cause });
    throw new StoreError(
      `${label} does not answer (${forward?.trouble ?? message}): start it, or correct the servers in the platform's access`,
      {
        unreachable: true,
        cause,
      },
    );
  }
}
