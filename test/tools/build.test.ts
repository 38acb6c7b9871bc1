import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { until } from "../../dev/platform/wait.ts";
import { ensureTools } from "../../dev/tools/index.ts";
import { execute, type Scene, says, scene } from "./scene.ts";

const ENSURE = fileURLToPath(new URL("./ensure.ts", import.meta.url));
const NOWHERE = "http://127.0.0.1:1";

describe("tools: builds from Go modules", () => {
  let here: Scene;
  beforeEach(async () => {
    here = await scene();
  });
  afterEach(() => here.end());

  const ensure = (group = here.group(NOWHERE)) =>
    ensureTools({ catalog: [group], log: (line) => here.lines.push(line) });
  const cache = () => readdir(join(here.directory, "cache"));

  it("sets the version and is not led astray by what the user has set for other projects", async () => {
    const { GOFLAGS, GOOS } = process.env;
    Object.assign(process.env, { GOFLAGS: "-mod=vendor", GOOS: "plan9" });
    try {
      const { hello } = await ensure();
      assert.equal(await says(hello?.path ?? ""), "hello 1.2.3 built");
    } finally {
      restore({ GOFLAGS, GOOS });
    }
    assert.ok(here.lines.some((line) => /^\[1\/1\] building hello 1\.2\.3 from example\.com/.test(line)));
  });

  it("builds with the tags that a recipe names", async () => {
    const tagged = '//go:build special\n\npackage main\n\nfunc init() { version += " special" }\n';
    await writeFile(join(here.directory, "go", "tagged.go"), tagged);
    const group = here.group(NOWHERE);
    const { hello } = await ensure({ ...group, recipe: { ...group.recipe, tags: ["special"] } });
    assert.equal(await says(hello?.path ?? ""), "hello 1.2.3 special built");
  });

  it("puts the helpers of a built tool beside it, and brings new ones to an older build", async () => {
    const helpers = join(here.directory, "helpers");
    await mkdir(helpers);
    await writeFile(join(helpers, "aide"), "#!/bin/sh\necho one\n");
    const group = { ...here.group(NOWHERE), helpers: { directory: helpers, required: ["aide"] } };
    const aide = join(group.directory, "bin", "aide");
    await ensure(group);
    assert.equal(await says(aide), "one");
    await writeFile(join(helpers, "aide"), "#!/bin/sh\necho two\n");
    assert.equal((await ensure(group)).hello?.origin, "cache");
    assert.equal(await says(aide), "two");
  });

  it("replaces a group that lacks a binary", async () => {
    const group = here.group(NOWHERE);
    await mkdir(join(group.directory, "bin"), { recursive: true });
    await writeFile(join(group.directory, "bin", "hello"), "");
    const { hello } = await ensure();
    assert.equal(hello?.origin, "build");
    assert.deepEqual(await cache(), ["hello-1.2.3"]);
  });

  it("names what to install when there is no Go, and when it is too old", async () => {
    const { PATH } = process.env;
    process.env.PATH = join(here.directory, "empty");
    await assert.rejects(ensure(), ({ message }: Error) => {
      assert.match(message, /^hello 1\.2\.3: .*no Go on PATH: install Go ≥ 1\.26 from https:\/\/go\.dev\/dl/);
      assert.ok(!message.includes("\n"));
      return true;
    });
    process.env.PATH = PATH;
    await here.onPath("go", "echo go version go1.22.1 linux/amd64");
    await assert.rejects(ensure(), /Go is go1\.22\.1, too old: install Go ≥ 1\.26/);
    assert.deepEqual(await cache(), []);
  });

  it("leaves nothing of a build that fails, and says what Go said", async () => {
    await writeFile(join(here.directory, "go", "main.go"), "package main\n\nfunc main() { missing() }\n");
    await assert.rejects(ensure(), /undefined: missing/);
    assert.deepEqual(await cache(), []);
  });

  it("never takes a killed build for a tool: the next run takes over its lock and clears up after it", async () => {
    const { PATH } = process.env;
    await here.onPath(
      "go",
      'case "$1" in version) echo go version go1.26.0 x/y;; list) echo a;; *) exec sleep 60;; esac',
    );
    const group = here.group(NOWHERE);
    const child = spawn(process.execPath, [ENSURE, JSON.stringify([group])], { stdio: "ignore", detached: true });
    const { pid = 0 } = child;
    await appears(join(here.directory, "cache"), (name) => name.includes(`.${pid}.`));
    const closed = new Promise((resolve) => child.once("close", resolve));
    process.kill(-pid, "SIGKILL"); // the group, and Go with it
    await closed;
    assert.ok(existsSync(`${group.directory}.ringfence-lock`), "the killed process holds the lock");
    process.env.PATH = PATH;
    assert.equal((await ensure()).hello?.origin, "build");
    assert.deepEqual(await cache(), ["hello-1.2.3"]);
  });

  it("lets a second process wait for the first and take what it has brought", async () => {
    const waits = Promise.withResolvers<void>();
    const site = await here.publish(({ url }, response) => {
      if (url === "/SHA256SUMS") return void response.end(`${here.sum}  hello.tar.gz\n`);
      // The transfer lasts until the other one waits for it, and never stands still.
      response.writeHead(200, { "content-length": here.archive.length }).flushHeaders();
      let sent = 0;
      const drip = setInterval(() => response.write(here.archive.subarray(sent, ++sent)), 1_000);
      response.once("close", () => clearInterval(drip));
      void waits.promise.then(() => {
        clearInterval(drip);
        response.end(here.archive.subarray(sent));
      });
    });
    const catalog = JSON.stringify([here.group(site)]);
    const ensured = () => {
      const running = execute(process.execPath, [ENSURE, catalog]);
      let said = "";
      running.child.stderr?.on("data", (text) => {
        said += text;
        if (said.includes("waiting for process")) waits.resolve();
      });
      return running;
    };
    const both = await Promise.all([ensured(), ensured()]);
    const origins = both.map(({ stdout }) => JSON.parse(stdout).hello.origin).sort();
    assert.deepEqual(origins, ["cache", "download"]);
    assert.equal(here.asked.filter((url) => url === "/hello.tar.gz").length, 1);
    assert.ok(both.some(({ stderr }) => /waiting for process \d+, which is bringing hello 1\.2\.3/.test(stderr)));
    assert.deepEqual(await cache(), ["hello-1.2.3"]);
  });

  it("does not wait for a lock that nobody has touched for long, whoever has its pid now", async () => {
    const group = here.group(NOWHERE);
    await mkdir(join(here.directory, "cache"));
    const lock = `${group.directory}.ringfence-lock`;
    await writeFile(lock, `${process.pid} someone-else`);
    await execute("touch", ["-d", "2020-01-01", lock]);
    assert.equal((await ensure()).hello?.origin, "build");
    await rm(lock, { force: true });
    assert.match(
      await readFile(join(group.directory, "ringfence.json"), "utf8"),
      /built from example\.com\/hello@v1\.2\.3/,
    );
  });
});

function restore(env: Record<string, string | undefined>): void {
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
}

/** Waits until `directory` has an entry that fits. */
async function appears(directory: string, fits: (name: string) => boolean): Promise<void> {
  const attempt = async () => assert.ok((await readdir(directory)).some(fits));
  await until({ what: `an entry in ${directory}`, within: 90, attempt });
}
