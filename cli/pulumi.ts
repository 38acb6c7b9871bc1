/** Runs the Pulumi CLI on the dev stack, and clears what a killed one left in its local backend. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { hostname } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { inspectTools, toolCatalog } from "../dev/tools/index.ts";

/** One Pulumi project in one environment. */
export interface Project {
  root: string;
  env: NodeJS.ProcessEnv;
}

/** The environment for a pulumi of the user's choice: their own, or the one that Ringfence brings when none is on PATH. */
export async function withPulumi(more: Record<string, string>): Promise<NodeJS.ProcessEnv> {
  const catalog = toolCatalog().filter(({ binaries }) => binaries.some(({ name }) => name === "pulumi"));
  const tools = await inspectTools({ catalog });
  const brought = tools.flatMap(({ name, path }) => (name === "pulumi" && path ? [dirname(path)] : []));
  const PATH = [process.env.PATH, ...brought].join(delimiter);
  return { ...process.env, ...more, PATH, PULUMI_SKIP_UPDATE_CHECK: "true" };
}

/** Runs pulumi with its output on ours; resolves with its exit code. */
export function pulumi({ root, env }: Project, args: string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(
      "pulumi",
      [...args, "--non-interactive", "--color", process.stdout.isTTY ? "always" : "never"],
      {
        cwd: root,
        env,
        stdio: ["ignore", "inherit", "inherit"],
      },
    );
    child.on("error", reject);
    child.on("exit", (code, signal) => resolve(code ?? (signal ? 1 : 0)));
  });
}

/**
 * Runs pulumi and returns the JSON that it prints.
 * @throws pulumi's own complaint
 */
export function pulumiJson<T>({ root, env }: Project, args: string[]): T {
  const { status, stdout, stderr, error } = spawnSync("pulumi", [...args, "--non-interactive"], {
    cwd: root,
    env,
    encoding: "utf8",
    maxBuffer: 64 * 2 ** 20,
  });
  if (status !== 0) throw new Error(`pulumi ${args.join(" ")}: ${(error?.message ?? stderr).trim()}`);
  return JSON.parse(stdout) as T;
}

/** Whether the stack exists in the backend. */
export function stackExists(project: Project, stack: string): boolean {
  return pulumiJson<Array<{ name: string }>>(project, ["stack", "ls", "--json"]).some(({ name }) => name === stack);
}

/**
 * Clears the local backend's locks on a stack when the pulumi that holds each is dead. One that lives, or runs on
 * another machine, is left alone: pulumi itself then says who it is.
 */
export async function clearDeadLocks(project: Project, stack: string): Promise<void> {
  const backend = project.env.PULUMI_BACKEND_URL;
  if (!backend?.startsWith("file://")) return;
  const { name } = parse(readFileSync(join(project.root, "Pulumi.yaml"), "utf8")) as { name: string };
  const state = join(fileURLToPath(backend), ".pulumi");
  const held = locks(join(state, "locks", "organization", name, stack));
  if (held.length === 0 || !held.every(isDead)) return;
  console.error(`clearing the lock of a pulumi that is gone (pid ${held.map(({ pid }) => pid).join(", ")})`);
  dropTornAttributes(join(state, "stacks", name), stack);
  await pulumi(project, ["cancel", "--yes", "--stack", stack]);
}

interface Lock {
  pid: number;
  hostname: string;
}

function locks(directory: string): Lock[] {
  if (!existsSync(directory)) return [];
  const files = readdirSync(directory).filter((file) => file.endsWith(".json"));
  return files.map((file) => JSON.parse(readFileSync(join(directory, file), "utf8")) as Lock);
}

/**
 * Beside each file the backend keeps attributes that nobody needs. It replaces the file in one step, but not those, and
 * reads no state whose attributes are torn: "failed to load checkpoint: EOF".
 */
function dropTornAttributes(directory: string, stack: string): void {
  for (const file of existsSync(directory) ? readdirSync(directory) : []) {
    if (!file.startsWith(`${stack}.json`) || !file.endsWith(".attrs")) continue;
    try {
      JSON.parse(readFileSync(join(directory, file), "utf8"));
    } catch {
      rmSync(join(directory, file));
    }
  }
}

function isDead(lock: Lock): boolean {
  if (lock.hostname !== hostname()) return false;
  try {
    process.kill(lock.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
  return isDefunct(lock.pid);
}

/** A process that was killed and not yet waited for by its parent does nothing any more. */
function isDefunct(pid: number): boolean {
  try {
    return / Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\)/, ""));
  } catch {
    return false;
  }
}
