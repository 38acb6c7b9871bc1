/** A LoRA adapter on the pods of a vertex: its names, its generations, and what the loader beside each engine is told of it. */
import { createHash } from "node:crypto";
import { z } from "zod";
import { vertexNameProblem } from "./names.ts";
import { named, whole } from "./numbers.ts";

/** On what a vertex' loaders watch, with the vertex' name: ConfigMaps say what is wanted, Services what serves. */
export const ADAPTERS_LABEL = "ringfence.dev/adapters";

/** Of a Service: the record of the generation that it selects on. */
export const SERVING_ANNOTATION = "ringfence.dev/adapter";

/** Of a ConfigMap: the key under which the record is. */
export const WANTED_KEY = "adapter.json";

/** The pod's readiness gate: true while the pod's labels say what its engine has, and each adapter of its was tried once. */
export const ADAPTERS_GATE = "ringfence.dev/adapters";

/** What every label begins with that a loader may change, on its own pod. */
export const LOADED_LABELS = "adapter.ringfence.dev/";

/** The value of such a label. */
export const LOADED = "loaded";

/** Hexadecimal digits; the same artifact has the same generation everywhere. */
const GENERATION_DIGITS = 12;

/** A label's name has at most 63 characters, a dot and the generation among them. */
const MAX_NAME = 63 - 1 - GENERATION_DIGITS;

/** vLLM (and AIBrix) trust an adapter's name and never look at its artifact again, so the artifact is part of the name. */
export const adapterGeneration = (artifact: string): string =>
  createHash("sha256").update(artifact).digest("hex").slice(0, GENERATION_DIGITS);

/** What the engine calls it, and requests name as their model. */
export const loadedName = ({ adapter, generation }: AdapterId): string => `${adapter}-${generation}`;

/** On a pod whose engine has it loaded and is ready. */
export const loadedLabel = ({ adapter, generation }: AdapterId): string => `${LOADED_LABELS}${adapter}.${generation}`;

/** Names the ConfigMap and the Secret of an adapter; a dot, which no name of a vertex has. */
export const adapterObject = (adapter: string): string => `adapter.${adapter}`;

export interface AdapterId {
  adapter: string;
  generation: string;
}

/** Where an artifact is. */
export type Artifact =
  | { scheme: "s3" | "gs"; bucket: string; prefix: string }
  | { scheme: "hf"; repository: string; revision: string }
  | { scheme: "path"; path: string };

const ARTIFACT = "expected 's3://bucket/path', 'gs://bucket/path', 'hf://owner/name[@revision]' or an absolute path";

/** @returns nothing for what is none */
export function artifactOf(url: string): Artifact | undefined {
  if (/^\/[^\0]+$/.test(url)) return { scheme: "path", path: url };
  const bucket = /^(s3|gs):\/\/([a-z0-9][a-z0-9._-]{1,61}[a-z0-9])\/([^?#]*[^?#/])\/?$/.exec(url);
  if (bucket) {
    const [, scheme, name = "", prefix = ""] = bucket;
    return { scheme: scheme as "s3" | "gs", bucket: name, prefix };
  }
  const [, repository, revision = "main"] = /^hf:\/\/([\w.-]+\/[\w.-]+)(?:@([\w./-]+))?$/.exec(url) ?? [];
  return repository === undefined ? undefined : { scheme: "hf", repository, revision };
}

/** What the Secret of an artifact's store may hold, under the names that the stores' own tools have. */
export const ADAPTER_CREDENTIALS = [
  "AWS_ACCESS_KEY_ID",
  "AWS_SECRET_ACCESS_KEY",
  "AWS_SESSION_TOKEN",
  "AWS_REGION",
  "AWS_ENDPOINT_URL",
  "HF_TOKEN",
  "HF_ENDPOINT",
] as const;

const atLeastOne = (what: string) => whole(`expected a whole number of ${what}, 1 or more`, 1);

const adapterName = named((name) => {
  if (name.length > MAX_NAME) return `has ${name.length} characters, at most ${MAX_NAME} are allowed`;
  return vertexNameProblem(name);
});

const adapterCredentials = z.strictObject(
  Object.fromEntries(ADAPTER_CREDENTIALS.map((name) => [name, z.string("expected a text").optional()])) as Record<
    (typeof ADAPTER_CREDENTIALS)[number],
    z.ZodOptional<z.ZodString>
  >,
);

/** What a person says of an adapter, but for whose it is. */
const adapterShape = {
  baseModel: z.string("expected the name under which the engine serves its base model").min(1, "expected a name"),
  artifact: z.string(ARTIFACT).refine((url) => artifactOf(url) !== undefined, ARTIFACT),
  replicas: z
    .union([z.literal("all"), atLeastOne("pods")], "expected 'all', or a whole number of pods, 1 or more")
    .default("all"),
  maxBytes: atLeastOne("bytes").default(2 ** 31),
  loadTimeoutSeconds: atLeastOne("seconds").default(300),
  graceSeconds: whole("expected a whole number of seconds, 0 or more", 0).default(30),
};

const rolloutShape = {
  ...adapterShape,
  minReady: atLeastOne("pods").default(1),
  rolloutTimeoutSeconds: atLeastOne("seconds").default(600),
  credentials: adapterCredentials.default({}),
};

function fewEnough(
  { replicas, minReady }: { replicas: number | "all"; minReady: number },
  context: z.RefinementCtx,
): void {
  if (replicas !== "all" && minReady > replicas)
    context.addIssue({ code: "custom", path: ["minReady"], message: `expected at most replicas (${replicas})` });
}

/** An adapter, as ModelAdapter takes it. */
export const adapterSpec = z.strictObject({ name: adapterName, ...rolloutShape }).superRefine(fewEnough);

/** A pipeline's adapters, as a stack's config has them: by name. */
export const adaptersSpec = z.record(
  adapterName,
  z.strictObject({ vertex: z.string("expected the name of a vertex"), ...rolloutShape }).superRefine(fewEnough),
);

/** How a vertex lets adapters be loaded. */
export const adapterLoaderSpec = z.strictObject({
  port: z.string("expected the name of a port"),
  image: z.string("expected a container image").min(1, "expected a container image"),
  diskBytes: atLeastOne("bytes").default(10 * 2 ** 30),
});

/** One generation of an adapter, as the loaders read it: of a ConfigMap when it is wanted, of a Service when it serves. */
export const adapterRecord = z.object({
  adapter: adapterName,
  /** It names a directory. */
  generation: z.string().regex(new RegExp(`^[0-9a-f]{${GENERATION_DIGITS}}$`)),
  ...adapterShape,
  /** The name of the Secret with what the artifact's store asks for. */
  secret: z.string().optional(),
});

export type AdapterSpec = z.output<typeof adapterSpec>;
export type AdapterRecord = z.output<typeof adapterRecord>;

/** What the pod's condition says of adapters that could not be loaded, a line each: the engine's name of it, and why. */
export const failureLines = (failures: Array<[name: string, why: string]>): string =>
  failures.map(([name, why]) => `${name}: ${why.replaceAll(/\s+/g, " ").slice(0, 400)}`).join("\n");

/** @returns by the engine's name of each */
export const failuresIn = (message: string | undefined): Map<string, string> =>
  new Map(
    (message ?? "").split("\n").flatMap((line): Array<[string, string]> => {
      const at = line.indexOf(": ");
      return at > 0 ? [[line.slice(0, at), line.slice(at + 2)]] : [];
    }),
  );
