/**
 * Requests to an API server: their deadlines, what a refusal is, and what is asked again. It needs Node.js alone, for what
 * runs in a pod cannot spend a second and 50 MB on a client of everything.
 */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import * as http from "node:http";
import * as https from "node:https";
import { text } from "node:stream/consumers";
import { CALL_DEADLINE_MS, StoreError, until } from "./errors.ts";

/** Any Kubernetes object, as far as it is looked at here. */
export interface KubernetesObject {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    namespace?: string;
    uid?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    finalizers?: string[];
    deletionTimestamp?: string;
    [other: string]: unknown;
  };
  [other: string]: unknown;
}

/** Where an API server is, and as whom it is asked. */
export interface ApiAccess {
  /** Its URL; undefined when nobody said one. */
  server: string | undefined;
  /** What each request needs: asked every time, for tokens and authorities are renewed. */
  options(): https.RequestOptions | Promise<https.RequestOptions>;
  /** Names what to correct when nobody answers. */
  correct: string;
}

/** An API server that has too much to do, or does not serve a new kind yet, did nothing, and wants to be asked again. */
const TOO_BUSY = 429;

/** Milliseconds between two signs of life of a connection over which nothing comes. */
const KEEP_ALIVE_MS = 10_000;

export class KubernetesApi {
  /** Names the server in messages. */
  readonly label: string;
  readonly #access: ApiAccess;
  /** Keeps connections: most of what a request costs here is the handshake. */
  #agent: https.RequestOptions["agent"];

  constructor(access: ApiAccess) {
    this.#access = access;
    this.label = `Kubernetes at ${access.server ?? "(no current context)"}`;
  }

  /** What a path has; undefined when there is nothing. */
  get(path: string): Promise<unknown> {
    return this.json("GET", path);
  }

  /** Makes an object. @param path of its kind in its namespace */
  create(path: string, object: object): Promise<unknown> {
    return this.json("POST", path, { content: object, type: "application/json" });
  }

  /**
   * Changes what is named, by a strategic merge: lists are merged by their keys, null removes.
   * @returns the object; undefined when it is not there
   */
  patch(path: string, change: object): Promise<unknown> {
    return this.json("PATCH", path, { content: change, type: "application/strategic-merge-patch+json" });
  }

  /**
   * An answer that goes on, in pieces, until the signal or the server ends it.
   * @throws StoreError when the server refuses, or ends it before it is whole
   */
  async *stream(path: string, signal: AbortSignal): AsyncGenerator<string> {
    const response = await this.#open("GET", path, { signal });
    try {
      response.socket.setKeepAlive(true, KEEP_ALIVE_MS);
      const status = response.statusCode ?? 0;
      if (status >= 400) throw this.#refusal(status, "GET", path, await text(response));
      yield* response.setEncoding("utf8");
    } catch (cause) {
      throw cause instanceof StoreError ? cause : this.#silence(cause as Error);
    } finally {
      response.destroy();
    }
  }

  /** One request; undefined when the object is not there. */
  protected async json(method: string, path: string, body?: Body): Promise<unknown> {
    let last = "";
    const { status, body: answered } = await until(
      async () => {
        const answer = await this.#send(method, path, body);
        last = answer.body;
        return answer.status === TOO_BUSY ? undefined : answer;
      },
      {
        deadlineMs: CALL_DEADLINE_MS,
        late: () => new StoreError(`${this.label} goes on answering ${TOO_BUSY} to ${method} ${path}: ${reason(last)}`),
      },
    );
    if (status === 404) return undefined;
    if (status >= 400) throw this.#refusal(status, method, path, answered);
    return JSON.parse(answered);
  }

  async #send(method: string, path: string, body?: Body): Promise<{ status: number; body: string }> {
    const response = await this.#open(method, path, { signal: AbortSignal.timeout(2 * CALL_DEADLINE_MS), body });
    try {
      return { status: response.statusCode ?? 0, body: await text(response) };
    } catch (cause) {
      throw this.#silence(cause as Error);
    }
  }

  async #open(
    method: string,
    path: string,
    { signal, body }: { signal: AbortSignal; body?: Body | undefined },
  ): Promise<IncomingMessage> {
    const { server } = this.#access;
    if (!server)
      throw new StoreError(
        "Kubernetes: the kubeconfig has no current context: set one, or 'context' in the platform's access",
      );
    const url = new URL(server + path);
    const { Agent, request: requested } = url.protocol === "http:" ? http : https;
    const options = await this.#access.options();
    this.#agent ??= Object.assign(options.agent ?? new Agent(), { keepAlive: true });
    try {
      const request = requested(url, { ...options, agent: this.#agent, method, signal });
      // Said by the response, too, once there is one.
      request.on("error", () => {});
      if (body) request.setHeader("content-type", body.type);
      request.end(body && JSON.stringify(body.content));
      const [response] = (await once(request, "response")) as [IncomingMessage];
      return response;
    } catch (cause) {
      throw this.#silence(cause as Error);
    }
  }

  #refusal(status: number, method: string, path: string, body: string): StoreError {
    return new StoreError(`${this.label} answered ${status} to ${method} ${path}: ${reason(body)}`);
  }

  #silence(cause: Error): StoreError {
    const { correct } = this.#access;
    return new StoreError(`${this.label} does not answer (${cause.message}): start it, or correct ${correct}`, {
      unreachable: true,
      inDoubt: true,
      cause,
    });
  }
}

interface Body {
  content: object;
  type: string;
}

function reason(body: string): string {
  try {
    return (JSON.parse(body) as { message?: string }).message ?? body;
  } catch {
    return body.slice(0, 200);
  }
}
