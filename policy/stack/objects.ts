/** The Kubernetes objects of a stack, wherever they come from: components, raw resources, ConfigGroups, Helm charts. */
import type { PolicyResource } from "@pulumi/policy";
import { at, propsOf, text } from "./value.ts";

export interface KubernetesObject {
  /** Of the Pulumi resource. */
  name: string;
  urn: string;
  resource: PolicyResource;
  /** The API group; `core` for the one without a name. */
  group: string;
  kind: string;
  /** The manifest: maybe unknown in parts, maybe malformed. */
  body: unknown;
  /** A server-side apply patch: what is not in it may be there all the same. */
  patch: boolean;
  /** `metadata.name` and `metadata.namespace`, where they are known. */
  objectName: string | undefined;
  namespace: string | undefined;
}

/** `kubernetes:<group>/<version>:<Kind>`; the components that make objects (`yaml`, `helm.sh`, `kustomize`) are none. */
const TYPE = /^kubernetes:(?!yaml|helm\.sh|kustomize)([^/:]+)\/[^:]+:(\w+)$/;

/** In the order of their URNs: the engine's own changes from run to run, and with it which object a verdict would name. */
export function objectsOf(resources: readonly PolicyResource[]): KubernetesObject[] {
  return byUrn(resources).flatMap((resource) => {
    const [, group, kind] = TYPE.exec(resource.type) ?? [];
    if (!group || !kind) return [];
    const body = propsOf(resource);
    const patch = kind.endsWith("Patch");
    return [
      {
        name: resource.name,
        urn: resource.urn,
        resource,
        group,
        kind: patch ? kind.slice(0, -"Patch".length) : kind,
        body,
        patch,
        objectName: text(at(body, "metadata", "name")),
        namespace: namespaceOf(resource, body),
      },
    ];
  });
}

/** At preview, the provider writes `default` where the namespace is an output that is not known yet. */
function namespaceOf({ propertyDependencies }: PolicyResource, body: unknown): string | undefined {
  const namespace = text(at(body, "metadata", "namespace"));
  return namespace === "default" && (propertyDependencies.metadata ?? []).length > 0 ? undefined : namespace;
}

export const byUrn = (resources: readonly PolicyResource[]): PolicyResource[] =>
  resources.toSorted((a, b) => (a.urn < b.urn ? -1 : Number(a.urn > b.urn)));

export const label = ({ body }: KubernetesObject, key: string): string | undefined =>
  text(at(body, "metadata", "labels", key));

export const annotation = ({ body }: KubernetesObject, key: string): string | undefined =>
  text(at(body, "metadata", "annotations", key));

/** The name of the stack, as every URN has it. */
export const stackOf = (urn: string): string | undefined => /^urn:pulumi:([^:]+)::/.exec(urn)?.[1];
