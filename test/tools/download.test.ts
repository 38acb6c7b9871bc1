import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { ensureTools, inspectTools } from "../../dev/tools/index.ts";
import { timed } from "../support/patience.ts";
import { execute, type Scene, says, scene } from "./scene.ts";

describe("tools: official downloads", () => {
  let here: Scene;
  beforeEach(async () => {
    here = await scene();
  });
  afterEach(() => here.end());

  const ensure = (...catalog: Parameters<Scene["group"]>[]) =>
    ensureTools({ catalog: catalog.map((args) => here.group(...args)), log: (line) => here.lines.push(line) });
  const send = (response: ServerResponse, url: string | undefined, sums: string) =>
    response.end(url === "/SHA256SUMS" ? sums : here.archive);
  const warning = () => here.lines.find((line) => line.includes("warning")) ?? "";

  async function assertBuiltInstead(site: string) {
    const { hello } = await ensure([site]);
    assert.equal(hello?.origin, "build");
    assert.equal(await says(hello.path), "hello 1.2.3 built");
    assert.deepEqual(await readdir(join(here.directory, "cache")), ["hello-1.2.3"], "nothing half-finished stays");
  }

  it("installs a file whose sum is the published one, and asks no more once it is cached", async () => {
    const site = await here.publish(({ url }, response) => {
      send(response, url, `${"0".repeat(64)}  other.tar.gz\n${here.sum}  hello.tar.gz\n`);
    });
    const { hello } = await ensure([site]);
    assert.equal(hello?.origin, "download");
    assert.equal(await says(hello.path), "hello 1.2.3 downloaded");
    const asked = here.asked.length;
    const again = await ensure([site]);
    assert.equal(again.hello?.origin, "cache");
    assert.equal(here.asked.length, asked);
    const [report] = await inspectTools({ catalog: [here.group(site)] });
    assert.equal(report?.note, `download from ${site}/hello.tar.gz`);
    assert.equal(report?.found, "1.2.3");
  });

  it("reads a bare sum and the digests that GitHub states, and takes a file that is the binary itself", async () => {
    const sums: Record<string, string> = {
      "/bare": `${here.sum}\n`,
      "/github": JSON.stringify({ assets: [{ name: "hello.tar.gz", digest: `sha256:${here.sum}` }] }),
    };
    const site = await here.publish(({ url = "" }, response) => response.end(sums[url] ?? here.archive));
    for (const path of Object.keys(sums)) {
      const group = here.group(site, path.slice(1));
      const assets = [{ url: `${site}/hello.tar.gz`, sums: site + path, holds: { binary: "hello" } }];
      const { hello } = await ensureTools({ catalog: [{ ...group, assets }], log: () => {} });
      assert.equal(hello?.origin, "download");
      const { stdout } = await execute("tar", ["-tzf", hello.path]);
      assert.match(stdout, /hello-1.2.3\/hello/);
    }
  });

  it("refuses a file with a wrong sum, says which, what it should be and what it is, and builds instead", async () => {
    const wrong = "a".repeat(64);
    const site = await here.publish(({ url }, response) => send(response, url, `${wrong}  hello.tar.gz\n`));
    await assertBuiltInstead(site);
    assert.ok(warning().includes(`hello.tar.gz: sha256 expected ${wrong}, found ${here.sum}`), warning());
  });

  it("refuses a file for which no sum is published", async () => {
    const site = await here.publish(({ url }, response) => send(response, url, `${here.sum}  other.tar.gz\n`));
    await assertBuiltInstead(site);
    assert.ok(warning().includes(`hello.tar.gz: no sha256 for it in ${site}/SHA256SUMS`), warning());
  });

  it("refuses a transfer that is cut", async () => {
    const site = await here.publish(({ url }, response) => {
      if (url === "/SHA256SUMS") return void response.end(`${here.sum}  hello.tar.gz\n`);
      response.writeHead(200, { "content-length": here.archive.length });
      response.write(here.archive.subarray(0, 100), () => response.destroy());
    });
    await assertBuiltInstead(site);
    assert.match(warning(), /hello\.tar\.gz: transfer cut after \d+ of \d+ bytes/);
  });

  it("refuses an archive that lacks a binary", async () => {
    const site = await here.publish(({ url }, response) => send(response, url, `${here.sum}  hello.tar.gz\n`));
    const group = here.group(site);
    const catalog = [{ ...group, binaries: [...group.binaries, { name: "goodbye" }] }];
    await assert.rejects(ensureTools({ catalog, log: (line) => here.lines.push(line) }), /goodbye not in built from/);
    assert.match(warning(), /goodbye/);
    assert.deepEqual(await readdir(join(here.directory, "cache")), []);
  });

  it("builds what a site does not have", async () => {
    const site = await here.publish((_request, response) => response.writeHead(404).end());
    await assertBuiltInstead(site);
    assert.match(warning(), /SHA256SUMS: HTTP 404/);
  });

  it("gives up within seconds on a site that accepts and never answers, and does not ask it again", async () => {
    const site = await here.publish(() => {});
    await ensure([site, "warm-up"]); // compiles what Go's library needs, so that the time below is that of the site
    here.asked.length = 0;
    const { result: tools, ms } = await timed(ensure([site, "one"], [site, "two"]));
    assert.equal(tools.hello?.origin, "build");
    assert.equal(here.asked.length, 1);
    assert.ok(ms < 60_000, `${ms} ms`);
    assert.equal(here.lines.filter((line) => line.includes("no answer in 4 s")).length, 3);
  });

  it("gives up at once on a host that does not exist", async () => {
    await assertBuiltInstead("http://ringfence.invalid");
    assert.match(warning(), /ringfence\.invalid is out of reach/);
  });
});
