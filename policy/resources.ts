/** What the policies read of a stack: a few types of resource, and of those the texts that are known already. */
import { type PolicyResource, UnknownValueError } from "@pulumi/policy";

export const TENANT_CLAIM = "pulumi-nodejs:dynamic/ringfence:TenantClaim";
export const ETCD_PREFIX = "pulumi-nodejs:dynamic/ringfence:EtcdPrefix";
export const NATS_ACCOUNT = "pulumi-nodejs:dynamic/ringfence:NatsAccount";

/** A resource's name and those of the wanted properties whose text is known. */
export type Known<P extends string> = { urn: string; name: string } & { [K in P]?: string };

/**
 * Reads the wanted properties of every resource of one type, and nothing else: packs receive secrets unwrapped, so what
 * is not read cannot be printed. In the order of their URNs, for the engine's own order changes from run to run and
 * with it which of two resources a verdict would name.
 */
export function ofType<P extends string>(resources: PolicyResource[], type: string, properties: P[]): Known<P>[] {
  return resources
    .filter((resource) => resource.type === type)
    .map((resource) => {
      const texts = properties.map((property) => [property, text(resource, property)]);
      return { ...Object.fromEntries(texts), urn: resource.urn, name: resource.name } as Known<P>;
    })
    .sort((a, b) => (a.urn < b.urn ? -1 : 1));
}

/** A resource whose tenant is known. One logical name on two platforms is two tenants. */
export type Placed<T> = T & {
  platform: string;
  logicalName: string;
  /** Tells tenants apart, and reads as text. */
  tenant: string;
};

/** Those whose tenant is known; one that is not known yet may be anybody's, so it is left out rather than guessed at. */
export function placed<T extends Known<"platform" | "logicalName">>(parts: T[]): Placed<T>[] {
  return parts.flatMap((part) => {
    const { platform, logicalName } = part;
    if (platform === undefined || logicalName === undefined) return [];
    return [{ ...part, platform, logicalName, tenant: `'${logicalName}' on platform '${platform}'` }];
  });
}

/**
 * A property's text, or nothing while there is none to judge. At preview an output is absent where the resource is still
 * to be created, and unknown where it is handed on as an input: reading that throws. A value of another type is the
 * provider's to refuse.
 */
function text(resource: PolicyResource, property: string): string | undefined {
  try {
    const value: unknown = resource.props?.[property];
    return typeof value === "string" ? value : undefined;
  } catch (error) {
    if (error instanceof UnknownValueError) return undefined;
    throw error;
  }
}
