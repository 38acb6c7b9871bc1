/** The resources of this project in a stack, and of those the texts that are known already. */
import type { PolicyResource } from "@pulumi/policy";
import { componentType, dynamicType } from "../../components/plan/type-tokens.ts";
import { byUrn } from "./objects.ts";
import { at, propsOf, text } from "./value.ts";

export const LEDGER = dynamicType("Ledger");
export const TENANT_CLAIM = dynamicType("TenantClaim");
export const ETCD_PREFIX = dynamicType("EtcdPrefix");
export const NATS_ACCOUNT = dynamicType("NatsAccount");
export const PLATFORM = componentType("Platform");
export const PIPELINE = componentType("Pipeline");

/** A resource's name and those of the wanted properties whose text is known. */
export type Known<P extends string> = { urn: string; name: string; resource: PolicyResource } & { [K in P]?: string };

/**
 * Reads the wanted properties of every resource of one type, and nothing else: packs receive secrets unwrapped, so what
 * is not read cannot be printed.
 */
export function ofType<P extends string>(
  resources: readonly PolicyResource[],
  type: string,
  properties: P[],
): Known<P>[] {
  return byUrn(resources.filter((resource) => resource.type === type)).map((resource) => {
    const props = propsOf(resource);
    const texts = properties.map((property) => [property, text(at(props, property))]);
    return { ...Object.fromEntries(texts), urn: resource.urn, name: resource.name, resource } as Known<P>;
  });
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
