/** The pipelines of a stack, each with the names that nobody else may use: its own, or any with a namespace to itself. */

import type { PolicyResource } from "@pulumi/policy";
import { dynamoContainers } from "./dynamo.ts";
import { logicalNameParts } from "./logical-name.ts";
import { type KubernetesObject, objectsOf } from "./objects.ts";
import { type Place, placeOf } from "./places.ts";
import { ETCD_PREFIX, NATS_ACCOUNT, ofType, TENANT_CLAIM } from "./ringfence.ts";

export interface Tenant {
  /** For a message. */
  text: string;
  place: Place;
}

export interface Tenants {
  /** By etcd prefix, which ends in a slash. */
  prefixes: ReadonlyMap<string, Tenant>;
  /** By the public key of the NATS account. */
  accounts: ReadonlyMap<string, Tenant>;
  /** By Kubernetes namespace. */
  namespaces: ReadonlyMap<string, Tenant>;
  /** Services and Secrets in those, as `namespace/name`. */
  inside: ReadonlySet<string>;
  has(place: Place): boolean;
}

export function tenantsOf(resources: readonly PolicyResource[]): Tenants {
  const prefixes = new Map<string, Tenant>();
  const accounts = new Map<string, Tenant>();
  const namespaces = new Map<string, Tenant>();
  for (const type of [TENANT_CLAIM, ETCD_PREFIX, NATS_ACCOUNT]) {
    for (const part of ofType(resources, type, ["logicalName", "generation", "namespace", "prefix", "account"])) {
      const { logicalName, generation, namespace, prefix, account } = part;
      if (logicalName === undefined) continue;
      const tenant: Tenant = {
        text: `tenant '${logicalName}'`,
        place: { pipeline: logicalNameParts(logicalName).pipeline, generation, namespace },
      };
      if (prefix?.endsWith("/") && prefix !== "/") prefixes.set(prefix, tenant);
      if (account) accounts.set(account, tenant);
      if (namespace) namespaces.set(namespace, tenant);
    }
  }
  const objects = objectsOf(resources);
  const add = (place: Place) => {
    const { namespace } = place;
    if (namespace === undefined || namespaces.has(namespace)) return;
    namespaces.set(namespace, { text: `the pipeline in namespace '${namespace}'`, place });
  };
  for (const object of objects) {
    const place = placeOf(object);
    if (place.pipeline !== undefined || place.generation !== undefined) add(place);
  }
  for (const { place } of dynamoContainers(resources)) add({ namespace: place.namespace });
  return {
    prefixes,
    accounts,
    namespaces,
    inside: new Set(objects.filter(names).map(({ namespace, objectName }) => `${namespace}/${objectName}`)),
    has: ({ namespace, pipeline, generation }) =>
      pipeline !== undefined || generation !== undefined || (namespace !== undefined && namespaces.has(namespace)),
  };
}

const names = ({ kind, namespace, objectName }: KubernetesObject) =>
  /^(Service|Secret)$/.test(kind) && namespace !== undefined && objectName !== undefined;
