/** The baselines of `bench:restart`: clients that choose any registered instance, and ask by nats' own request-reply. */

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, credsAuthenticator, type NatsConnection } from "nats";
import { EtcdSession } from "../components/stores/etcd-session.ts";
import { viewPrefix } from "../components/stores/etcd-view.ts";
import { instancesOf, readRegistration } from "../runtime/registration.ts";

/** What a vertex finds in its environment. */
export type Environment = Record<string, string>;

/** Milliseconds that an answer may take. */
const TIMEOUT_MS = 5_000;

/** Retries of the second baseline, and their first wait, milliseconds: exponential, as the article has it. */
const RETRIES = { most: 4, firstMs: 20 };

export class BareClient {
  readonly #connection: NatsConnection;
  readonly #etcd: EtcdSession;
  readonly #stop: () => void;
  readonly #subjects = new Map<string, string>();

  private constructor(connection: NatsConnection, etcd: EtcdSession, below: string) {
    this.#connection = connection;
    this.#etcd = etcd;
    const add = ({ key, value }: { key: string; value: string }) => {
      const found = readRegistration(value);
      if (found) this.#subjects.set(key, found.subject);
    };
    this.#stop = viewPrefix(etcd, below, {
      all: (entries) => {
        this.#subjects.clear();
        for (const entry of entries) add(entry);
      },
      put: add,
      gone: (key) => this.#subjects.delete(key),
      trouble: () => undefined,
    });
  }

  static async open(env: Environment, endpoint: string): Promise<BareClient> {
    const creds = readFileSync(env.NATS_AUTH_CREDENTIALS_FILE as string);
    const connection = await connect({
      servers: env.NATS_SERVER as string,
      authenticator: credsAuthenticator(creds),
      // At its fastest: by default every request notes where it was made.
      noAsyncTraces: true,
    });
    const etcd = new EtcdSession({
      endpoints: [env.ETCD_ENDPOINTS as string],
      username: env.ETCD_AUTH_USERNAME as string,
      password: env.ETCD_AUTH_PASSWORD as string,
    });
    return new BareClient(connection, etcd, instancesOf(env.RINGFENCE_ETCD_PREFIX as string, endpoint));
  }

  get known(): number {
    return this.#subjects.size;
  }

  async request<T>(body: object): Promise<T> {
    const subjects = [...this.#subjects.values()];
    const subject = subjects[Math.floor(Math.random() * subjects.length)];
    if (!subject) throw new Error("no instance");
    return this.ask(subject, body);
  }

  /** Of one instance. */
  async ask<T>(subject: string, body: object): Promise<T> {
    const reply = await this.#connection.request(subject, JSON.stringify(body), { timeout: TIMEOUT_MS });
    return reply.json<T>();
  }

  async retrying<T>(body: object): Promise<T> {
    for (let retry = 0; ; retry++) {
      try {
        return await this.request<T>(body);
      } catch (error) {
        if (retry === RETRIES.most) throw error;
        await sleep(Math.random() * RETRIES.firstMs * 2 ** retry);
      }
    }
  }

  /** The subjects of the instances that are registered. */
  get subjects(): string[] {
    return [...this.#subjects.values()];
  }

  async close(): Promise<void> {
    this.#stop();
    this.#etcd.close();
    await this.#connection.close();
  }
}
