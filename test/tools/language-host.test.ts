import assert from "node:assert/strict";
import { type ExecFileException, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { copyFile, cp, link, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ensureTools, toolCatalog } from "../../dev/tools/index.ts";
import { isAlive } from "../../dev/tools/lock.ts";
import { execute } from "./scene.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** Node strips this type error away; ts-node would refuse it: so it tells which of the two has run the file. */
const NATIVE_ONLY = 'const _stripped: number = "not a number" as never as string;\n';

const PROGRAM = `
import { writeFileSync } from "node:fs";
import * as pulumi from "@pulumi/pulumi";
${NATIVE_ONLY}
const config = new pulumi.Config();
if (config.getBoolean("hang")) {
  writeFileSync("pids", process.pid + " " + process.ppid);
  await new Promise((resolve) => setTimeout(resolve, 120_000));
}
class Thing extends pulumi.dynamic.Resource {
  declare readonly made: pulumi.Output<string>;
  constructor(name: string, size: number) {
    const provider: pulumi.dynamic.ResourceProvider = {
      create: async (inputs: { size: number }) => ({ id: "1", outs: { ...inputs, made: "made " + inputs.size } }),
    };
    super(provider, name, { size, made: undefined });
  }
}
export const made = new Thing("thing", config.requireNumber("size")).made;
export const secret = config.requireSecret("secret");
`;

const POLICY = `
import { PolicyPack } from "@pulumi/policy";
${NATIVE_ONLY}
new PolicyPack("small", {
  policies: [{
    name: "small", description: "small", enforcementLevel: "mandatory",
    validateResource: ({ props }, report) => { if (props.size > 5) report("size is " + props.size + ", at most 5"); },
  }],
});
`;

const COMMONJS = `
import * as pulumi from "@pulumi/pulumi";
enum Colour { Red = "red" }
export const colour = pulumi.output(Colour.Red);
`;

describe("tools: the language host of a built Pulumi CLI", function () {
  this.timeout(600_000);
  let directory: string;
  let env: NodeJS.ProcessEnv;

  before(async function () {
    this.timeout(1_800_000); // on a machine that has no CLI yet
    const catalog = toolCatalog().filter(({ name }) => name === "pulumi");
    const { pulumi } = await ensureTools({ catalog });
    directory = await mkdtemp(join(tmpdir(), "ringfence-host-"));
    const bin = join(directory, "home", "bin");
    await cp(catalog[0]?.helpers?.directory ?? "", bin, { recursive: true });
    // The CLI looks for its hosts beside itself: here it meets ours, also where it was downloaded with the official one.
    const cli = join(bin, "pulumi");
    await link(pulumi?.path ?? "", cli).catch(() => copyFile(pulumi?.path ?? "", cli));
    env = {
      ...process.env,
      PATH: [bin, dirname(process.execPath), process.env.PATH].join(delimiter),
      PULUMI_HOME: join(directory, "home"),
      PULUMI_BACKEND_URL: `file://${directory}`,
      PULUMI_CONFIG_PASSPHRASE: "test",
      PULUMI_SKIP_UPDATE_CHECK: "true",
      NO_COLOR: "1",
    };
    await project("native", "{name: nodejs, options: {typescript: false}}\nmain: index.ts", "module", PROGRAM);
    await mkdir(join(directory, "native", "policy"));
    await writeFile(
      join(directory, "native", "policy", "PulumiPolicy.yaml"),
      "runtime: {name: nodejs, options: {typescript: false}}\n",
    );
    await writeFile(join(directory, "native", "policy", "index.ts"), POLICY);
    await writeFile(
      join(directory, "native", "policy", "package.json"),
      '{ "name": "small", "version": "1.0.0", "type": "module", "main": "index.ts" }',
    );
    await project("commonjs", "nodejs", "commonjs", COMMONJS);
  });
  after(() => rm(directory, { recursive: true, force: true }));

  async function project(name: string, runtime: string, type: string, program: string): Promise<void> {
    const at = join(directory, name);
    await mkdir(at);
    await symlink(join(ROOT, "node_modules"), join(at, "node_modules"));
    await writeFile(join(at, "Pulumi.yaml"), `name: ${name}\nruntime: ${runtime}\n`);
    await writeFile(join(at, "index.ts"), program);
    const manifest = { name, version: "1.0.0", type, main: "index.ts", dependencies: { "@pulumi/pulumi": "*" } };
    await writeFile(join(at, "package.json"), JSON.stringify(manifest));
    await pulumi(name, "stack", "init", "dev");
  }

  async function pulumi(cwd: string, ...args: string[]): Promise<string> {
    const options = { cwd: join(directory, cwd), env, timeout: 300_000 };
    const { stdout } = await execute("pulumi", [...args, "--non-interactive"], options);
    return stdout;
  }

  const failure = (error: unknown) => (error as ExecFileException).stdout ?? "";

  it("runs native TypeScript with configuration, secrets and a dynamic resource: preview, up, no change", async () => {
    await pulumi("native", "config", "set", "size", "3");
    await pulumi("native", "config", "set", "--secret", "secret", "hush-hush");
    assert.match(await pulumi("native", "preview"), /2 to create/);
    await pulumi("native", "up", "--yes", "--skip-preview");
    const outputs = JSON.parse(await pulumi("native", "stack", "output", "--json", "--show-secrets"));
    assert.deepEqual(outputs, { made: "made 3", secret: "hush-hush" });
    assert.ok(!(await pulumi("native", "stack", "export")).includes("hush-hush"));
    assert.match(await pulumi("native", "preview", "--expect-no-changes"), /2 unchanged/);
  });

  it("runs a policy pack natively: what keeps to it passes, what does not is refused", async () => {
    assert.match(await pulumi("native", "preview", "--policy-pack", "policy"), /small@v1\.0\.0/);
    await pulumi("native", "config", "set", "size", "9");
    await assert.rejects(pulumi("native", "preview", "--policy-pack", "policy"), (error) => {
      assert.match(failure(error), /size is 9, at most 5/);
      return true;
    });
    await pulumi("native", "config", "set", "size", "3");
  });

  it("reports a program's error once, as the official host does", async () => {
    await pulumi("native", "config", "set", "size", "large");
    await assert.rejects(pulumi("native", "preview"), (error) => {
      assert.match(failure(error), /Configuration 'native:size' value 'large' is not a valid number/);
      assert.doesNotMatch(failure(error), /non-zero exit code/);
      return true;
    });
    await pulumi("native", "config", "set", "size", "3");
  });

  it("tells `pulumi about` which Node runs the program and what it depends on", async () => {
    const about = JSON.parse(await pulumi("native", "about", "--json"));
    assert.equal(about.runtime.version, process.version);
    assert.deepEqual(
      about.dependencies.map(({ name }: { name: string }) => name),
      ["@pulumi/pulumi"],
    );
  });

  it("runs a stock CommonJS project through ts-node", async () => {
    assert.match(await pulumi("commonjs", "preview"), /colour: "red"/);
  });

  it("ends with its engine, and takes the program with it, when the CLI is killed", async () => {
    await pulumi("native", "config", "set", "hang", "true");
    const child = spawn("pulumi", ["preview"], { cwd: join(directory, "native"), env, stdio: "ignore" });
    const pids = join(directory, "native", "pids");
    await until(async () => existsSync(pids) && (await readFile(pids, "utf8")).includes(" "));
    const processes = (await readFile(pids, "utf8")).split(" ").map(Number);
    assert.ok(processes.every(isAlive));
    child.kill("SIGKILL");
    await until(async () => !processes.some(isAlive));
    await pulumi("native", "config", "rm", "hang");
  });

  it("destroys", async () => {
    assert.match(await pulumi("native", "destroy", "--yes", "--skip-preview"), /2 deleted/);
  });
});

async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 120_000;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, "not within 120 s");
    await delay(50);
  }
}
