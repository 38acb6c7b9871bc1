/** What the provider modules share: the platform's stores by the config that the engine hands over, and input checks. */
import type { dynamic } from "@pulumi/pulumi";
import { z } from "zod";
import { canonical } from "../plan/digest.ts";
import { logicalNameProblem } from "../plan/names.ts";
import { jetStreamSpec } from "../plan/spec.ts";
import { type Stores, storesFor } from "../tenancy/access.ts";
import { type Receipt, receiptLine } from "../tenancy/receipt.ts";
import { type ConfigReader, resolveAccess } from "../tenancy/resolve-access.ts";

/** How the engine writes a value that it does not know yet, at preview (pulumi: sdk/nodejs/runtime/rpc.ts, `unknownValue`). */
const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

/**
 * The contract between stored stubs and this package. It is an input of each resource, so that raising it makes `diff`
 * see a change and the engine store the new stub: unchanged inputs never refresh it (pulumi#16826).
 */
export const STUB_VERSION = 1;

// A pulumi that is killed leaves its provider behind, and what that says then breaks on the pipe. Pulumi's own handler of uncaught
// errors would try to say so, and break again, for ever.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});

let config: ConfigReader | undefined;

/** Keeps the config; it is read when the stores are needed, never at once, and nothing of it is kept elsewhere. */
export async function configure(request: dynamic.ConfigureRequest): Promise<void> {
  config = (key) => request.config.get(key);
}

/** The stores of the platform with that name. */
export async function storesOf({ platform }: { platform: string }): Promise<Stores> {
  return storesFor(resolveAccess(platform, config ?? (() => undefined)), say);
}

/** A property, or a value that is only known later. */
export const known = <T extends z.ZodType>(schema: T) => z.union([z.literal(UNKNOWN), schema]);

export const isKnown = (value: unknown): boolean => value !== UNKNOWN;

/** A text that is not empty. */
export const text = known(z.string().min(1));

/** What every resource of a tenant is told. */
export const tenantInputs = {
  platform: text,
  owner: text,
  logicalName: known(
    z.string().superRefine((name, context) => {
      const problem = logicalNameProblem(name);
      if (problem) context.addIssue({ code: "custom", message: `'${name}' ${problem}` });
    }),
  ),
  stub: z.number().default(STUB_VERSION),
};

/** The inputs of a resource that is part of a claimed tenant. */
export interface PartInputs {
  platform: string;
  owner: string;
  logicalName: string;
  generation: string;
  stub?: number;
}

export const partInputs = { ...tenantInputs, generation: known(z.string().min(16)) };

/** Another one of these is another tenant, so what was part of the one cannot become part of the other. */
export const PART = ["platform", "owner", "logicalName", "generation"] as const;

/** The inputs of what lies inside a tenant's NATS account; `account` is its public key. */
export interface AccountPartInputs extends PartInputs {
  account: string;
}

export const accountPartInputs = { ...partInputs, account: text };

const { memoryBytes, diskBytes, streams, consumers } = jetStreamSpec.shape;

/** An account's share of JetStream. */
export const jetStreamInput = known(
  z.strictObject({
    memoryBytes: known(memoryBytes),
    diskBytes: known(diskBytes),
    streams: known(streams),
    consumers: known(consumers),
  }),
);

/** What asks for other credentials, when it is there and another text than before. */
export const rotationInput = {
  rotation: known(
    z.string("expected a text, for example '2026-11'").min(1, "expected a text, not an empty one"),
  ).optional(),
};

/** `rotation` when it asks for other credentials: one that is left out, or taken out, asks for nothing. */
export const rotated = (olds: { rotation?: string }, news: { rotation?: string }): "rotation"[] =>
  news.rotation === undefined ? [] : changed(olds, news, ["rotation"]);

/** Checks inputs against a schema; each failure names its property. */
export function checked<T>(schema: z.ZodObject, news: T): dynamic.CheckResult<T> {
  const { __provider, ...inputs } = news as Record<string, unknown>;
  const result = schema.safeParse(inputs);
  if (result.success) return { inputs: result.data as T, failures: [] };
  const failures = result.error.issues.map(({ path, message }) => ({ property: path.join("."), reason: message }));
  return { inputs: news, failures };
}

/** The names among `names` whose values differ. */
export function changed<K extends string>(
  olds: { [P in K]?: unknown },
  news: { [P in K]?: unknown },
  names: readonly K[],
): K[] {
  return names.filter((name) => canonical(olds[name]) !== canonical(news[name]));
}

/** Tells the person at the terminal: the engine shows what a provider prints. */
function say(line: string): void {
  // biome-ignore lint/suspicious/noConsole: a dynamic provider has no other way to say something
  console.log(line);
}

export const announce = (receipt: Receipt): void => say(receiptLine(receipt));
