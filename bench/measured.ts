/** Runs a command, and tells what it took: time on the clock, time of the processors, memory. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { text } from "node:stream/consumers";

export interface Cost {
  /** On the clock. */
  seconds: number;
  /** Of the processors: the command and all that it started and waited for. */
  cpuSeconds: number;
  /** The most that the command and all that it started had in memory at once; pages that they share count for each. */
  memoryMiB: number;
}

export interface Place {
  cwd: string;
  env: NodeJS.ProcessEnv;
  /** For its standard input. */
  input?: string;
}

const PAGE_BYTES = 4096;
const LOOK_EVERY_MS = 100;

/** @throws with all that it printed when it does not end well */
export async function measured(command: string[], { cwd, env, input = "" }: Place): Promise<Cost> {
  // What it prints goes to one pipe, and the shell's figures to the other.
  const child = spawn("bash", ["-c", 'TIMEFORMAT="%R %U %S"; time "$@" 2>&1', "bash", ...command], { cwd, env });
  child.stdin.end(input);
  const memory = watch(child);
  const [printed, figures, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
  const memoryMiB = memory();
  if (code !== 0) throw new Error(`${command.join(" ")}: ended with ${code}\n${printed}\n${figures}`);
  const [seconds, user, system] = figures.trim().split(" ").map(Number) as [number, number, number];
  return { seconds, cpuSeconds: user + system, memoryMiB };
}

/** Looks at a process and its descendants again and again. @returns what ends it, and tells the most that was found */
function watch(child: ChildProcess): () => number {
  let most = 0;
  const timer = setInterval(() => {
    most = Math.max(most, residentBytes(child.pid ?? 0));
  }, LOOK_EVERY_MS);
  return () => {
    clearInterval(timer);
    return most / 2 ** 20;
  };
}

function residentBytes(root: number): number {
  const parents = new Map<number, { parent: number; bytes: number }>();
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      // The name, in parentheses, may have blanks in it.
      const [, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      const [, resident] = readFileSync(`/proc/${pid}/statm`, "utf8").split(" ");
      parents.set(pid, { parent: Number(parent), bytes: Number(resident) * PAGE_BYTES });
    } catch {
      // gone meanwhile
    }
  }
  const below = (pid: number): boolean => {
    for (let at: number | undefined = pid; at; at = parents.get(at)?.parent) if (at === root) return true;
    return false;
  };
  return [...parents].reduce((sum, [pid, { bytes }]) => (below(pid) ? sum + bytes : sum), 0);
}
