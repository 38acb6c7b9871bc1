/** Three ways to the same Kubernetes objects: Ringfence, a Pulumi program that has nothing but them, and kubectl. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Cost, measured, type Place } from "./measured.ts";

const STACK = "bench";

export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string> };
  [other: string]: unknown;
}

type Fields = Record<string, unknown>;

export interface Way {
  up(): Promise<Cost>;
  /** Of what is up already: nothing is to be done. */
  preview(): Promise<Cost>;
  /** Brings what differs. */
  update(): Promise<Cost>;
  destroy(): Promise<Cost>;
}

export interface Surroundings {
  /** Of a platform. */
  env: NodeJS.ProcessEnv;
  /** The programs' `node_modules`. */
  modules: string;
}

/** A Pulumi project with a program in JavaScript, and its state in a directory. */
export class Project implements Way {
  readonly place: Place;
  readonly #directory: string;

  constructor(directory: string, { env, modules }: Surroundings, program: string) {
    this.#directory = directory;
    mkdirSync(join(directory, "state"), { recursive: true });
    symlinkSync(modules, join(directory, "node_modules"));
    writeFileSync(join(directory, "package.json"), JSON.stringify({ name: "bench", type: "module" }));
    const runtime = { name: "nodejs", options: { typescript: false } };
    writeFileSync(join(directory, "Pulumi.yaml"), JSON.stringify({ name: "bench", main: "index.js", runtime }));
    writeFileSync(join(directory, "index.js"), program);
    this.place = {
      cwd: directory,
      env: { ...env, PULUMI_BACKEND_URL: `file://${join(directory, "state")}`, PULUMI_CONFIG_PASSPHRASE: "none" },
    };
    execFileSync("pulumi", ["stack", "init", STACK, "--non-interactive"], { ...this.place, stdio: "ignore" });
  }

  up = () => this.#pulumi("up", "--yes", "--skip-preview");
  preview = () => this.#pulumi("preview", "--expect-no-changes");
  destroy = () => this.#pulumi("destroy", "--yes", "--skip-preview");
  update = () => this.#pulumi("up", "--yes", "--skip-preview");

  #pulumi(...args: string[]): Promise<Cost> {
    return measured(["pulumi", ...args, "--stack", STACK, "--non-interactive"], this.place);
  }

  /** Of the backend's file. */
  get stateBytes(): number {
    return statSync(join(this.#directory, "state", ".pulumi", "stacks", "bench", `${STACK}.json`)).size;
  }

  /** What the state has, secrets in plain text. */
  get resources(): Array<{ type: string; inputs?: Fields; outputs?: Fields }> {
    const args = ["stack", "export", "--show-secrets", "--stack", STACK];
    const state = execFileSync("pulumi", args, { ...this.place, encoding: "utf8", maxBuffer: 2 ** 30 });
    const plain = JSON.parse(state, (_key, value) =>
      typeof value?.plaintext === "string" ? JSON.parse(value.plaintext) : value,
    );
    return plain.deployment.resources;
  }
}

/** Pipelines as the README has them, one worker each; the first has another setting once `changed` is there. */
export class Ringfence extends Project {
  constructor(directory: string, surroundings: Surroundings, pipelines: number) {
    super(
      directory,
      surroundings,
      `import { existsSync } from "node:fs";
import { dynamo, GpuPool, Pipeline, Platform } from "ringfence";

const platform = Platform.fromConfig();
const pool = new GpuPool("h100", { product: "NVIDIA-H100-80GB-HBM3" });
const engine = dynamo.vllm({ model: "deepseek-ai/DeepSeek-R1-Distill-Llama-8B" });
for (let i = 0; i < ${pipelines}; i++) {
  const env = i === 0 && existsSync("changed") ? { DYN_LOG: "debug" } : {};
  // Names of one length: none is the beginning of another, which Dynamo would take for the other's namespace.
  new Pipeline("chat-" + String(i).padStart(3, "0"), {
    platform,
    realm: "bench",
    jetStream: { diskBytes: 2 ** 24 },
    ...dynamo.aggregated({ engine, frontend: { env }, worker: { pool } }),
  });
}
`,
    );
  }

  override update = () => {
    writeFileSync(join(this.place.cwd, "changed"), "");
    return this.up();
  };

  /**
   * The Kubernetes objects that it has made, under generations of another way's: by its own it finds at destroy what belongs to
   * its tenants.
   */
  manifests(way: string): Manifest[] {
    const { resources } = this;
    const objects = resources.filter(({ type }) => type.startsWith("kubernetes:")).map(({ inputs }) => inputs ?? {});
    const generations = resources
      .filter(({ type }) => type.endsWith(":TenantClaim"))
      .map(({ outputs }) => String(outputs?.generation));
    let text = JSON.stringify(objects, (key, value) => (key === "__initialApiVersion" ? undefined : value));
    for (const generation of generations) {
      const other = createHash("sha256")
        .update(way + generation)
        .digest("hex");
      // Namespaces have the first eight digits in their names.
      for (const digits of [24, 8]) text = text.replaceAll(generation.slice(0, digits), other.slice(0, digits));
    }
    return JSON.parse(text) as Manifest[];
  }

  /** Characters of the provider that state keeps of each dynamic resource. */
  get providerBytes(): number[] {
    return this.resources.flatMap(({ inputs: { __provider } = {} }) =>
      typeof __provider === "string" ? [__provider.length] : [],
    );
  }
}

/** The objects as resources of a program, which read them from a file. */
export class Plain extends Project {
  constructor(directory: string, surroundings: Surroundings, manifests: Manifest[]) {
    super(
      directory,
      surroundings,
      `import { readFileSync } from "node:fs";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";

const provider = new k8s.Provider("kubernetes", {});
const namespaces = {};
for (const { stringData, ...object } of JSON.parse(readFileSync("manifests.json", "utf8"))) {
  const { apiVersion, kind, metadata } = object;
  const group = apiVersion.includes("/") ? apiVersion : "core/" + apiVersion;
  const name = [kind, metadata.namespace, metadata.name].filter(Boolean).join("-");
  const dependsOn = metadata.namespace ? [namespaces[metadata.namespace]] : [];
  const inputs = stringData ? { ...object, stringData: pulumi.secret(stringData) } : object;
  const made = new pulumi.CustomResource("kubernetes:" + group + ":" + kind, name, inputs, { provider, dependsOn });
  if (kind === "Namespace") namespaces[metadata.name] = made;
}
`,
    );
    this.take(manifests);
  }

  /** The program's objects from now on. */
  take(manifests: Manifest[]): void {
    writeFileSync(join(this.place.cwd, "manifests.json"), JSON.stringify(namespacesFirst(manifests)));
  }
}

/** Server-side apply, and as Pulumi does, a wait for every Deployment. */
export class Kubectl implements Way {
  readonly #place: Place;
  #manifests: Manifest[];

  constructor(directory: string, { env }: Surroundings, manifests: Manifest[]) {
    mkdirSync(directory, { recursive: true });
    this.#place = { cwd: directory, env };
    this.#manifests = manifests;
    this.take(manifests);
  }

  take(manifests: Manifest[]): void {
    this.#manifests = namespacesFirst(manifests);
    writeFileSync(
      join(this.#place.cwd, "all.json"),
      JSON.stringify({ apiVersion: "v1", kind: "List", items: this.#manifests }),
    );
    // One command can wait in one namespace, or in all of them: these and the other ways'.
    const waits = this.#manifests
      .filter(({ kind }) => kind === "Namespace")
      .map(
        ({ metadata: { name } }) => `kubectl wait -n ${name} deployment --all --for=condition=Available --timeout=10m`,
      );
    writeFileSync(join(this.#place.cwd, "apply.sh"), `set -e\n${APPLY}\n${waits.join("\n")}\n`);
  }

  up = () => measured(["bash", "apply.sh"], this.#place);
  preview = () => measured(["bash", "-c", `${APPLY} --dry-run=server`], this.#place);
  update = this.up;
  destroy = () => measured(["kubectl", "delete", "-f", "all.json", "--wait", "--timeout=10m"], this.#place);
}

const APPLY = "kubectl apply --server-side --field-manager=bench -f all.json";

const namespacesFirst = (manifests: Manifest[]): Manifest[] =>
  [...manifests].sort((a, b) => Number(b.kind === "Namespace") - Number(a.kind === "Namespace"));
