/** The process of a container: one that was started here, or one that a predecessor of ours has started. */
import { constants } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { isAlive, send, spawnMarked } from "../processes.ts";

export interface Exit {
  exitCode: number;
  signal?: number;
  reason: string;
}

export interface Running {
  pid: number;
  /** Resolves at its end. */
  exited: Promise<Exit>;
}

/** As Kubernetes writes times. */
export const timestamp = (): string => new Date().toISOString().replace(/\.\d+/, "");

/** How often a process that is not our child is looked at, milliseconds. */
const LOOK_MS = 200;

/** @throws when it cannot be started */
export async function begin(options: Parameters<typeof spawnMarked>[0]): Promise<Running> {
  const child = await spawnMarked(options);
  const exited = new Promise<Exit>((resolve) => {
    child.once("exit", (code, signal) => resolve(exitOf(code, signal)));
  });
  return { pid: child.pid as number, exited };
}

function exitOf(code: number | null, signal: NodeJS.Signals | null): Exit {
  if (signal === null) return { exitCode: code ?? 0, reason: code === 0 ? "Completed" : "Error" };
  const number = constants.signals[signal];
  return { exitCode: 128 + number, signal: number, reason: "Error" };
}

/** What a kubelet says of a container that it has lost sight of. */
export const UNKNOWN_EXIT: Exit = { exitCode: 137, reason: "ContainerStatusUnknown" };

/** Takes over a process; what it ends with nobody can tell but its parent, which is gone. */
export function adopt(pid: number): Running {
  const gone = async () => {
    while (isAlive(pid)) await sleep(LOOK_MS);
    return UNKNOWN_EXIT;
  };
  return { pid, exited: gone() };
}

/**
 * Ends a process as a kubelet ends a container: the sleep before it is asked, SIGTERM, and SIGKILL when the grace is over.
 * @param preStopSeconds counts towards the grace
 * @param over aborted when the grace is over
 */
export async function end({ pid, exited }: Running, preStopSeconds: number, over: AbortSignal): Promise<void> {
  if (preStopSeconds > 0) await passes(preStopSeconds * 1000, exited, over);
  // Only the leader is asked: it decides what becomes of its children.
  if (isAlive(pid)) send(pid, "SIGTERM");
  await passes(undefined, exited, over);
  send(-pid, "SIGKILL");
  await exited;
}

/** Waits for so long, or without end; at most to the process' end or that of the grace. */
async function passes(milliseconds: number | undefined, exited: Promise<unknown>, over: AbortSignal): Promise<void> {
  const done = new AbortController();
  const signal = AbortSignal.any([over, done.signal]);
  const waited = new Promise<void>((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
    if (milliseconds !== undefined) sleep(milliseconds, undefined, { signal }).then(resolve, () => undefined);
  });
  await Promise.race([exited, waited]);
  done.abort();
}
