// `npm test [-- [--grep PATTERN] [FILE…]]`: lint, then every suite, on embedded platforms of its own.
//
// Suites that need no platform run beside the others, which queue for a few lanes, each on a platform of its
// own and one suite after another: "destroy leaves everything outside as it was" can only be seen where nobody else is at
// work.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { globSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { audit } from "../components/tenancy/audit.ts";
import { down, environment, up } from "../dev/platform/index.ts";
import { ensureTools, pathsOf, toolPath } from "../dev/tools/index.ts";
import { isAlive } from "../dev/tools/lock.ts";
import { withStores } from "./e2e/scene.ts";
import type { Counts } from "./reporter.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Rooms under test/ whose suites need neither a platform nor its tools. */
const standalone = ["components", "docs", "lint", "plan", "policy", "tools"];

/** Rooms with the longest suites, which go first: the short ones fill the lanes at the end. */
const long = ["crash", "e2e"];

/** As many as CI has processors: a lane more makes every suite slower, and some of them late. */
const LANES = 2;

const { values, positionals } = parseArgs({
  options: { grep: { type: "string", short: "g" } },
  allowPositionals: true,
});
const everything = positionals.length === 0 && values.grep === undefined;
const files = globSync(everything || positionals.length === 0 ? "test/**/*.test.ts" : positionals, {
  cwd: root,
}).sort();
const room = (file: string) => relative("test", file).split(sep)[0] ?? "";
const alone = files.filter((file) => standalone.includes(room(file)));
const onPlatform = files.filter((file) => !standalone.includes(room(file)));
const isLong = (file: string) => long.includes(room(file));

const homes = join(tmpdir(), "ringfence-test-");
const total: Counts = { passed: 0, failed: [], skipped: [] };
const interruption = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => interruption.abort());

await sweep();
const queue = [...onPlatform.filter(isLong), ...onPlatform.filter((file) => !isLong(file))];
const lanes: Lane[] = [];
for (let i = 0; i < Math.min(LANES, queue.length); i++) {
  const home = mkdtempSync(`${homes}${process.pid}-`);
  // The first brings the tools that the others find.
  const platform = Promise.resolve(lanes.at(-1)?.platform).then(() => start(home));
  // Awaited below: a failure before that must not end the process.
  platform.catch(() => {});
  lanes.push({ home, platform });
}
await Promise.all([runAlone(), ...lanes.map(run)]);
report();

interface Lane {
  home: string;
  /** The environment in which suites find the platform and the tools. */
  platform: Promise<NodeJS.ProcessEnv>;
}

/** What needs no platform, while those start. */
async function runAlone(): Promise<void> {
  if (everything) await lint();
  await mocha(alone, process.env, "pipe");
}

/** Takes suites from the queue until it is empty. A suite's lines come together, at its end: other lanes print as well. */
async function run({ home, platform }: Lane): Promise<void> {
  try {
    const env = await platform;
    for (let suite = queue.shift(); suite; suite = queue.shift()) {
      await mocha([suite], env, "pipe");
      for (const left of await leftOn(env)) fail(`${suite}: leaves ${left}, which the suites after it see`);
    }
  } catch (error) {
    fail(`the embedded platform: ${(error as Error).message}`);
  }
  await stop(home).catch((error: Error) => fail(`the embedded platform: ${error.message}`));
}

/** What the audit sees on a platform that should be as it was when it began. */
async function leftOn(env: NodeJS.ProcessEnv): Promise<string[]> {
  const { tenants, findings } = await withStores(env, audit);
  return [
    ...tenants.map(({ logicalName }) => `tenant '${logicalName}'`),
    ...findings.map(({ kind, name }) => `${kind} '${name}'`),
  ];
}

/** Brings the tools and a platform. */
async function start(home: string): Promise<NodeJS.ProcessEnv> {
  const progress = (line: string) => console.log(`  [platform] ${line}`);
  const interrupted = once(interruption.signal, "abort").then(() => assert.fail("interrupted"));
  const found = await Promise.race([ensureTools({ log: progress }), interrupted]);
  await up({ home, tools: pathsOf(found), progress });
  const PATH = [...toolPath(found), process.env.PATH].join(delimiter);
  return { ...process.env, ...environment(home), PATH, NODE_COMPILE_CACHE: join(home, "compile-cache") };
}

async function stop(at: string): Promise<void> {
  await down({ home: at });
  rmSync(at, { recursive: true, force: true, maxRetries: 10 });
}

/** Stops what killed runs left: their homes carry the pid. */
async function sweep(): Promise<void> {
  for (const at of globSync(`${homes}*`)) {
    const pid = Number.parseInt(at.slice(homes.length), 10);
    if (!isAlive(pid)) await stop(at);
  }
}

/** Counts as one test, passed when biome, dependency-cruiser and tsc have nothing to say. */
async function lint(): Promise<void> {
  const { code } = await child("npm", ["run", "--silent", "lint"], process.env);
  if (code === 0) total.passed++;
  else fail("npm run lint");
}

/** Runs the suites in a process of their own, which no stray handle or crash of theirs can outlive. */
async function mocha(suites: string[], env: NodeJS.ProcessEnv, output: Output = "inherit"): Promise<void> {
  if (suites.length === 0) return;
  const options = values.grep === undefined ? [] : ["--grep", values.grep];
  const args = ["node_modules/mocha/bin/mocha.js", "--forbid-only", "--exit", ...options, ...suites];
  const { counts, code } = await child(process.execPath, args, env, output);
  if (!counts) return fail(`mocha ended with ${code} before it had counted`);
  total.passed += counts.passed;
  total.failed.push(...counts.failed);
  total.skipped.push(...counts.skipped);
}

/** Where a child's lines go: to the terminal as they come, or all at once at its end. */
type Output = "inherit" | "pipe";

interface Ended {
  /** An exit code, or the signal that ended it. */
  code: number | string;
  counts?: Counts;
}

function child(command: string, args: string[], env: NodeJS.ProcessEnv, output: Output = "inherit"): Promise<Ended> {
  if (interruption.signal.aborted) return Promise.resolve({ code: "the interruption" });
  return new Promise((done) => {
    let counts: Counts | undefined;
    const lines: Buffer[] = [];
    const running = spawn(command, args, { cwd: root, env, stdio: ["ignore", output, output, "ipc"] });
    for (const stream of [running.stdout, running.stderr]) stream?.on("data", (chunk) => lines.push(chunk));
    interruption.signal.addEventListener("abort", () => running.kill());
    running.on("message", (message) => {
      counts = message as Counts;
    });
    running.on("error", (error) => done({ code: error.message }));
    running.on("close", (code, signal) => {
      process.stdout.write(Buffer.concat(lines));
      done({ code: code ?? signal ?? 1, counts });
    });
  });
}

function fail(title: string): void {
  total.failed.push(title);
}

/** Ends with the closing line that CI reads. */
function report(): never {
  if (interruption.signal.aborted) fail("interrupted");
  else if (total.passed + total.failed.length === 0) fail(`nothing ran; no test in ${files.length} files matches`);
  for (const title of total.skipped) console.log(title);
  for (const failure of total.failed) console.log(`failed: ${failure}`);
  console.log(`${total.passed} passed, ${total.failed.length} failed, ${total.skipped.length} skipped`);
  process.exit(total.failed.length > 0 ? 1 : 0);
}
