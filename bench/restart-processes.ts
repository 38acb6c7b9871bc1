/** The workers of `bench:restart`, each in a process of its own. */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import type { WorkerSpec } from "./restart-worker.ts";
import type { Environment } from "./tenant.ts";

export interface RunningWorker {
  /** Its instance's. */
  id: string;
  child: ChildProcess;
  ended: Promise<unknown>;
}

const running = new Set<RunningWorker>();

/** Resolves when it is registered. */
export async function start(spec: WorkerSpec, env: Environment): Promise<RunningWorker> {
  const child = fork(new URL("restart-worker.ts", import.meta.url), [JSON.stringify(spec)], {
    env: { ...process.env, ...env },
  });
  const worker: RunningWorker = { id: "", child, ended: once(child, "exit").then(() => running.delete(worker)) };
  running.add(worker);
  [worker.id] = (await Promise.race([
    once(child, "message"),
    worker.ended.then(() => assert.fail("a worker ended before it was ready")),
  ])) as [string];
  return worker;
}

/** Ends all that run, at once. */
export async function killAll(): Promise<void> {
  const all = [...running];
  for (const { child } of all) child.kill("SIGKILL");
  await Promise.all(all.map(({ ended }) => ended));
}
