import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
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
import { bring, type Credentials } from "../../runtime/adapter-artifact.ts";
import { chosen, dispensable } from "../../runtime/adapter-choice.ts";
import type { Sibling } from "../../runtime/adapter-cluster.ts";
import { recordOf } from "./adapter-scene.ts";
import { ArtifactStore, isSigned } from "./artifact-store.ts";

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
  const directory = mkdtempSync(join(tmpdir(), "ringfence-artifact-"));
  const stores: ArtifactStore[] = [];
  after(() => {
    for (const store of stores) store.close();
    rmSync(directory, { recursive: true });
  });

  async function storeOf(answer: Parameters<typeof ArtifactStore.open>[0]): Promise<ArtifactStore> {
    const store = await ArtifactStore.open(answer);
    stores.push(store);
    return store;
  }
  const bringing = (url: string, credentials: Credentials, name = "it") =>
    bring({ url, directory: join(directory, name), credentials, maxBytes: 1000, signal: AbortSignal.timeout(60_000) });
  const keyed = (name: string) => `<Contents><Key>${name}</Key></Contents>`;

  it("is listed page by page, and its files are brought whole or not at all", async () => {
    let broken = true;
    const store = await storeOf((request, response) => {
      const url = new URL(request.url ?? "", "http://store");
      if (url.searchParams.has("continuation-token"))
        return response.end(`<ListBucketResult>${keyed("sql/b &amp; c/weights")}</ListBucketResult>`);
      if (url.searchParams.has("list-type"))
        return response.end(
          `<ListBucketResult>${keyed("sql/a")}${keyed("sql/d/")}<NextContinuationToken>2</NextContinuationToken></ListBucketResult>`,
        );
      if (broken && url.pathname.includes("weights"))
        return response.writeHead(403).end("<Error><Code>RequestTimeTooSkewed</Code><Key>sesame</Key></Error>");
      return response.end(decodeURIComponent(url.pathname));
    });
    const credentials = { AWS_ENDPOINT_URL: `${store.url}/` };
    await assert.rejects(
      bringing("s3://models/sql", credentials, "sql"),
      /weights answered 403 \(RequestTimeTooSkewed\): may its credentials read it\?$/,
    );
    assert.deepEqual(readdirSync(directory), []);
    broken = false;
    await bringing("s3://models/sql", credentials, "sql");
    assert.equal(readFileSync(join(directory, "sql/b & c/weights"), "utf8"), "/models/sql/b & c/weights");
    assert.deepEqual(readdirSync(join(directory, "sql")).sort(), ["a", "b & c"]);
  });

  it("is asked with signatures of what it is asked, and of nothing else", async () => {
    const key = "sql +ü/a'(1)*.bin";
    const refused: string[] = [];
    const store = await storeOf((request, response) => {
      if (!isSigned(request, { id: "AKIA1", secret: "open/sesame", region: "eu-west-1" })) {
        refused.push(request.url ?? "");
        return response.writeHead(403).end("<Error><Code>SignatureDoesNotMatch</Code></Error>");
      }
      if (request.url?.includes("list-type")) return response.end(keyed(key.replace("'", "&apos;")));
      return response.end("0000");
    });
    await bringing(
      "s3://models/sql +ü",
      {
        AWS_ENDPOINT_URL: store.url,
        AWS_REGION: "eu-west-1",
        AWS_ACCESS_KEY_ID: "AKIA1\n",
        AWS_SECRET_ACCESS_KEY: "open/sesame\n",
        AWS_SESSION_TOKEN: "session",
      },
      "signed",
    );
    assert.deepEqual(refused, []);
    assert.equal(readFileSync(join(directory, "signed/a'(1)*.bin"), "utf8"), "0000");
    assert.ok(store.requests.every(({ headers }) => headers["x-amz-security-token"] === "session"));
  });

  it("is not followed to another region", async () => {
    const elsewhere = await storeOf((_, response) => response.end(keyed("sql/a")));
    const store = await storeOf((_, response) =>
      response.writeHead(307, { location: elsewhere.url }).end("<Error><Code>TemporaryRedirect</Code></Error>"),
    );
    await assert.rejects(
      bringing("s3://models/sql", { AWS_ENDPOINT_URL: store.url, AWS_SESSION_TOKEN: "session" }),
      /answered 307 \(TemporaryRedirect\): is AWS_REGION \(us-east-1\) the bucket's/,
    );
    assert.deepEqual(elsewhere.requests, []);
  });

  it("cannot list without end", async () => {
    const store = await storeOf((_, response) => {
      const more = () => {
        while (!response.destroyed && response.write(keyed("sql/a").repeat(1000)));
      };
      response.on("drain", more);
      more();
    });
    await assert.rejects(
      bringing("s3://models/sql", { AWS_ENDPOINT_URL: store.url }),
      /the store answered more than 16777216 bytes/,
    );
  });

  it("puts no file beside the artifact", async () => {
    const store = await storeOf((request, response) =>
      response.end(request.url?.includes("list-type") ? keyed("sql/../../outside") : "0000"),
    );
    await assert.rejects(
      bringing("s3://models/sql", { AWS_ENDPOINT_URL: store.url }),
      /s3:\/\/models\/sql: found a file '..\/..\/outside'/,
    );
    assert.ok(!existsSync(join(directory, "outside")));
  });

  it("gives files of one commit, while the branch moves on", async () => {
    const asked: string[] = [];
    const store = await storeOf((request, response) => {
      asked.push(request.url ?? "");
      const listing = { sha: "c0ffee", siblings: [{ rfilename: "a/b" }] };
      return response.end(request.url?.startsWith("/api/") ? JSON.stringify(listing) : "0000");
    });
    await bringing("hf://acme/sql", { HF_ENDPOINT: store.url }, "hub");
    assert.deepEqual(asked, ["/api/models/acme/sql/revision/main", "/acme/sql/resolve/c0ffee/a/b"]);
  });

  for (const [what, url, credentials] of [
    ["an address with credentials", "s3://models/sql", { AWS_ENDPOINT_URL: "https://me:sesame@minio:9000" }],
    ["an address that is none", "hf://acme/sql", { HF_ENDPOINT: "sesame" }],
    ["a token that no header takes", "hf://acme/sql", { HF_TOKEN: "ses\name", HF_ENDPOINT: "http://127.0.0.1:9" }],
    [
      "a key that no header takes",
      "s3://models/sql",
      { AWS_ACCESS_KEY_ID: "AK\nIA1", AWS_SECRET_ACCESS_KEY: "sesame", AWS_ENDPOINT_URL: "http://127.0.0.1:9" },
    ],
  ] as const)
    it(`says nothing of credentials: ${what}`, async () => {
      await assert.rejects(bringing(url, credentials), (error: Error) => {
        assert.equal(error.name, "VisibleError");
        assert.doesNotMatch(error.message, /sesame|ses\name|AK\nIA1/);
        assert.equal(error.cause, undefined);
        return true;
      });
    });
});

describe("the loader's image", () => {
  const root = new URL("../../", import.meta.url);

  /** The packages that a module imports, and those that it imports of ours. */
  function packagesOf(module: URL, seen = new Set<string>()): Set<string> {
    const packages = new Set<string>();
    if (seen.has(module.href)) return packages;
    seen.add(module.href);
    for (const [, type, name = ""] of readFileSync(module, "utf8").matchAll(
      /^(?:import|export) (type )?(?:[^"';]*? from )?"([^"]+)";$/gm,
    )) {
      if (type || name.startsWith("node:")) continue;
      if (!name.startsWith(".")) packages.add(name);
      else for (const other of packagesOf(new URL(name, module), seen)) packages.add(other);
    }
    return packages;
  }

  it("has the packages that the loader imports, and no other", () => {
    const file = readFileSync(new URL("runtime/Dockerfile", root), "utf8");
    const installed = JSON.parse(/\[[^\]]+\]/.exec(file)?.[0] ?? "[]");
    assert.deepEqual([...packagesOf(new URL("runtime/adapter-loader.ts", root))].sort(), installed);
  });
});
