import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  adapterGeneration,
  artifactOf,
  failureLines,
  failuresIn,
  loadedLabel,
  loadedName,
} from "../../components/plan/adapter.ts";
import { bring } from "../../runtime/adapter-artifact.ts";
import { chosen, dispensable } from "../../runtime/adapter-choice.ts";
import type { Sibling } from "../../runtime/adapter-cluster.ts";
import { recordOf } from "./adapter-scene.ts";
import { ArtifactStore } from "./artifact-store.ts";

describe("an adapter's names", () => {
  it("tell artifacts apart, and are what Kubernetes takes", () => {
    const generation = adapterGeneration("s3://models/sql/7");
    assert.notEqual(generation, adapterGeneration("s3://models/sql/8"));
    const adapter = "a".repeat(50);
    assert.ok((loadedLabel({ adapter, generation }).split("/")[1] ?? "").length <= 63);
    assert.equal(loadedName({ adapter: "sql", generation }), `sql-${generation}`);
  });

  for (const [url, found] of [
    ["s3://models/sql/7/", { scheme: "s3", bucket: "models", prefix: "sql/7" }],
    ["gs://models/sql", { scheme: "gs", bucket: "models", prefix: "sql" }],
    ["hf://acme/sql@refs/pr/1", { scheme: "hf", repository: "acme/sql", revision: "refs/pr/1" }],
    ["hf://acme/sql", { scheme: "hf", repository: "acme/sql", revision: "main" }],
    ["/models/sql", { scheme: "path", path: "/models/sql" }],
    ["s3://models", undefined],
    ["s3://models/sql?versionId=1", undefined],
    ["hf://sql", undefined],
    ["models/sql", undefined],
    ["https://key:secret@example.com/sql", undefined],
  ] as const)
    it(`take ${url} for ${found ? found.scheme : "nothing"}`, () => assert.deepEqual(artifactOf(url), found));

  it("come back out of what a pod says of failures", () => {
    const lines = failureLines([
      ["sql-1", "the engine answered 500:\n out of memory"],
      ["fin-2", "a: b"],
    ]);
    assert.deepEqual(
      [...failuresIn(lines)],
      [
        ["sql-1", "the engine answered 500: out of memory"],
        ["fin-2", "a: b"],
      ],
    );
    assert.equal(failuresIn(undefined).size, 0);
  });
});

describe("who loads an adapter", () => {
  const record = recordOf("sql", "/models/sql", { replicas: 2 });
  const pod = (name: string, createdAt: string, more: Partial<Sibling> = {}): Sibling => ({
    name,
    createdAt,
    stays: true,
    ready: true,
    loaded: new Set(),
    failures: new Map(),
    ...more,
  });
  const having = { loaded: new Set([loadedLabel(record)]) };
  const choice = (pods: Sibling[]) => pods.filter(({ name }) => chosen(record, name, pods)).map(({ name }) => name);

  it("is the newest pods, each once", () => {
    assert.deepEqual(choice([pod("a", "1"), pod("b", "2"), pod("c", "3")]), ["b", "c"]);
    assert.deepEqual(choice([pod("b", "1"), pod("a", "1"), pod("c", "1")]), ["b", "a"]);
    assert.deepEqual(choice([pod("a", "1"), pod("b", "2", { stays: false }), pod("c", "3")]), ["a", "c"]);
  });

  it("is another pod when one cannot", () => {
    const failures = new Map([[loadedName(record), "out of memory"]]);
    assert.deepEqual(choice([pod("a", "1"), pod("b", "2"), pod("c", "3", { failures })]), ["a", "b"]);
  });

  it("is all of them, or nobody gives up", () => {
    const all = { ...record, replicas: "all" as const };
    const pods = [pod("a", "1", having), pod("b", "2")];
    assert.ok(pods.every(({ name }) => chosen(all, name, pods)));
    assert.equal(dispensable(record, [...pods, pod("c", "3", having)]), false);
    assert.equal(dispensable(record, [pod("a", "1", having), pod("b", "2", having), pod("c", "3", having)]), true);
    const unready = { ...having, ready: false };
    assert.equal(dispensable(record, [pod("a", "1", having), pod("b", "2", having), pod("c", "3", unready)]), false);
  });
});

describe("an artifact's store", () => {
  it("is listed page by page, and its files are brought whole or not at all", async () => {
    const directory = mkdtempSync(join(tmpdir(), "ringfence-artifact-"));
    const key = (name: string) => `<Contents><Key>sql/${name}</Key></Contents>`;
    let broken = true;
    const store = await ArtifactStore.open((request, response) => {
      const url = new URL(request.url ?? "", "http://store");
      if (url.searchParams.has("continuation-token"))
        return response.end(`<ListBucketResult>${key("b &amp; c/weights")}</ListBucketResult>`);
      if (url.searchParams.has("list-type"))
        return response.end(
          `<ListBucketResult>${key("a")}${key("d/")}<NextContinuationToken>2</NextContinuationToken></ListBucketResult>`,
        );
      if (broken && url.pathname.includes("weights")) return response.writeHead(403).end();
      return response.end(decodeURIComponent(url.pathname));
    });
    const options = {
      url: "s3://models/sql",
      directory: join(directory, "sql"),
      credentials: { AWS_ENDPOINT_URL: store.url },
      maxBytes: 1000,
      signal: AbortSignal.timeout(10_000),
    };
    await assert.rejects(bring(options), /weights answered 403: may its credentials read it\?/);
    assert.deepEqual(readdirSync(directory), []);
    broken = false;
    await bring(options);
    assert.equal(readFileSync(join(directory, "sql/b & c/weights"), "utf8"), "/models/sql/b & c/weights");
    assert.deepEqual(readdirSync(join(directory, "sql")).sort(), ["a", "b & c"]);
    store.close();
    rmSync(directory, { recursive: true });
  });
});
