/**
 * The provider that state keeps of each dynamic resource: only a name that forwards to this package, so that it is
 * small, holds no secret, and a fix in the package reaches stacks that exist already (`delete` runs the stored stub:
 * pulumi#6238).
 *
 * It is written here, not serialized from functions as `pulumi.dynamic.Resource` does: that wraps each of a provider's
 * seven functions (2.3 KB in all), loads a TypeScript compiler, and takes a good part of a second of every command.
 * What Pulumi's dynamic provider asks of the text is in each state file, so it cannot change: CommonJS, whose `handler`
 * returns the provider.
 */
import * as pulumi from "@pulumi/pulumi";

/** The module in type tokens: `pulumi-nodejs:dynamic/ringfence:<Name>`. */
export const MODULE = "ringfence";

const METHODS = ["configure", "check", "diff", "create", "read", "update", "delete"] as const;

/** @param module one of `ringfence/provider/v1/*`, and nothing else: that path is in state files in the field */
export const stub = (module: string): string =>
  `exports.handler = () => Object.fromEntries(${JSON.stringify(METHODS)}.map((method) =>
  [method, async (...args) => (await import("ringfence/provider/v1/${module}"))[method]?.(...args) ?? {}]));
`;

/** A resource whose acts are those of a module of `ringfence/provider/v1`. */
export abstract class ForwardedResource extends pulumi.CustomResource {
  /** @param type the last word of its type token */
  constructor(
    provider: string,
    name: string,
    props: pulumi.Inputs,
    opts: pulumi.CustomResourceOptions | undefined,
    type: string,
  ) {
    super(`pulumi-nodejs:dynamic/${MODULE}:${type}`, name, { ...props, __provider: provider }, opts);
  }
}
