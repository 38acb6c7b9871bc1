/** Commands as a user runs them: what they printed, how they ended, and what of theirs is still alive. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { until } from "../../dev/platform/wait.ts";

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  /** stdout and stderr, line by line as they came. */
  output: string;
}

/** Longer than any command here takes on a busy machine, and shorter than a release waits for a lock; milliseconds. */
const DEADLINE_MS = 240_000;

/** A command that has been started. */
export class Command {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  output = "";
  #stdout = "";

  constructor(command: string, args: string[], { cwd, env }: { cwd: string; env: NodeJS.ProcessEnv }) {
    this.child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      // By whole lines, for those of the other stream must not come amid one.
      let line = "";
      stream?.setEncoding("utf8").on("data", (text: string) => {
        if (stream === this.child.stdout) this.#stdout += text;
        line += text;
        const end = line.lastIndexOf("\n") + 1;
        this.output += line.slice(0, end);
        line = line.slice(end);
      });
      stream?.on("end", () => {
        this.output += line;
      });
    }
    this.ended = new Promise((resolve, reject) => {
      const line = [command, ...args].join(" ");
      const deadline = setTimeout(() => {
        this.child.kill("SIGKILL");
        reject(new Error(`${line}: still running after ${DEADLINE_MS / 1000} s\n${this.output}`));
      }, DEADLINE_MS);
      const ending = (end: () => void) => {
        clearTimeout(deadline);
        end();
      };
      this.child.on("error", (error) => ending(() => reject(error)));
      this.child.on("close", (code, signal) =>
        ending(() => resolve({ code, signal, stdout: this.#stdout, output: this.output })),
      );
    });
    // Awaited by whoever started it, maybe later.
    this.ended.catch(() => {});
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Waits for a condition that shall come true while the command runs. */
  async reaches(what: string, condition: () => Promise<boolean>): Promise<void> {
    await until({
      what,
      within: 180,
      attempt: async () => assert(await condition(), "not yet"),
      giveUp: () => (this.running ? undefined : new Error(`${what}: the command ended before\n${this.output}`)),
    });
  }
}

/** The processes that were started with this variable in their environment, by part of their command line. */
export function processesWith(variable: string, commandLine = ""): number[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        return (
          readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(variable) &&
          readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(commandLine)
        );
      } catch {
        return false; // gone meanwhile, or another user's
      }
    });
}

/** Waits until a process has nothing left to do: it uses no processor time for a second, or is gone. */
export async function idle(pid: number): Promise<void> {
  const used = () => {
    try {
      return readFileSync(`/proc/${pid}/stat`, "utf8")
        .replace(/^.*\) /, "")
        .split(" ")
        .slice(11, 13)
        .join();
    } catch {
      return "gone";
    }
  };
  let last = { used: used(), at: Date.now() };
  await until({
    what: `process ${pid} to become idle`,
    within: 180,
    attempt: async () => {
      if (used() !== last.used) last = { used: used(), at: Date.now() };
      assert(Date.now() - last.at > 1000, "busy");
    },
  });
}
