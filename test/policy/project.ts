/** Pulumi projects of a suite: the real command, a backend in a directory, no server. */
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureTools, toolPath } from "../../dev/tools/index.ts";
import { Command, type Ended } from "../e2e/command.ts";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const PACK = join(ROOT, "policy");

/** Brings the command and its plugins, as `npm start` does, and puts them first on PATH. */
export async function pulumiOnPath(): Promise<string> {
  return [...toolPath(await ensureTools({ log: () => {} })), process.env.PATH].join(delimiter);
}

const RUNTIME = { name: "nodejs", options: { typescript: false } };

export class Project {
  readonly directory = realpathSync(mkdtempSync(join(tmpdir(), "ringfence-policy-")));
  readonly #env: NodeJS.ProcessEnv;

  /**
   * @param PATH with `pulumi` on it
   * @param stack what `program.ts` shall make; without it the project is left to the suite
   */
  constructor(PATH: string, stack?: object, env: NodeJS.ProcessEnv = {}) {
    for (const directory of ["state", "home"]) mkdirSync(join(this.directory, directory));
    symlinkSync(join(ROOT, "node_modules"), join(this.directory, "node_modules"));
    if (stack) {
      this.write("package.json", { name: "judged", type: "module" });
      this.write("Pulumi.yaml", { name: "judged", main: "index.ts", runtime: RUNTIME });
      this.write("stack.json", stack);
      copyFileSync(fileURLToPath(new URL("program.ts", import.meta.url)), join(this.directory, "index.ts"));
    }
    this.#env = {
      ...process.env,
      PATH,
      PULUMI_BACKEND_URL: `file://${join(this.directory, "state")}`,
      PULUMI_CONFIG_PASSPHRASE: "none",
      // A log-in is remembered there, and must not become that of whoever runs the suite.
      PULUMI_CREDENTIALS_PATH: join(this.directory, "home"),
      PULUMI_SKIP_UPDATE_CHECK: "true",
      RINGFENCE_PLATFORM: join(this.directory, "platform.json"),
      ...env,
    };
  }

  write(name: string, content: unknown): string {
    const path = join(this.directory, name);
    writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
    return path;
  }

  /** Runs `pulumi …` in the project. */
  async run(code: number, ...args: string[]): Promise<Ended> {
    const ended = await new Command("pulumi", [...args, "--non-interactive"], { cwd: this.directory, env: this.#env })
      .ended;
    assert.equal(ended.code, code, `pulumi ${args.join(" ")}\n${ended.output}`);
    return ended;
  }

  close(): void {
    rmSync(this.directory, { recursive: true, maxRetries: 10 });
  }
}

export interface Reported {
  level: string;
  severity: string;
  policy: string;
  message: string;
}

/** The violations that the engine's summary lists. */
export function reported({ output }: Ended): Reported[] {
  const lines = output.slice(output.lastIndexOf("\nPolicies:")).split("\n");
  return lines.flatMap((line, index): Reported[] => {
    const [, level, severity, policy] = /^\s+- \[(\w+)\] \[severity: (\w+)\]\s+(\S+)/.exec(line) ?? [];
    const message = lines[index + 2]?.trim() ?? "";
    return level && severity && policy ? [{ level, severity, policy, message }] : [];
  });
}
