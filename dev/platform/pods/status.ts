/** What the API server is told of a process pod. */
import { setTimeout as sleep } from "node:timers/promises";
import { ApiError } from "../kubernetes.ts";
import { reason } from "../wait.ts";
import type { Container } from "./container.ts";
import { timestamp } from "./process.ts";
import type { Api, Condition, Pod } from "./types.ts";

const MERGE = "application/strategic-merge-patch+json";

/** What a status is made of. */
interface Parts {
  pod: () => Pod;
  init: Container[];
  main: Container[];
}

export class StatusWriter {
  readonly #context: { api: Api; podIP: string; log: (line: string) => void };
  readonly #parts: Parts;
  readonly #startTime: string;
  #conditions: Condition[];
  #dirty = false;
  #writing: Promise<void> | undefined;
  #closed = false;

  constructor(context: { api: Api; podIP: string; log: (line: string) => void }, parts: Parts) {
    this.#context = context;
    this.#parts = parts;
    const { status } = parts.pod();
    this.#conditions = status?.conditions ?? [];
    this.#startTime = status?.startTime ?? timestamp();
  }

  /** Something is to be told. */
  changed(): void {
    this.#dirty = true;
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
  }

  /** Nobody is there any more to be told. */
  close(): void {
    this.#closed = true;
  }

  /** Tells the last, then has the object removed. */
  async delete(): Promise<void> {
    await this.#writing;
    const { uid } = this.#parts.pod().metadata;
    await this.#insist(() =>
      this.#context.api(
        "DELETE",
        this.#path,
        {
          apiVersion: "v1",
          kind: "DeleteOptions",
          gracePeriodSeconds: 0,
          preconditions: { uid },
        },
        "application/json",
      ),
    );
  }

  get #path(): string {
    const { namespace, name } = this.#parts.pod().metadata;
    return `/api/v1/namespaces/${namespace}/pods/${name}`;
  }

  async #write(): Promise<void> {
    // What changes in one go is told in one go.
    await Promise.resolve();
    while (this.#dirty && !this.#closed) {
      this.#dirty = false;
      const { uid } = this.#parts.pod().metadata;
      const status = this.#status();
      await this.#insist(() =>
        this.#context.api("PATCH", `${this.#path}/status`, { metadata: { uid }, status }, MERGE),
      );
    }
  }

  /** Asks until there is an answer: an API server that is away comes back. */
  async #insist(ask: () => Promise<unknown>): Promise<void> {
    for (let last = ""; !this.#closed; ) {
      try {
        await ask();
        return;
      } catch (error) {
        // Gone, or another pod of the same name by now.
        if (error instanceof ApiError && (error.status === 404 || error.status === 409)) return this.close();
        if (reason(error) !== last) this.#context.log(reason(error));
        last = reason(error);
        await sleep(500);
      }
    }
  }

  #status() {
    const { pod, init, main } = this.#parts;
    const { podIP } = this.#context;
    const initialized = init.every(({ role, status: { started, state } }) =>
      role === "sidecar" ? started : state.terminated?.exitCode === 0,
    );
    const ready = [...main, ...init.filter(({ role }) => role === "sidecar")].every(({ status }) => status.ready);
    const gates = (pod().spec.readinessGates ?? []).filter(
      ({ conditionType }) =>
        !pod().status?.conditions?.some(({ type, status }) => type === conditionType && status === "True"),
    );
    this.#conditions = [
      this.#condition("Initialized", initialized),
      this.#condition("ContainersReady", ready),
      this.#condition("Ready", ready && gates.length === 0, {
        reason: ready ? "ReadinessGatesNotReady" : "ContainersNotReady",
        message: gates.map(({ conditionType }) => `condition "${conditionType}" is not true`).join(", "),
      }),
    ];
    return {
      phase: phaseOf(init, main),
      conditions: this.#conditions,
      hostIP: "127.0.0.1",
      podIP,
      podIPs: [{ ip: podIP }],
      startTime: this.#startTime,
      initContainerStatuses: init.map(({ status }) => status),
      containerStatuses: main.map(({ status }) => status),
    };
  }

  #condition(type: string, holds: boolean, why = {}): Condition {
    const status = holds ? "True" : "False";
    const before = this.#conditions.find((condition) => condition.type === type);
    const lastTransitionTime = before?.status === status ? before.lastTransitionTime : undefined;
    return {
      type,
      status,
      lastTransitionTime: lastTransitionTime ?? timestamp(),
      ...(holds ? { reason: null, message: null } : why),
    };
  }
}

function phaseOf(init: Container[], main: Container[]): string {
  const failed = ({ finished, status }: Container) => finished && status.state.terminated?.exitCode !== 0;
  if (init.some((container) => container.role === "init" && failed(container))) return "Failed";
  if (main.length > 0 && main.every(({ finished }) => finished)) return main.some(failed) ? "Failed" : "Succeeded";
  const begun = main.some(
    ({ status }) => status.state.running ?? status.state.terminated ?? status.lastState.terminated,
  );
  return begun ? "Running" : "Pending";
}
