import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { projects } from "./projects.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** What a checkout has beside what is in git. */
const OURS = [".git", ".ringfence", "dist", "node_modules"];

/** Runs a command; its error shows all that it printed, for Pulumi says on stdout what is wrong. */
function run(command: string, args: string[], options: { cwd: string; env: NodeJS.ProcessEnv }, stdin = "") {
  const running = promisify(execFile)(command, args, options);
  running.child.stdin?.end(stdin);
  return running.catch((error) => assert.fail(`${error.message}\n${error.stdout}`));
}

// Node.js refuses to run `.ts` under node_modules, so no test on the checkout says anything about what users get.
describe("the packed tarball", () => {
  const place = realpathSync(mkdtempSync(join(tmpdir(), "ringfence-package-")));
  const installed = join(place, "node_modules");
  // Packing changes package.json for a while, and other suites read the checkout's at the same moment.
  const checkout = join(place, "checkout");
  let tarball: string;
  let env: NodeJS.ProcessEnv;

  before(async () => {
    // Without what the `npm test` around this tells its children, and without the shortcut past the stack's config.
    const ours = ([name]: [string, unknown]) => !/^(npm_|RINGFENCE_)/i.test(name);
    env = {
      ...Object.fromEntries(Object.entries(process.env).filter(ours)),
      PULUMI_CONFIG_PASSPHRASE: "of a test",
      PULUMI_SKIP_UPDATE_CHECK: "true",
    };
    cpSync(root, checkout, { recursive: true, filter: (path) => !OURS.includes(relative(root, path)) });
    symlinkSync(join(root, "node_modules"), join(checkout, "node_modules"));
    const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", place], { cwd: checkout, env });
    tarball = join(place, JSON.parse(stdout)[0].filename);
  });
  after(() => rmSync(place, { recursive: true, maxRetries: 10 }));

  it("leaves the checkout's package.json as it was", () => {
    const { exports } = JSON.parse(readFileSync(join(checkout, "package.json"), "utf8"));
    assert.equal(exports["."], "./components/index.ts");
  });

  for (const [kind, project] of Object.entries(projects))
    describe(`in ${kind}`, () => {
      const directory = join(place, kind.replace(/\W+/g, "-"));
      const modules = join(directory, "node_modules");
      const inProject = (command: string, args: string[], stdin?: string) =>
        run(command, args, { cwd: directory, env: { ...env, PULUMI_BACKEND_URL: `file://${directory}` } }, stdin);
      const pulumi = (...args: string[]) => inProject("pulumi", [...args, "--non-interactive", "--stack", "test"]);

      before(async () => {
        mkdirSync(directory);
        for (const [file, text] of Object.entries(project(tarball))) writeFileSync(join(directory, file), text);
        if (existsSync(installed)) renameSync(installed, modules);
        const quiet = ["--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        await inProject("npm", ["install", ...quiet]);
        await pulumi("stack", "init");
        const { platform } = JSON.parse(readFileSync(process.env.RINGFENCE_PLATFORM ?? "", "utf8"));
        const setting = ["config", "set", "--secret", "ringfence:platform", "--stack", "test"];
        await inProject("pulumi", setting, JSON.stringify(platform));
      });
      after(async () => {
        await pulumi("destroy", "--yes", "--skip-preview");
        renameSync(modules, installed);
      });

      it("has the command", async () => {
        const { stdout } = await inProject(join(modules, ".bin", "ringfence"), ["doctor"]);
        assert.match(stdout, /etcd/);
      });

      if ("surface.ts" in project(""))
        it("compiles, with all that there is to import", async () => {
          const compiling = inProject(join(modules, ".bin", "tsc"), ["--pretty", "false"]);
          const said = await compiling.then(
            () => "",
            ({ message }: Error) => message,
          );
          // Other packages' declarations are theirs: @kubernetes/client-node's, for one, lack types of what they import.
          const ours = said.split("\n").filter((line) => /^(\w+\.ts|node_modules\/ringfence\/)/.test(line));
          assert.deepEqual(ours, []);
          assert.ok(said === "" || said.includes("error TS"), said);
        });

      it("goes up", async () => {
        await pulumi("up", "--yes", "--skip-preview");
        const { stdout } = await pulumi("stack", "output", "namespace");
        assert.match(stdout, /^packed-/);
      });

      it("goes up again without a change", () => pulumi("up", "--yes", "--skip-preview", "--expect-no-changes"));

      it("is destroyed", async () => {
        await pulumi("destroy", "--yes", "--skip-preview");
        const { stdout } = await pulumi("stack", "export");
        assert.deepEqual(JSON.parse(stdout).deployment.resources ?? [], []);
      });
    });
});
