/** A policy's parameters: its config over its defaults. */
import type { PolicyConfigSchema } from "@pulumi/policy";
import type { PolicyConfigJSONSchema } from "@pulumi/policy/schema.js";

type Parameters = Record<string, PolicyConfigJSONSchema & { description: string; default: unknown }>;

/** What a policy's parameters come to. The engine holds a config against the schema before the policy hears of it. */
export function settings<P extends Parameters>(
  parameters: P,
  args: { getConfig<T extends object>(): T },
): { [K in keyof P]: P[K]["default"] } {
  const given = args.getConfig<Record<string, unknown>>();
  return Object.fromEntries(
    Object.entries(parameters).map(([name, parameter]) => [name, given[name] ?? parameter.default]),
  ) as { [K in keyof P]: P[K]["default"] };
}

export const schemaOf = (parameters: Parameters): PolicyConfigSchema => ({
  properties: parameters as PolicyConfigSchema["properties"],
});
