/**
 * The servers as processes. Linux' process table is the only record of what runs: every server carries its name and
 * home in its environment, so there is no pid file that a kill could leave behind, outdate or make point at a stranger.
 * (kube-apiserver is published for Linux alone, so relying on /proc costs no platform.)
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { dirname } from "node:path";
import { read } from "./files.ts";
import { until } from "./wait.ts";

/** Seconds from SIGTERM to SIGKILL. */
const patience = 15;
const tailLines = 12;

const variable = "RINGFENCE_SERVER";
const mark = (home: string, name: string) => `${name}@${home}`;

/** The mark in the environment by which a process is found. */
export const markOf = (home: string, name: string): Record<string, string> => ({ [variable]: mark(home, name) });

/** What the kernel holds under /proc/<pid>/; empty for processes that are gone, dead but unreaped, or another user's. */
function strings(pid: number, file: "environ" | "cmdline"): string[] {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8").split("\0").slice(0, -1);
  } catch {
    return [];
  }
}

/** The server's process of this home; `undefined` while it does not run. */
export function findProcess(home: string, name: string): number | undefined {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .find((pid) => isProcess(pid, home, name));
}

/** The processes of this home whose names begin so; children have their parent's name, and no group of their own. */
export function findProcesses(home: string, prefix: string): { pid: number; name: string; leader: boolean }[] {
  const end = `@${home}`;
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .flatMap((pid) => {
      const marked = strings(pid, "environ").find((entry) => entry.startsWith(`${variable}=${prefix}`));
      if (!marked?.endsWith(end)) return [];
      return [{ pid, name: marked.slice(variable.length + 1, -end.length), leader: statOf(pid)[2] === String(pid) }];
    });
}

const isProcess = (pid: number, home: string, name: string) =>
  strings(pid, "environ").includes(`${variable}=${mark(home, name)}`);

/** Whether the process was started with this very command line. */
export function runsAs(pid: number, binary: string, args: string[]): boolean {
  return JSON.stringify(strings(pid, "cmdline")) === JSON.stringify([binary, ...args]);
}

/** Starts a server that outlives this command, its output in `log` (the run before it in `<log>.previous`). */
export async function startProcess(options: {
  home: string;
  name: string;
  binary: string;
  args: string[];
  log: string;
}): Promise<number> {
  const { home, name, binary, args, log } = options;
  // The environment is the platform's own: a user's ETCD_*, KUBECONFIG or proxy settings must not reach a server.
  const env = { PATH: process.env.PATH, HOME: home };
  const child = await spawnMarked({ home, name, command: [binary, ...args], cwd: home, env, log });
  child.unref();
  return child.pid as number;
}

/**
 * Starts a process that carries its name and home, and leads a group of its own.
 * @param options.env all of its environment beside that mark
 * @param options.log takes its output; that of the run before it goes to `<log>.previous`
 */
export async function spawnMarked(options: {
  home: string;
  name: string;
  command: string[];
  cwd: string;
  env: Record<string, string | undefined>;
  log: string;
}): Promise<ChildProcess> {
  const { home, name, command, cwd, env, log } = options;
  const [binary = "", ...args] = command;
  mkdirSync(dirname(log), { recursive: true, mode: 0o700 });
  if (existsSync(log)) renameSync(log, `${log}.previous`);
  const output = openSync(log, "a", 0o600);
  try {
    const child = spawn(binary, args, {
      cwd,
      detached: true,
      stdio: ["ignore", output, output],
      env: { ...env, ...markOf(home, name) },
    });
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (error) => reject(new Error(`${name}: cannot start ${binary}: ${error.message}`)));
    });
    return child;
  } finally {
    closeSync(output);
  }
}

/** Stops a server: asks, waits for its exit, insists. Nothing happens if it does not run. */
export async function stopProcess(home: string, name: string): Promise<void> {
  const pid = findProcess(home, name);
  if (pid === undefined) return;
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    // Asked right before each signal: a pid that is not ours any more may be a stranger's.
    if (isProcess(pid, home, name)) send(pid, signal);
    if (await exited(pid, name)) return;
  }
  throw new Error(`${name}: pid ${pid} is still there ${patience} s after SIGKILL`);
}

const exited = (pid: number, name: string) =>
  until({
    what: `${name}: exit of pid ${pid}`,
    within: patience,
    attempt: async () => {
      if (isAlive(pid)) throw new Error("still running");
      return true;
    },
  }).catch(() => false);

/** @param pid a process', or a group's as a negative number; one that is gone is fine */
export function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // it went by itself
  }
}

/** A process loses its environment before its sockets; only a zombie, or nothing, has let go of everything. */
export function isAlive(pid: number): boolean {
  const [state] = statOf(pid);
  return state !== undefined && state !== "Z" && state !== "X";
}

/** State, parent, group, … as the kernel has them; empty for a process that is gone. */
function statOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
  } catch {
    return [];
  }
}

/** The error of a server that is no longer there, with the end of its log; `undefined` while it lives. */
export function deathOf(options: { pid: number; home: string; name: string; log: string }): Error | undefined {
  if (isProcess(options.pid, options.home, options.name)) return undefined;
  const lines = (read(options.log) ?? "").trimEnd().split("\n").slice(-tailLines);
  return new Error(
    `${options.name}: died on start; the end of ${options.log}:\n${lines.map((l) => `  ${l}`).join("\n")}`,
  );
}
