import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { ensureTools, inspectTools, nodeCatalog, testCatalog, toolCatalog, toolPath } from "../../dev/tools/index.ts";
import { type Scene, scene } from "./scene.ts";

describe("tools: what is wanted and what is there", () => {
  let here: Scene;
  beforeEach(async () => {
    here = await scene();
  });
  afterEach(() => here.end());

  const NOWHERE = "http://127.0.0.1:1";
  const ensure = () => ensureTools({ catalog: [here.group(NOWHERE)], log: () => {} });
  const inspect = async () => (await inspectTools({ catalog: [here.group(NOWHERE)] }))[0];

  it("takes the right version from PATH and adds nothing to PATH for it", async () => {
    await here.onPath("hello", "echo hello version v1.2.3");
    const tools = await ensure();
    assert.deepEqual(tools.hello, {
      name: "hello",
      version: "1.2.3",
      path: join(here.directory, "path", "hello"),
      origin: "PATH",
    });
    assert.deepEqual(toolPath(tools), []);
    assert.equal((await inspect())?.origin, "PATH");
  });

  it("does not ask npm's wrappers on PATH, which would download what they wrap", async () => {
    await here.onPath("hello", "echo hello version v1.2.3");
    const wrappers = join(here.directory, "node_modules", ".bin");
    await mkdir(wrappers, { recursive: true });
    await rename(join(here.directory, "path", "hello"), join(wrappers, "hello"));
    process.env.PATH = `${wrappers}:${process.env.PATH}`;
    assert.equal((await inspect())?.path, undefined);
  });

  it("leaves a wrong version on PATH alone, also a distribution's or a candidate of the right one", async () => {
    for (const version of ["1.2.30", "v1.2.3-rc.1", "v1.2.3+k3s1"]) {
      await here.onPath("hello", `echo hello version ${version}`);
      assert.equal((await inspect())?.path, undefined, version);
    }
    const tools = await ensure();
    assert.equal(tools.hello?.origin, "build");
    assert.deepEqual(toolPath(tools), [join(here.directory, "cache", "hello-1.2.3", "bin")]);
  });

  it("tells for a missing tool what would be done, and for one that is there where it came from", async () => {
    const missing = await inspect();
    assert.equal(missing?.path, undefined);
    assert.match(
      missing?.note ?? "",
      /^missing: would download http:\/\/127\.0\.0\.1:1\/hello\.tar\.gz; failing that: build example\.com\/hello@v1\.2\.3 with go1/,
    );
    await ensure();
    const there = await inspect();
    assert.equal(there?.found, "1.2.3");
    assert.equal(there?.origin, "cache");
    assert.match(there?.note ?? "", /^built from example\.com\/hello@v1\.2\.3 with go1\./);
  });

  it("pins each version once: what the catalog names is what go.mod requires", async () => {
    const homes = { cache: "/cache", pulumi: "/pulumi" };
    const catalog = toolCatalog(homes);
    for (const { name, recipe, helpers } of [...catalog, ...testCatalog(homes), ...nodeCatalog(homes)]) {
      const [module = "", version = ""] = recipe.source.split("@");
      const goMod = await readFile(join(recipe.directory, "go.mod"), "utf8");
      assert.ok(goMod.includes(`${module} ${version}`), `${name}: ${recipe.source} is not what go.mod has`);
      assert.ok(existsSync(join(recipe.directory, "go.sum")), name);
      for (const helper of helpers?.required ?? [])
        assert.ok(existsSync(join(helpers?.directory ?? "", helper)), helper);
    }
    assert.deepEqual(catalog.flatMap(({ binaries }) => binaries.map(({ name }) => name)).sort(), [
      "etcd",
      "etcdctl",
      "kube-apiserver",
      "kube-controller-manager",
      "kube-scheduler",
      "kubectl",
      "kwok",
      "nats-server",
      "pulumi",
      "pulumi-resource-kubernetes",
    ]);
    const pulumi = catalog.filter(({ directory }) => directory.startsWith("/pulumi")).map(({ directory }) => directory);
    assert.deepEqual(pulumi, ["/pulumi/versions/3.259.0", "/pulumi/plugins/resource-kubernetes-v4.25.0"]);
  });
});
