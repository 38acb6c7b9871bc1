/** The baselines of `bench:restart`: clients that choose any registered instance, and ask by nats' own request-reply. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, credsAuthenticator, type NatsConnection } from "nats";
import { EtcdSession } from "../components/stores/etcd-session.ts";
import { viewPrefix } from "../components/stores/etcd-view.ts";
import { until } from "../dev/platform/wait.ts";
import { instancesOf, readRegistration } from "../runtime/registration.ts";
import type { Environment } from "./tenant.ts";

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
    const etcd = await EtcdSession.open({
      endpoints: [env.ETCD_ENDPOINTS as string],
      username: env.ETCD_AUTH_USERNAME as string,
      password: env.ETCD_AUTH_PASSWORD as string,
    });
    return new BareClient(connection, etcd, instancesOf(env.RINGFENCE_ETCD_PREFIX as string, endpoint));
  }

  /** Waits until so many instances are registered. @returns their subjects */
  knows(count: number): Promise<string[]> {
    const attempt = async () => {
      assert.equal(this.#subjects.size, count);
      return [...this.#subjects.values()];
    };
    return until({ what: `${count} instances`, within: 10, attempt });
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

  async close(): Promise<void> {
    this.#stop();
    this.#etcd.close();
    await this.#connection.close();
  }
}
