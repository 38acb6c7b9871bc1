/**
 * `npm run bench:start`: what a newcomer waits for. `npm start` on cached tools and a fresh home, the second one, and
 * the no-op `pulumi preview` of the dev stack, against a floor: the no-op preview of a program without resources, run in
 * turn with it, so that a drift of the machine's speed hits both.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const ROUNDS = 5;

/** Seconds that a command takes. */
function seconds(command: string, args: string[], cwd: string, env: NodeJS.ProcessEnv): number {
  const begun = process.hrtime.bigint();
  execFileSync(command, args, { cwd, env, stdio: ["ignore", "ignore", "inherit"] });
  return Number(process.hrtime.bigint() - begun) / 1e9;
}

const median = (values: number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
const rounded = (value: number): number => Math.round(value * 100) / 100;

/** A program without resources, as the dev stack's is: native TypeScript, the same SDK. */
function emptyProject(directory: string): void {
  mkdirSync(directory, { recursive: true });
  symlinkSync(join(root, "node_modules"), join(directory, "node_modules"));
  writeFileSync(join(directory, "package.json"), JSON.stringify({ name: "floor", type: "module" }));
  writeFileSync(join(directory, "index.ts"), 'import "@pulumi/pulumi";\n');
  const runtime = { name: "nodejs", options: { typescript: false } };
  writeFileSync(join(directory, "Pulumi.yaml"), JSON.stringify({ name: "floor", main: "index.ts", runtime }));
}

/** What `ringfence dev env` exports. */
function exported(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const text = execFileSync("node", ["cli/bin.js", "dev", "env"], { cwd: root, env, encoding: "utf8" });
  const variables = [...text.matchAll(/^export (\w+)='(.*)'$/gm)].map(([, name, value]) => [name, value]);
  return { ...env, ...Object.fromEntries(variables) };
}

const scratch = mkdtempSync(join(tmpdir(), "ringfence-bench-"));
const env = { ...process.env, RINGFENCE_HOME: join(scratch, "home"), PULUMI_SKIP_UPDATE_CHECK: "true" };
try {
  const first = seconds("npm", ["start", "--silent"], root, env);
  const again = seconds("npm", ["start", "--silent"], root, env);

  const floor = join(scratch, "floor");
  emptyProject(floor);
  const shell = exported(env);
  seconds("pulumi", ["stack", "init", "floor", "--non-interactive"], floor, shell);
  seconds("pulumi", ["up", "--yes", "--non-interactive", "--stack", "floor"], floor, shell);
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    ours.push(seconds("pulumi", ["preview", "--stack", "dev", "--non-interactive"], root, shell));
    theirs.push(seconds("pulumi", ["preview", "--stack", "floor", "--non-interactive"], floor, shell));
  }
  const destroy = seconds("npm", ["run", "destroy", "--silent"], root, env);

  const result = {
    cores: cpus().length,
    startWarmSeconds: rounded(first),
    startAgainSeconds: rounded(again),
    destroySeconds: rounded(destroy),
    previewNoChange: {
      seconds: rounded(median(ours)),
      floorSeconds: rounded(median(theirs)),
      ratio: rounded(median(ours.map((value, i) => value / (theirs[i] as number)))),
    },
    rounds: ROUNDS,
  };
  const results = join(root, "bench", "results");
  mkdirSync(results, { recursive: true });
  writeFileSync(join(results, "start.json"), `${JSON.stringify(result, null, 2)}\n`);
  console.log(JSON.stringify(result, null, 2));
} finally {
  execFileSync("node", ["cli/bin.js", "dev", "down"], { cwd: root, env, stdio: "inherit" });
  rmSync(scratch, { recursive: true, force: true });
}
