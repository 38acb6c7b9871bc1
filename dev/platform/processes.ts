/**
 * The servers as processes. Linux' process table is the only record of what runs: every server carries its name and
 * home in its environment, so there is no pid file that a kill could leave behind, outdate or make point at a stranger.
 * (kube-apiserver is published for Linux alone, so relying on /proc costs no platform.)
 */
import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { dirname } from "node:path";
import { read } from "./files.ts";
import { until } from "./wait.ts";

/** Seconds from SIGTERM to SIGKILL. */
const patience = 15;
const tailLines = 12;

const variable = "RINGFENCE_SERVER";
const mark = (home: string, name: string) => `${name}@${home}`;

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
  mkdirSync(dirname(log), { recursive: true, mode: 0o700 });
  if (existsSync(log)) renameSync(log, `${log}.previous`);
  const output = openSync(log, "a", 0o600);
  try {
    // The environment is the platform's own: a user's ETCD_*, KUBECONFIG or proxy settings must not reach a server.
    const child = spawn(binary, args, {
      cwd: home,
      detached: true,
      stdio: ["ignore", output, output],
      env: { PATH: process.env.PATH, HOME: home, [variable]: mark(home, name) },
    });
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (error) => reject(new Error(`${name}: cannot start ${binary}: ${error.message}`)));
    });
    child.unref();
    return child.pid as number;
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

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // it went by itself
  }
}

/** A process loses its environment before its sockets; only a zombie, or nothing, has let go of everything. */
function isAlive(pid: number): boolean {
  try {
    const state = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.[0];
    return state !== "Z" && state !== "X";
  } catch {
    return false;
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
