/** An engine that speaks vLLM's HTTP API, as far as adapters need it: what it has, loading, unloading, trying out. */
import { connect } from "node:net";
import { VisibleError } from "../components/plan/visible-error.ts";

/** Milliseconds for what an engine answers out of its memory. */
const LOOK_MS = 2_000;

/** One model of `/v1/models`: of an adapter, `root` is the path that it was loaded from. */
export interface Served {
  id: string;
  root?: string | null;
  parent?: string | null;
}

/** Nobody is there, as opposed to an engine that answers late, or wrongly. */
export class EngineGone extends VisibleError {}

export class Engine {
  readonly #base: string;
  readonly #at: { host: string; port: number };

  constructor(at: { host: string; port: number }) {
    this.#at = at;
    this.#base = `http://${at.host}:${at.port}`;
  }

  /** @throws EngineGone, or VisibleError when it does not answer in time or not as vLLM does */
  async models(): Promise<Served[]> {
    const look = () => this.#send("GET", "/v1/models", AbortSignal.timeout(LOOK_MS));
    // Once more, over a new connection: an engine may close one that was idle just when it is used.
    const { status, text } = await look().catch((error) =>
      error instanceof EngineGone ? look() : Promise.reject(error),
    );
    try {
      const { data } = JSON.parse(text) as { data?: unknown };
      if (status === 200 && Array.isArray(data)) return data as Served[];
    } catch {
      // No JSON: said below.
    }
    throw new VisibleError(`the engine answered ${status} to GET /v1/models: ${reason(text)}`);
  }

  /** Loads an adapter from a directory that the engine sees. @throws VisibleError with the engine's reason */
  async load(name: string, path: string, signal: AbortSignal): Promise<void> {
    await this.#act("/v1/load_lora_adapter", { lora_name: name, lora_path: path }, signal);
  }

  /** One that it does not have is fine. */
  async unload(name: string): Promise<void> {
    await this.#act("/v1/unload_lora_adapter", { lora_name: name }, AbortSignal.timeout(10 * LOOK_MS), [404]);
  }

  /**
   * Has the adapter answer one token, for the list of models may say what is not so. A pooling model (embeddings, scores,
   * classes) has no tokens, and `/pooling` whatever it is for. @throws VisibleError
   */
  async tryOut(name: string, signal: AbortSignal): Promise<void> {
    const said = await this.#send("POST", "/v1/completions", signal, { model: name, prompt: "a", max_tokens: 1 });
    if (!isError(said)) return;
    const pooled = await this.#send("POST", "/pooling", signal, { model: name, input: "a" });
    if (isError(pooled)) throw refusal("/v1/completions", said);
  }

  /**
   * Keeps a connection to the engine, over which nothing is sent.
   * @returns a promise for its end: the engine has ended, or closes idle connections
   */
  async lifeline(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const socket = connect({ ...this.#at, signal });
      socket.on("close", () => resolve());
      // What closes it does not matter.
      socket.on("error", () => {});
      socket.resume();
    });
  }

  async #act(path: string, body: object, signal: AbortSignal, also: number[] = []): Promise<void> {
    const answer = await this.#send("POST", path, signal, body);
    if (answer.status !== 200 && !also.includes(answer.status)) throw refusal(path, answer);
  }

  async #send(method: string, path: string, signal: AbortSignal, body?: object): Promise<Answer> {
    try {
      const answer = await fetch(this.#base + path, {
        method,
        signal,
        ...(body && { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
      });
      return { status: answer.status, text: await answer.text() };
    } catch (cause) {
      const { name, message, cause: inner } = cause as Error & { cause?: NodeJS.ErrnoException };
      if (inner?.code === "ECONNREFUSED")
        throw new EngineGone(`the engine does not listen at ${this.#base}`, { cause });
      const late = name === "TimeoutError" || name === "AbortError";
      const why = late ? "within its time" : `(${inner?.message ?? message})`;
      throw new VisibleError(`the engine did not answer ${method} ${path} ${why}`, { cause });
    }
  }
}

interface Answer {
  status: number;
  text: string;
}

const refusal = (path: string, { status, text }: Answer) =>
  new VisibleError(`the engine answered ${status} to POST ${path}: ${reason(text)}`);

/** vLLM before 0.12 says that it has no such API with 200. */
function isError({ status, text }: Answer): boolean {
  if (status !== 200) return true;
  try {
    const answer = JSON.parse(text) as { error?: unknown; object?: string };
    return answer.error !== undefined || answer.object === "error";
  } catch {
    return true;
  }
}

/** vLLM's errors are `{ error: { message } }`, `{ message }` in earlier versions. */
function reason(text: string): string {
  try {
    const { error, message } = JSON.parse(text) as { error?: { message?: string }; message?: string };
    return (error?.message ?? message ?? text).slice(0, 300);
  } catch {
    return text.slice(0, 300);
  }
}
