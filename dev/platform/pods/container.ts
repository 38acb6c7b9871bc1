/** One container of a process pod: started, probed, restarted with back-off, and ended with grace. */
import { setTimeout as sleep } from "node:timers/promises";
import { reason } from "../wait.ts";
import { localAddress } from "./address.ts";
import { commandOf, environmentOf, type Mounts } from "./environment.ts";
import { type Ask, asker, probe } from "./probe.ts";
import { adopt, begin, type Exit, end, type Running, timestamp, UNKNOWN_EXIT } from "./process.ts";
import type { Api, ContainerSpec, ContainerStatus, Pod, Probe } from "./types.ts";

/** Between two starts, at most; they begin at 0, 1, 2, … A kubelet's go from 10 to 300, too long for who watches a dev platform. */
const MOST_BACKOFF_SECONDS = 60;

/** A container that ran for as long is as good as new when it ends. */
const HEALTHY_SECONDS = 600;

/** What a container needs of its pod. */
export interface Surroundings {
  home: string;
  api: Api;
  apiServer: URL;
  /** As it is now. */
  pod: () => Pod;
  podIP: string;
  /** Of the container's process. */
  processName: string;
  /** Such a process, where one runs already. */
  running: number | undefined;
  mounts: Mounts;
  directory: string;
  log: string;
  /** Called whenever the status has changed. */
  changed: () => void;
}

export type Role = "main" | "sidecar" | "init";

export class Container {
  readonly spec: ContainerSpec;
  readonly role: Role;
  status: ContainerStatus;
  /** Resolves when it has started for the first time; of what never does, never. */
  readonly started: Promise<void>;
  readonly #around: Surroundings;
  readonly #hasStarted: () => void;
  readonly #ending = new AbortController();
  #running: Running | undefined;
  #backoff = 0;
  /** The probe that it is ended for. */
  #failure: string | undefined;

  /** @param before what the pod's status has of it */
  constructor(spec: ContainerSpec, role: Role, before: ContainerStatus | undefined, around: Surroundings) {
    this.spec = spec;
    this.role = role;
    this.#around = around;
    const started = Promise.withResolvers<void>();
    this.started = started.promise;
    this.#hasStarted = started.resolve;
    const fresh: ContainerStatus = {
      name: spec.name,
      image: spec.image,
      imageID: spec.image,
      ready: false,
      started: false,
      restartCount: 0,
      state: { waiting: { reason: role === "init" ? "PodInitializing" : "ContainerCreating" } },
      lastState: {},
    };
    this.status = before ? { ...fresh, ...before, lastState: before.lastState ?? {} } : fresh;
    if (around.running !== undefined) {
      this.#running = adopt(around.running);
      if (!this.status.state.running) this.status.state = { running: { startedAt: timestamp() } };
    } else if (this.status.state.running) {
      // It ended while nobody looked.
      this.#ended(UNKNOWN_EXIT);
    }
  }

  /** It ended, and is not started again. */
  get finished(): boolean {
    const { terminated } = this.status.state;
    return terminated !== undefined && !this.#again(terminated.exitCode);
  }

  /** Says what it waits for, before its first start. */
  waits(message: string): void {
    const { waiting } = this.status.state;
    if (waiting) this.#set({ state: { waiting: { ...waiting, message } } });
  }

  /** Runs it for as long as its policy, or `end`, wants. */
  async run(): Promise<void> {
    while (!this.finished && !this.#ending.signal.aborted) {
      if (this.status.state.terminated) await this.#backOff("CrashLoopBackOff");
      if (this.#ending.signal.aborted) return;
      const since = Date.now();
      try {
        this.#running ??= await this.#begin();
      } catch (error) {
        await this.#backOff("CreateContainerConfigError", reason(error));
        continue;
      }
      const { pid } = this.#running;
      const exit = await this.#watched(this.#running);
      this.#running = undefined;
      if (Date.now() - since > HEALTHY_SECONDS * 1000) this.#backoff = 0;
      this.#ended(exit, `process://${pid}`);
    }
  }

  /** @param over aborted when the grace is over */
  async end(over: AbortSignal): Promise<void> {
    this.#ending.abort();
    if (this.#running) await end(this.#running, this.#preStopSeconds, over);
  }

  #again(exitCode: number): boolean {
    if (this.role === "sidecar") return true;
    const policy = this.#around.pod().spec.restartPolicy ?? "Always";
    if (policy === "Never") return false;
    return exitCode !== 0 || (policy === "Always" && this.role === "main");
  }

  async #begin(): Promise<Running> {
    const { api, pod, podIP, mounts, apiServer, home, processName, directory, log } = this.#around;
    const env = await environmentOf(api, pod(), this.spec, { podIP, mounts, apiServer });
    const command = commandOf(this.spec, env, mounts);
    // A probe that is not known here must not first be missed when it is time to ask.
    for (const each of this.#probes()) if (each) this.#asker(each);
    const restarted = this.status.state.terminated !== undefined || this.status.lastState.terminated !== undefined;
    const running = await begin({ home, name: processName, command, cwd: directory, env, log });
    // While it was begun, the pod may have been told to end.
    if (this.#ending.signal.aborted) await end(running, 0, AbortSignal.abort());
    const { state, lastState, restartCount } = this.status;
    this.#set({
      state: { running: { startedAt: timestamp() } },
      lastState: state.terminated ? { terminated: state.terminated } : lastState,
      restartCount: restartCount + (restarted ? 1 : 0),
      containerID: `process://${running.pid}`,
    });
    return running;
  }

  get #preStopSeconds(): number {
    return this.spec.lifecycle?.preStop?.sleep?.seconds ?? 0;
  }

  #probes = () => [this.spec.startupProbe, this.spec.livenessProbe, this.spec.readinessProbe];

  #asker = (settings: Probe): Ask => asker(this.spec, settings, localAddress(this.#around.podIP));

  /** Probes it until it ends. */
  async #watched(running: Running): Promise<Exit> {
    const [startup, liveness, readiness] = this.#probes();
    const gone = new AbortController();
    const since = Date.parse(this.status.state.running?.startedAt ?? timestamp());
    const asking = (settings: Probe, judge: (failure: string | undefined) => "enough" | "again", until: AbortSignal) =>
      probe(this.#asker(settings), settings, since, AbortSignal.any([gone.signal, until]), judge);
    const begun = () => {
      this.#hasStarted();
      this.#set({ started: true, ...(!readiness && { ready: true }) });
      if (readiness)
        void asking(
          readiness,
          (failure) => {
            if (this.status.ready !== (failure === undefined)) this.#set({ ready: failure === undefined });
            return "again";
          },
          gone.signal,
        );
      if (liveness) void asking(liveness, (failure) => this.#judge(running, failure, "again"), this.#ending.signal);
    };
    const judgeStart = (failure: string | undefined) => {
      if (failure === undefined) begun();
      return this.#judge(running, failure, "enough");
    };
    if (startup && !this.status.started) void asking(startup, judgeStart, this.#ending.signal);
    else begun();
    const exit = await running.exited;
    gone.abort();
    return exit;
  }

  /** A container that fails is ended with its pod's grace, and then started again. */
  #judge(running: Running, failure: string | undefined, otherwise: "enough" | "again"): "enough" | "again" {
    if (failure === undefined) return otherwise;
    const grace = this.#around.pod().spec.terminationGracePeriodSeconds ?? 30;
    this.#failure = failure;
    void end(running, this.#preStopSeconds, AbortSignal.timeout(grace * 1000));
    return "enough";
  }

  #ended({ exitCode, signal, reason }: Exit, containerID = this.status.containerID): void {
    const { running } = this.status.state;
    const message = [this.#failure ?? [], exitCode === 0 ? [] : `its output is in ${this.#around.log}`].flat();
    this.#failure = undefined;
    const terminated = {
      exitCode,
      ...(signal !== undefined && { signal }),
      reason,
      ...(message.length > 0 && { message: message.join("; ") }),
      ...(running && { startedAt: running.startedAt }),
      finishedAt: timestamp(),
      containerID,
    };
    this.#set({ state: { terminated }, ready: this.role === "init" && exitCode === 0, started: false });
  }

  async #backOff(why: string, message?: string): Promise<void> {
    const seconds = this.#backoff;
    this.#backoff = Math.min(Math.max(1, seconds * 2), MOST_BACKOFF_SECONDS);
    if (seconds === 0 && message === undefined) return;
    const { terminated } = this.status.state;
    this.#set({
      state: { waiting: { reason: why, message: message ?? `back-off ${seconds}s restarting failed container` } },
      ...(terminated && { lastState: { terminated } }),
    });
    await sleep(Math.max(1, seconds) * 1000, undefined, { signal: this.#ending.signal }).catch(() => undefined);
  }

  #set(change: Partial<ContainerStatus>): void {
    this.status = { ...this.status, ...change };
    this.#around.changed();
  }
}
