/** An engine and a loader as processes, for a pod whose object nobody else looks after. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Behaviour } from "../support/stand-in-engine.ts";
import type { AdapterScene } from "./adapter-scene.ts";

export const VERTEX = "decode";
export const BASE = "base";

const ENGINE = 8000;
const HEALTH = 9095;

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export class Pod {
  readonly name: string;
  readonly uid: string;
  readonly directory: string;
  token = "";
  log = "";
  #scene: AdapterScene;
  /** Its own: a port that is free now is somebody else's when an engine starts again. */
  readonly #host = `127.${96 + randomInt(16)}.${randomInt(256)}.${1 + randomInt(254)}`;
  #engine: ChildProcess | undefined;
  #loader: ChildProcess | undefined;

  constructor(scene: AdapterScene, name: string, uid: string, directory: string) {
    this.#scene = scene;
    this.name = name;
    this.uid = uid;
    this.directory = directory;
  }

  async startEngine(load: Behaviour["load"] = "works"): Promise<void> {
    const env = { ...process.env, PORT: String(ENGINE), MODEL: BASE, LOAD: load, RINGFENCE_BIND_ADDRESS: this.#host };
    const engine = spawn(process.execPath, [file("../support/stand-in-engine.ts")], {
      env,
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#engine = engine;
    await once(createInterface(engine.stdout as NodeJS.ReadableStream), "line");
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
    const env = {
      PATH: process.env.PATH,
      KUBERNETES_SERVICE_HOST: host,
      KUBERNETES_SERVICE_PORT: port,
      RINGFENCE_BIND_ADDRESS: this.#host,
      RINGFENCE_PIPELINE: "chat",
      RINGFENCE_VERTEX: VERTEX,
      RINGFENCE_ENGINE_PORT: String(ENGINE),
      RINGFENCE_ADAPTERS_DIRECTORY: join(this.directory, "adapters"),
      RINGFENCE_ADAPTERS_PORT: String(HEALTH),
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
    const answer = await fetch(`http://${this.#host}:${HEALTH}/ready`);
    return { status: answer.status, text: await answer.text() };
  }

  fetch(path: string, body?: object): Promise<Response> {
    const init = body ? { method: "POST", body: JSON.stringify(body) } : {};
    return fetch(`http://${this.#host}:${ENGINE}${path}`, init);
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
