/** Scenes for the engine suites: a platform, and the repository's own program in a project with another config and backend. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { openStores, type Stores } from "../../components/tenancy/access.ts";
import { audit, type Finding } from "../../components/tenancy/audit.ts";
import { compareSnapshots, type Snapshot, takeSnapshot } from "../../components/tenancy/outside.ts";
import { down, environment, startServer, stopServer, type TlsOption, up } from "../../dev/platform/index.ts";
import { send } from "../../dev/platform/processes.ts";
import { ensureTools, pathsOf } from "../../dev/tools/index.ts";
import { Command, type Ended, processesWith } from "./command.ts";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const STACK = "dev";

/** A small pipeline: one Service, one GPU. */
export const chat = {
  vertices: {
    frontend: { image: "registry.example.com/frontend:1", ports: { http: 8000 } },
    worker: { image: "registry.example.com/worker:1", gpus: 1, pool: "h100" },
  },
};

/** What `ringfence:` keys a stack's config has, without the prefix. */
export interface Config {
  realm?: string;
  pools?: object;
  platform?: object;
  pipelines: Record<string, object>;
}

export const temporary = (name: string): string => realpathSync(mkdtempSync(join(tmpdir(), `ringfence-${name}-`)));

/** An embedded platform that a suite may break: nobody else is on it. */
export class OwnPlatform {
  readonly home: string;
  readonly tools: Record<string, string>;

  private constructor(home: string, tools: Record<string, string>) {
    this.home = home;
    this.tools = tools;
  }

  static async up(options: TlsOption = {}): Promise<OwnPlatform> {
    const tools = pathsOf(await ensureTools({ log: () => {} }));
    const platform = new OwnPlatform(temporary("e2e-platform"), tools);
    try {
      await up({ home: platform.home, tools, ...options });
    } catch (error) {
      await platform.close();
      throw error;
    }
    return platform;
  }

  /** What `ringfence dev env` gives a shell, as it is now. */
  get env(): NodeJS.ProcessEnv {
    return { ...process.env, ...environment(this.home) };
  }

  stop(server: string): Promise<void> {
    return stopServer({ home: this.home, server });
  }

  start(server: string): Promise<void> {
    return startServer({ home: this.home, tools: this.tools, server });
  }

  async close(): Promise<void> {
    await down({ home: this.home });
    rmSync(this.home, { recursive: true, maxRetries: 10 });
  }
}

/** The repository's program as a project of its own: another config, realm and backend, the same code. */
export class Project {
  readonly directory = temporary("e2e");
  /** So that no two suites claim the same names. */
  readonly realm = `test-${randomBytes(4).toString("hex")}`;
  readonly stack: string;
  readonly #env: NodeJS.ProcessEnv;

  /** @param env of a platform; with `backend: "platform"` the platform's own backend is used, as the command line does */
  constructor(env: NodeJS.ProcessEnv, config: Config, backend: "own" | "platform" = "own", stack = STACK) {
    this.stack = stack;
    mkdirSync(join(this.directory, "state"));
    copyFileSync(join(ROOT, "Pulumi.yaml"), join(this.directory, "Pulumi.yaml"));
    for (const shared of ["node_modules", "policy", "stacks"])
      symlinkSync(join(ROOT, shared), join(this.directory, shared));
    this.#env = {
      ...env,
      PULUMI_SKIP_UPDATE_CHECK: "true",
      RINGFENCE_E2E: this.directory,
      ...(backend === "own" && { PULUMI_BACKEND_URL: `file://${join(this.directory, "state")}` }),
    };
    this.configure(config);
  }

  /** Rewrites the stack's config. */
  configure({ realm = this.realm, pools = { h100: { product: "NVIDIA-H100-80GB-HBM3" } }, ...others }: Config): void {
    const { encryptionsalt } = parse(readFileSync(join(ROOT, `Pulumi.${STACK}.yaml`), "utf8"));
    const config = Object.entries({ realm, pools, ...others }).map(([key, value]) => [`ringfence:${key}`, value]);
    const text = JSON.stringify({ config: Object.fromEntries(config), encryptionsalt });
    writeFileSync(join(this.directory, `Pulumi.${this.stack}.yaml`), text);
  }

  /** Starts a command in the project. */
  spawn(command: string, ...args: string[]): Command {
    return new Command(command, args, { cwd: this.directory, env: this.#env });
  }

  /** Runs a command to its end, whatever that is. */
  run(command: string, ...args: string[]): Promise<Ended> {
    return this.spawn(command, ...args).ended;
  }

  /** Starts `pulumi … --stack dev`. */
  pulumiSpawn(...args: string[]): Command {
    return this.spawn("pulumi", ...args, "--non-interactive", "--stack", this.stack);
  }

  /** Runs `pulumi … --stack dev`, which has to succeed. @returns all that it printed */
  async pulumi(...args: string[]): Promise<Ended> {
    const ended = await this.pulumiSpawn(...args).ended;
    assert.equal(ended.code, 0, `pulumi ${args.join(" ")}\n${ended.output}`);
    return ended;
  }

  /** Runs `pulumi … --stack dev`, which has to fail. @returns all that it printed */
  async refused(...args: string[]): Promise<string> {
    const { code, output } = await this.pulumiSpawn(...args).ended;
    assert.notEqual(code, 0, `pulumi ${args.join(" ")} was not refused\n${output}`);
    return output;
  }

  /** Runs `ringfence …`, which has to end with this code. */
  async ringfence(code: number, ...args: string[]): Promise<Ended> {
    const ended = await this.run("node", join(ROOT, "cli/bin.js"), ...args);
    assert.equal(ended.code, code, `ringfence ${args.join(" ")}\n${ended.output}`);
    return ended;
  }

  /** Resources in the stack's state, without the stack itself. */
  async resources(): Promise<Resource[]> {
    const { deployment } = JSON.parse((await this.pulumi("stack", "export")).stdout);
    return (deployment.resources ?? []).filter(({ type }: Resource) => type !== "pulumi:pulumi:Stack");
  }

  /** The processes that its commands started, by part of their command line. */
  processes(commandLine = ""): number[] {
    return processesWith(`RINGFENCE_E2E=${this.directory}`, commandLine);
  }

  /** Ends what killed commands left running, and removes the project. */
  close(): void {
    // Some may be about to end by themselves, and to write a last time.
    for (const pid of this.processes()) send(pid, "SIGKILL");
    rmSync(this.directory, { recursive: true, maxRetries: 10 });
  }
}

export interface Resource {
  urn: string;
  id?: string;
  type: string;
  inputs: Record<string, unknown>;
  outputs: Record<string, unknown>;
}

/** Opens a platform's stores with the admin's access. */
export async function withStores<T>(env: NodeJS.ProcessEnv, work: (stores: Stores) => Promise<T>): Promise<T> {
  const { platform } = JSON.parse(readFileSync(env.RINGFENCE_PLATFORM ?? "", "utf8"));
  const stores = openStores(platform);
  try {
    return await work(stores);
  } finally {
    await stores.close();
  }
}

export const snapshot = (env: NodeJS.ProcessEnv): Promise<Snapshot> => withStores(env, takeSnapshot);

/** Invariant 3: nothing outside differs, and nothing of ours is without a claim. */
export async function assertUntouched(env: NodeJS.ProcessEnv, before: Snapshot): Promise<void> {
  assert.deepEqual(compareSnapshots(before, await snapshot(env)), []);
  assert.deepEqual(await findings(env), []);
}

export const findings = (env: NodeJS.ProcessEnv): Promise<Finding[]> =>
  withStores(env, async (stores) => (await audit(stores)).findings);

/** etcdctl's own are 2 and 5 s, which is little for a log-in on a busy machine. */
const PATIENCE = { ETCDCTL_DIAL_TIMEOUT: "30s", ETCDCTL_COMMAND_TIMEOUT: "30s" };

/** etcdctl, as the shell of `ringfence dev env` has it. */
export async function etcdctl(env: NodeJS.ProcessEnv, ...args: string[]): Promise<string> {
  const { code, output, stdout } = await new Command("etcdctl", args, { cwd: ROOT, env: { ...PATIENCE, ...env } })
    .ended;
  assert.equal(code, 0, `etcdctl ${args.join(" ")}\n${output}`);
  return stdout;
}
