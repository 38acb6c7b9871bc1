/** A process pod, from its first container to the end of its last one. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { layout } from "../layout.ts";
import { POD_PROCESS, podDirectory } from "../process-pods.ts";
import { reason } from "../wait.ts";
import { Container, type Role } from "./container.ts";
import { StatusWriter } from "./status.ts";
import type { Api, ContainerSpec, ContainerStatus, Pod } from "./types.ts";
import { mountsOf, writeVolumes } from "./volumes.ts";

/** Between two looks at what the volumes of a pod come from. */
const REFRESH_SECONDS = 5;

export interface PodContext {
  home: string;
  api: Api;
  apiServer: URL;
  podIP: string;
  /** Processes of this pod that run already: name → pid. */
  left: ReadonlyMap<string, number>;
  log: (line: string) => void;
}

export class ProcessPod {
  readonly podIP: string;
  /** Resolves when nothing of it is left. */
  readonly done: Promise<void>;
  #pod: Pod;
  readonly #context: PodContext;
  readonly #init: Container[];
  readonly #main: Container[];
  readonly #status: StatusWriter;
  readonly #runs: Promise<void>[] = [];
  readonly #ending = new AbortController();
  readonly #over = new AbortController();
  #deadline: NodeJS.Timeout | undefined;
  #grace: number | undefined;

  constructor(pod: Pod, context: PodContext) {
    this.#pod = pod;
    this.#context = context;
    this.podIP = context.podIP;
    const { initContainers = [], containers } = pod.spec;
    const { status } = pod;
    this.#init = initContainers.map((spec) =>
      this.#container(spec, spec.restartPolicy === "Always" ? "sidecar" : "init", status?.initContainerStatuses),
    );
    this.#main = containers.map((spec) => this.#container(spec, "main", status?.containerStatuses));
    this.#status = new StatusWriter(context, {
      pod: () => this.#pod,
      init: this.#init,
      main: this.#main,
    });
    this.done = this.#live();
    this.update(pod);
  }

  /** Takes note of what has changed, above all that it shall end. */
  update(pod: Pod): void {
    this.#pod = pod;
    if (pod.spec.readinessGates) this.#status.changed();
    const { deletionTimestamp, deletionGracePeriodSeconds: grace = 0 } = pod.metadata;
    if (deletionTimestamp === undefined || (this.#grace !== undefined && grace >= this.#grace)) return;
    this.#grace = grace;
    clearTimeout(this.#deadline);
    // From now on, also for one whose end an agent before this one began: later than asked, never sooner.
    this.#deadline = setTimeout(() => this.#over.abort(), grace * 1000);
    this.#ending.abort();
  }

  /** The object is gone, and with it all reason to run. */
  gone(): void {
    this.#status.close();
    this.#over.abort();
    this.#ending.abort();
  }

  #container(spec: ContainerSpec, role: Role, before: ContainerStatus[] | undefined): Container {
    const { home, api, apiServer, podIP, left } = this.#context;
    const { uid, namespace, name } = this.#pod.metadata;
    const processName = `${POD_PROCESS}${uid}/${spec.name}`;
    return new Container(
      spec,
      role,
      before?.find((status) => status.name === spec.name),
      {
        home,
        api,
        apiServer,
        podIP,
        pod: () => this.#pod,
        processName,
        running: left.get(processName),
        mounts: mountsOf(this.#directory, spec),
        directory: this.#directory,
        log: join(layout(home).podLogs, `${namespace}_${name}`, `${spec.name}.log`),
        changed: () => this.#status?.changed(),
      },
    );
  }

  get #directory(): string {
    return podDirectory(this.#context.home, this.#pod.metadata.uid);
  }

  async #live(): Promise<void> {
    const stopped = this.#aborted();
    const finished = this.#run();
    await Promise.race([stopped, finished.then((all) => (all ? undefined : stopped))]);
    await this.#end();
    await finished;
    // Of a pod that came to its end by itself, a Job's, the object stays until somebody deletes it.
    await stopped;
    clearTimeout(this.#deadline);
    await this.#status.delete();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** @returns whether every main container has ended for good */
  async #run(): Promise<boolean> {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    this.#status.changed();
    if (!(await this.#volumes())) return false;
    void this.#refresh();
    for (const container of this.#init) {
      if (container.finished) continue;
      const run = this.#begin(container);
      await Promise.race([container.role === "sidecar" ? container.started : run, this.#aborted()]);
      if (this.#ending.signal.aborted) return false;
      // Another one is tried only where the policy has none.
      if (container.role === "init" && container.status.state.terminated?.exitCode !== 0) return true;
    }
    await Promise.all(this.#main.map((container) => this.#begin(container)));
    return !this.#ending.signal.aborted;
  }

  #begin(container: Container): Promise<void> {
    const run = container.run();
    this.#runs.push(run);
    return run;
  }

  /** Ends what runs: the sidecars after what they served, the last one first. */
  async #end(): Promise<void> {
    const over = this.#over.signal;
    await Promise.all(this.#main.map((container) => container.end(over)));
    for (const container of [...this.#init].reverse()) await container.end(over);
    await Promise.all(this.#runs);
  }

  /** Writes the volumes; tried until it goes well, for a Secret may come later. @returns false when the pod shall end */
  async #volumes(): Promise<boolean> {
    const { api, podIP, log } = this.#context;
    let last = "";
    while (!this.#ending.signal.aborted) {
      try {
        await writeVolumes(api, this.#pod, { directory: this.#directory, podIP });
        return true;
      } catch (error) {
        const why = reason(error);
        if (why !== last) {
          log(`its volumes cannot be written: ${why}`);
          for (const container of [...this.#init, ...this.#main]) container.waits(why);
        }
        last = why;
        await this.#pause(1);
      }
    }
    return false;
  }

  /** A kubelet does that, too, in its own time. */
  async #refresh(): Promise<void> {
    if (!this.#pod.spec.volumes?.some(({ secret, configMap, projected }) => secret ?? configMap ?? projected)) return;
    const { api, podIP, log } = this.#context;
    while (!this.#ending.signal.aborted) {
      await this.#pause(REFRESH_SECONDS);
      if (this.#ending.signal.aborted) return;
      await writeVolumes(api, this.#pod, { directory: this.#directory, podIP, again: true }).catch((error) =>
        log(`its volumes stay as they are: ${reason(error)}`),
      );
    }
  }

  #pause(seconds: number): Promise<unknown> {
    return sleep(seconds * 1000, undefined, { signal: this.#ending.signal }).catch(() => undefined);
  }

  #aborted(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#ending.signal.aborted) return resolve();
      this.#ending.signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }
}
