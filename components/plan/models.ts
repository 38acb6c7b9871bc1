/**
 * Names of models, and how frontends of NVIDIA Dynamo 0.1 to 0.2.0 learn of one: by two keys at etcd's root that `llmctl`
 * wrote without a lease, so that the last writer won and nobody removed them (launch/llmctl/src/main.rs and
 * lib/llm/src/http/service/discovery.rs of those versions).
 */
import { z } from "zod";
import { named } from "./numbers.ts";

/** Longer than any name on Hugging Face, and short enough for a key that people read. */
const MAX_LENGTH = 200;

const SEGMENT = /^[A-Za-z0-9][A-Za-z0-9._:@+-]*$/;

/** Says what is wrong with a model's name, or nothing. */
export function modelNameProblem(name: string): string | undefined {
  if (name === "") return "is empty";
  if (name.length > MAX_LENGTH) return `has ${name.length} characters, at most ${MAX_LENGTH} are allowed`;
  const problem = name.split("/").find((segment) => !SEGMENT.test(segment));
  return problem === undefined
    ? undefined
    : "may hold letters, digits and '.', '_', '-', ':', '@', '+' between single inner slashes, each part beginning with a " +
        "letter or a digit, as 'deepseek-ai/DeepSeek-R1-Distill-Llama-8B' does";
}

/** The models that a pipeline serves, by name, as a stack's config has them. */
export const modelsSpec = z.record(
  named(modelNameProblem),
  z.strictObject({ legacyAlias: z.boolean("expected true or false").default(false) }),
);

/** A model's name as one segment of a key: no two names give one, and none has a slash. */
export const modelSegment = (name: string): string => encodeURIComponent(name);

/** Whose the keys are: what old frontends are told. */
export interface AliasHolder {
  model: string;
  dynamoNamespace: string;
  /** Of the tenant. */
  generation: string;
  /** The Kubernetes namespace. */
  namespace: string;
  url: string;
}

/** What an old frontend asks for, and what its entry says. */
const KINDS = { chat: "Chat", completion: "Completion" } as const;

/** Below this lie the keys of all models. */
export const ALIAS_PREFIX = "public/components/http/models/";

/** The keys of a model. */
export const aliasKeys = (model: string): string[] =>
  Object.keys(KINDS).map((kind) => `${ALIAS_PREFIX}${kind}/${model}`);

/**
 * What a key says, by key. Dynamo's part names the endpoint that its workers have served since the first versions;
 * `ringfence` is ours: old frontends ignore it, gateways find the URL there, and it tells that the registry accounts for
 * the key (`aliasModel`).
 */
export function aliasValues(holder: AliasHolder): Record<string, string> {
  const { model, dynamoNamespace, generation, namespace, url } = holder;
  const endpoint = { namespace: dynamoNamespace, component: "backend", name: "generate" };
  return Object.fromEntries(
    Object.entries(KINDS).map(([kind, model_type]) => [
      `${ALIAS_PREFIX}${kind}/${model}`,
      JSON.stringify({ name: model, endpoint, model_type, ringfence: { generation, namespace, url } }),
    ]),
  );
}
