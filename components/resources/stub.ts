/**
 * The provider that Pulumi serializes into the state of each dynamic resource: only a name that forwards to this
 * package, so that it stays small, holds no secret, and a fix in the package reaches stacks that exist already
 * (`delete` runs the stored stub: pulumi#6238).
 */
import type { dynamic } from "@pulumi/pulumi";

/** @param load imports one of `ringfence/provider/v1/*`, and nothing else: that path is in state files in the field */
export function stub(load: () => Promise<dynamic.ResourceProvider>): dynamic.ResourceProvider {
  return {
    configure: async (request) => (await load()).configure?.(request),
    check: async (olds, news) => (await load()).check?.(olds, news) ?? {},
    diff: async (id, olds, news) => (await load()).diff?.(id, olds, news) ?? {},
    create: async (inputs) => (await load()).create(inputs),
    read: async (id, props) => (await load()).read?.(id, props) ?? {},
    update: async (id, olds, news) => (await load()).update?.(id, olds, news) ?? {},
    delete: async (id, props) => (await load()).delete?.(id, props),
  };
}

/** The module in type tokens: `pulumi-nodejs:dynamic/ringfence:<Name>`. */
export const MODULE = "ringfence";
