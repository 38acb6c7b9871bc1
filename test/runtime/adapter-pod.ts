/** An engine and a loader as processes, for a pod whose object nobody else looks after. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { freePort } from "../../dev/platform/ports.ts";
import type { Behaviour } from "../support/stand-in-engine.ts";
import type { AdapterScene } from "./adapter-scene.ts";

export const VERTEX = "decode";
export const BASE = "base";

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export class Pod {
  readonly name: string;
  readonly uid: string;
  readonly directory: string;
  token = "";
  log = "";
  #scene: AdapterScene;
  #port = 0;
  #health = 0;
  #engine: ChildProcess | undefined;
  #loader: ChildProcess | undefined;

  constructor(scene: AdapterScene, name: string, uid: string, directory: string) {
    this.#scene = scene;
    this.name = name;
    this.uid = uid;
    this.directory = directory;
  }

  async startEngine(startMs = 0): Promise<void> {
    const env = { ...process.env, PORT: String(this.#port), MODEL: BASE, START_MS: String(startMs) };
    const engine = spawn(process.execPath, [file("../support/stand-in-engine.ts")], {
      env,
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#engine = engine;
    const [line] = await once(createInterface(engine.stdout as NodeJS.ReadableStream), "line");
    this.#port = Number(line.split(" ").at(-1));
  }

  async killEngine(): Promise<void> {
    await killed(this.#engine);
  }

  async startLoader(): Promise<void> {
    const tokens = join(this.directory, "token");
    mkdirSync(tokens, { recursive: true });
    writeFileSync(join(tokens, "token"), this.token);
    const { ca, host, port } = this.#scene.api;
    writeFileSync(join(tokens, "ca.crt"), ca);
    mkdirSync(join(this.directory, "adapters"), { recursive: true });
    this.#health ||= await freePort();
    const env = {
      PATH: process.env.PATH,
      KUBERNETES_SERVICE_HOST: host,
      KUBERNETES_SERVICE_PORT: port,
      RINGFENCE_BIND_ADDRESS: "127.0.0.1",
      RINGFENCE_PIPELINE: "chat",
      RINGFENCE_VERTEX: VERTEX,
      RINGFENCE_ENGINE_PORT: String(this.#port),
      RINGFENCE_ADAPTERS_DIRECTORY: join(this.directory, "adapters"),
      RINGFENCE_ADAPTERS_PORT: String(this.#health),
      RINGFENCE_TOKEN_DIRECTORY: tokens,
      POD_NAME: this.name,
      POD_NAMESPACE: this.#scene.namespace,
      POD_UID: this.uid,
    };
    const loader = spawn(process.execPath, [file("../../runtime/adapter-loader.ts")], {
      env,
      stdio: ["ignore", "inherit", "pipe"],
    });
    loader.stderr?.on("data", (chunk) => {
      this.log += chunk;
    });
    this.#loader = loader;
  }

  async killLoader(): Promise<void> {
    await killed(this.#loader);
  }

  async behave(behaviour: Partial<Behaviour>): Promise<void> {
    await this.fetch("/stand-in", behaviour);
  }

  async models(): Promise<string[]> {
    const { data } = (await (await this.fetch("/v1/models")).json()) as {
      data: Array<{ id: string; parent: string | null }>;
    };
    return data.flatMap(({ id, parent }) => (parent ? [id] : []));
  }

  /** What the loader's readiness probe gets. */
  async ready(): Promise<{ status: number; text: string }> {
    const answer = await fetch(`http://127.0.0.1:${this.#health}/ready`);
    return { status: answer.status, text: await answer.text() };
  }

  fetch(path: string, body?: object): Promise<Response> {
    const init = body ? { method: "POST", body: JSON.stringify(body) } : {};
    return fetch(`http://127.0.0.1:${this.#port}${path}`, init);
  }

  async close(): Promise<void> {
    await killed(this.#loader);
    await killed(this.#engine);
  }
}

async function killed(child: ChildProcess | undefined): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}
