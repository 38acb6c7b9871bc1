/**
 * A machine within the machine: processes, mounts, network and IPC of its own. All of it hangs on its first process, which
 * ends when whoever started the machine does; then the kernel ends every other process of it and takes back its mounts,
 * bridges and network namespaces. However it was killed, there is nothing left to tidy up but control groups.
 */
import { type ChildProcess, type StdioOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import { run } from "../../tools/run.ts";
import { send } from "../processes.ts";

/** Directories that the machine has for itself: sockets, namespaces, what kubelets log and plugins note. */
export const PRIVATE = ["/run", "/var/log", "/var/lib/cni"];

/** What a kubelet would set for the whole host: it finds it set already, in copies that nobody else sees. */
const SYSCTLS = {
  "vm/overcommit_memory": 1,
  "vm/panic_on_oom": 0,
  "kernel/panic": 10,
  "kernel/panic_on_oops": 1,
  "kernel/keys/root_maxkeys": 1_000_000,
  "kernel/keys/root_maxbytes": 25_000_000,
};

/** Its first process: says its pid, as the host sees it, then takes in orphans until its input ends. */
const FIRST = `
set -e
read -r pid rest </proc/self/stat
mount -t proc proc /proc
for directory in ${PRIVATE.join(" ")}; do mount -t tmpfs -o mode=755 tmpfs "$directory"; done
${Object.entries(SYSCTLS)
  .map(([name, value], i) => `echo ${value} >/run/sysctl-${i}; mount --bind /run/sysctl-${i} /proc/sys/${name}`)
  .join("\n")}
exec 3<&0
echo "$pid"
cat <&3 >/dev/null &
wait $!
`;

export class Machine {
  /** Of its first process, as the host sees it. */
  readonly pid: number;
  /** Resolves when nothing of it runs any more. */
  readonly ended: Promise<void>;
  readonly #env: NodeJS.ProcessEnv;

  private constructor(pid: number, outer: ChildProcess, env: NodeJS.ProcessEnv) {
    this.pid = pid;
    this.ended = once(outer, "exit").then(() => undefined);
    this.#env = env;
  }

  /** @param env of every process of it */
  static async start(env: NodeJS.ProcessEnv): Promise<Machine> {
    const own = ["--pid", "--mount", "--net", "--ipc", "--fork", "--kill-child=SIGKILL"];
    const outer = spawn("unshare", [...own, "sh", "-c", FIRST], { env, stdio: ["pipe", "pipe", "inherit"] });
    const failed = once(outer, "exit").then(([code]) => {
      throw new Error(`unshare: ended with ${code}`);
    });
    failed.catch(() => {});
    const lines = createInterface({ input: outer.stdout as NodeJS.ReadableStream });
    const [pid] = await Promise.race([once(lines, "line"), failed]);
    return new Machine(Number(pid), outer, env);
  }

  /** The command that runs this one inside. @param netns path of another network namespace than the machine's own */
  #inside(command: string[], netns?: string): [string, string[]] {
    const enter = ["--target", String(this.pid), "--mount", "--pid", "--net", "--ipc", "--"];
    return ["nsenter", [...enter, ...(netns ? ["nsenter", `--net=${netns}`, "--"] : []), ...command]];
  }

  /** Runs a command inside to its end. @returns what it wrote to stdout */
  run(command: string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
    const [program, args] = this.#inside(command);
    return run(program, args, { env: { ...this.#env, ...env }, deadline: 120_000 });
  }

  /** Starts a command inside. @param options.log file that takes its output @default nowhere */
  spawn(command: string[], options: { log?: string; netns?: string; ipc?: boolean; cwd?: string } = {}): ChildProcess {
    const { log, netns, ipc } = options;
    if (log) mkdirSync(dirname(log), { recursive: true, mode: 0o700 });
    const output = log ? openSync(log, "w", 0o600) : "ignore";
    const stdio: StdioOptions = ipc ? ["ignore", "inherit", "inherit", "ipc"] : ["ignore", output, output];
    const [program, args] = this.#inside(command, netns);
    return spawn(program, args, { env: this.#env, stdio });
  }

  /** Where the host finds a path of the machine's. */
  path(inside: string): string {
    return `/proc/${this.pid}/root${inside}`;
  }

  async stop(): Promise<void> {
    send(this.pid, "SIGKILL");
    await this.ended;
  }
}
