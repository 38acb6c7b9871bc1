// The two kinds of project that a user may install the tarball into.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

/** The same text for both: native ESM on Node.js, and CommonJS by way of ts-node. */
const program = `import * as ringfence from "ringfence";

const platform = ringfence.Platform.fromConfig();
const pool = new ringfence.GpuPool("h100", { product: "NVIDIA-H100-80GB-HBM3" });
const pipeline = new ringfence.Pipeline("packed", {
  platform,
  vertices: { worker: { image: "registry.k8s.io/pause:3.10", replicas: 1, gpus: 1, pool } },
});

export const namespace = pipeline.namespace;
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
