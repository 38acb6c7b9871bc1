// The two kinds of project that a user may install the tarball into.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

/** The same text for both: native ESM on Node.js, and CommonJS by way of ts-node. */
const program = `import * as ringfence from "ringfence";
import { SmokeTest } from "ringfence/smoke-test";

const platform = ringfence.Platform.fromConfig();
const pool = new ringfence.GpuPool("h100", { product: "NVIDIA-H100-80GB-HBM3" });
const pipeline = new ringfence.Pipeline("packed", {
  platform,
  vertices: { worker: { image: "registry.k8s.io/pause:3.10", replicas: 1, gpus: 1, pool } },
});

export const namespace = pipeline.namespace;
// Its plugin comes by download.
export const smokeTest = SmokeTest.name;
`;

/** What else there is to import, for the compiler. */
const surface = `import type * as pulumi from "@pulumi/pulumi";
import * as ringfence from "ringfence";
import { flow, produce, request, RequestError, serve, stream } from "ringfence/runtime";
import { SmokeTest } from "ringfence/smoke-test";

const { dynamo, GpuPool, ModelAdapter, ModelRoute, Observability, Pipeline, Platform } = ringfence;
const platform = Platform.fromConfig();
const pool = new GpuPool("h100", { product: "NVIDIA-H100-80GB-HBM3" });
const engine = dynamo.vllm({ model: "m" });
const chat = new Pipeline("chat", { platform, ...dynamo.aggregated({ engine, worker: { pool } }) });
new ModelRoute("route", { pipeline: chat, model: "m" });
new SmokeTest("test", { pipeline: chat });
new Observability("watch", { platform, pipelines: { chat } });

const port = { image: "i", ports: { http: 8000 }, adapters: { port: "http", image: "i" } };
const tuned = new Pipeline("tuned", { platform, vertices: { decode: port } });
const sql = new ModelAdapter("sql", { pipeline: tuned, vertex: "decode", baseModel: "m", artifact: "s3://a/b" });

const edges: ringfence.EdgeArgs[] = [{ from: "in", to: "out", edge: "stream" }];
const availability: ringfence.AvailabilityArgs = { leaseTtlSeconds: 10 };
const vertices: ringfence.PipelineArgs["vertices"] = {
  in: { image: "i", kind: "source" },
  out: { image: "i", kind: "sink", availability },
};
const through = new Pipeline("flow", { platform, vertices, edges, buffers: { replicas: 1 } });
export const told: [pulumi.Output<string>, pulumi.Output<string> | undefined] = [sql.model, through.drain];

export async function work(): Promise<void> {
  await serve("echo", (body: { text: string }) => body, { port: false });
  const reply: { text: string } = await request<{ text: string }>("echo", { text: "" }, { idempotent: true });
  for await (const part of stream<string>("echo", reply)) console.log(part.length);
  await produce(async function* ({ after }) {
    yield { id: String(after), value: 1 };
  });
  await flow<number>(({ value }) => ({ value: value + 1 })).catch((error) => error instanceof RequestError && error.code);
}
`;

/** The checkout's own version: only for that one are a CLI and a plugin there. */
const locked = (name: string): string =>
  JSON.parse(readFileSync(createRequire(import.meta.url).resolve(`${name}/package.json`), "utf8")).version;

/** Both have the same dependencies, so that one installation serves both. */
const manifest = (tarball: string, more: object) => ({
  name: "packed",
  ...more,
  dependencies: {
    "@pulumi/kubernetes": locked("@pulumi/kubernetes"),
    "@pulumi/pulumi": locked("@pulumi/pulumi"),
    ringfence: `file:${tarball}`,
  },
  devDependencies: { "@types/node": "^18", typescript: "^5.0.0" },
});

/** A project's files by name. */
export type Project = (tarball: string) => Record<string, string>;

/** Nothing but `"type": "module"`. */
const esm: Project = (tarball) => ({
  "package.json": JSON.stringify(manifest(tarball, { type: "module" })),
  "Pulumi.yaml": "name: packed\nruntime:\n  name: nodejs\n  options:\n    typescript: false\nmain: index.ts\n",
  "index.ts": program,
  "surface.ts": surface,
  "tsconfig.json": JSON.stringify({
    compilerOptions: {
      strict: true,
      target: "es2023",
      module: "nodenext",
      types: ["node"],
      noEmit: true,
    },
    files: ["index.ts", "surface.ts"],
  }),
});

/** As `pulumi new kubernetes-typescript` makes it. */
const commonJs: Project = (tarball) => ({
  "package.json": JSON.stringify(manifest(tarball, { main: "index.ts" })),
  "Pulumi.yaml": "name: packed\nruntime:\n  name: nodejs\n  options:\n    packagemanager: npm\n",
  "tsconfig.json": JSON.stringify({
    compilerOptions: {
      strict: true,
      outDir: "bin",
      target: "es2020",
      module: "commonjs",
      moduleResolution: "node",
      sourceMap: true,
      experimentalDecorators: true,
      pretty: true,
      noFallthroughCasesInSwitch: true,
      noImplicitReturns: true,
      forceConsistentCasingInFileNames: true,
    },
    files: ["index.ts"],
  }),
  "index.ts": program,
});

export const projects: Record<string, Project> = {
  "an empty ESM project": esm,
  "a stock CommonJS project (ts-node)": commonJs,
};
