/**
 * The agent of process pods: `node agent.ts HOME`. It watches the pods of the simulated nodes and keeps nothing for itself:
 * what runs is in the process table, what was told is in the pods' status, so that it may be killed at any time.
 */
import { mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import * as https from "node:https";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { write } from "../files.ts";
import { adminAccess, apiEndpoint, call } from "../kubernetes.ts";
import { layout } from "../layout.ts";
import { simulatedNodes } from "../nodes.ts";
import { keptPorts } from "../ports.ts";
import { POD_PROCESS, watchingFile } from "../process-pods.ts";
import { findProcesses, send } from "../processes.ts";
import { reason } from "../wait.ts";
import { choosePodIP } from "./address.ts";
import { ProcessPod } from "./pod.ts";
import type { Api, Pod } from "./types.ts";

const IMAGES = "ringfence.dev/";

/** Days for which the output of pods that are gone is kept. */
const LOG_DAYS = 1;

const log = (line: string) => process.stderr.write(`${new Date().toISOString()} ${line}\n`);

class Agent {
  readonly #home: string;
  readonly #endpoint: string;
  readonly #api: Api;
  readonly #nodes = new Set(simulatedNodes().map(({ metadata }) => metadata.name));
  readonly #pods = new Map<string, ProcessPod>();

  constructor(home: string) {
    const ports = keptPorts(home);
    if (!ports) throw new Error(`${home}: no platform here`);
    this.#home = home;
    this.#endpoint = apiEndpoint(ports);
    this.#api = (method, path, body, contentType) =>
      call({ home, endpoint: this.#endpoint, method, path, body, contentType });
  }

  /** Lists, then watches, for ever. */
  async run(): Promise<never> {
    for (let last = ""; ; ) {
      try {
        const { metadata, items } = await this.#api<{ metadata: { resourceVersion: string }; items: Pod[] }>(
          "GET",
          "/api/v1/pods",
        );
        this.#reconcile(items);
        write(watchingFile(this.#home), String(process.pid));
        last = "";
        await this.#watch(metadata.resourceVersion);
      } catch (error) {
        if (reason(error) !== last) log(`${reason(error)}; asking again`);
        last = reason(error);
      }
      await sleep(500);
    }
  }

  #reconcile(items: Pod[]): void {
    const there = new Set(items.map(({ metadata }) => metadata.uid));
    for (const [uid, pod] of this.#pods) if (!there.has(uid)) pod.gone();
    // Of pods that were removed while no agent looked.
    for (const { pid, name } of findProcesses(this.#home, POD_PROCESS))
      if (!there.has(name.slice(POD_PROCESS.length).split("/")[0] ?? "")) send(pid, "SIGKILL");
    for (const pod of items) this.#take(pod);
  }

  #take(pod: Pod): void {
    const { uid, namespace, name } = pod.metadata;
    const known = this.#pods.get(uid);
    if (known) {
      known.update(pod);
      return;
    }
    const { nodeName } = pod.spec;
    if (!pod.spec.containers[0]?.image.startsWith(IMAGES) || !nodeName || !this.#nodes.has(nodeName)) return;
    // A Job's, which came to its end.
    if (["Succeeded", "Failed"].includes(pod.status?.phase ?? "") && !pod.metadata.deletionTimestamp) return;
    const left = findProcesses(this.#home, `${POD_PROCESS}${uid}/`).filter(({ leader }) => leader);
    const taken = (ip: string) => [...this.#pods.values()].some(({ podIP }) => podIP === ip);
    const made = new ProcessPod(pod, {
      home: this.#home,
      api: this.#api,
      apiServer: new URL(this.#endpoint),
      podIP: pod.status?.podIP ?? choosePodIP(taken),
      left: new Map(left.map(({ name, pid }) => [name, pid])),
      log: (line) => log(`${namespace}/${name}: ${line}`),
    });
    this.#pods.set(uid, made);
    made.done
      .catch((error: Error) => log(`${namespace}/${name}: ${error.stack}`))
      .finally(() => this.#pods.delete(uid));
  }

  /** Takes every change until the API server ends it. Most pods are simulated: their lines are not even parsed. */
  #watch(resourceVersion: string): Promise<void> {
    const url = `${this.#endpoint}/api/v1/pods?watch=1&resourceVersion=${resourceVersion}`;
    return new Promise((resolve, reject) => {
      const request = https.get(url, adminAccess(this.#home), (response) => {
        if (response.statusCode !== 200) return reject(new Error(`watch of pods: ${response.statusCode}`));
        let rest = "";
        response.setEncoding("utf8");
        response.on("data", (text: string) => {
          const lines = (rest + text).split("\n");
          rest = lines.pop() ?? "";
          for (const line of lines) {
            if (line.startsWith('{"type":"ERROR"')) return request.destroy();
            if (line.includes(`"image":"${IMAGES}`)) this.#hear(JSON.parse(line));
          }
        });
        response.on("close", resolve);
      });
      request.on("error", reject);
    });
  }

  #hear({ type, object }: { type: string; object: Pod }): void {
    if (type === "DELETED") this.#pods.get(object.metadata.uid)?.gone();
    else this.#take(object);
  }
}

function forgetOldLogs(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  for (const entry of readdirSync(directory)) {
    const path = join(directory, entry);
    if (Date.now() - statSync(path).mtimeMs > LOG_DAYS * 86_400_000) rmSync(path, { recursive: true });
  }
}

const [, , home = ""] = process.argv;
forgetOldLogs(layout(home).podLogs);
await new Agent(home).run();
