/** What Dynamo's own discovery needs of Kubernetes (DYN_DISCOVERY_BACKEND=kubernetes), where its operator does not set it up. */
import * as k8s from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";
import type { Inside } from "./inside.ts";
import { grant } from "./rights.ts";

/** Dynamo's runtime finds ready pods in the EndpointSlices that have these; a slice has its Service's labels. */
export const DISCOVERY_LABELS = {
  "nvidia.com/dynamo-discovery-backend": "kubernetes",
  "nvidia.com/dynamo-discovery-enabled": "true",
};

/** Where each worker writes what it serves, owned by its pod. */
const METADATA_CRD = "dynamoworkermetadatas.nvidia.com";

/**
 * Lets the pods of a tenant find each other through the API server: read pods and endpoints of their own namespace, and
 * write their metadata there.
 * @returns the ServiceAccount's name, and what has to be there before a pod can ask
 */
export function nativeDiscovery(inside: Inside): { account: pulumi.Output<string>; guards: pulumi.Resource[] } {
  const { name, namespace, labels, options } = inside;
  const metadata = { name: "dynamo-discovery", namespace, labels };
  // All tenants of a cluster share it, with whoever else runs Dynamo there: it belongs to the platform, and is only asked
  // for. Its Pulumi name is what the engine names when it is missing.
  const crd = k8s.apiextensions.v1.CustomResourceDefinition.get(
    `${name}-needs-the-crd-of-dynamo`,
    METADATA_CRD,
    options,
  );
  const account = new k8s.core.v1.ServiceAccount(
    `${name}-discovery-account`,
    // Pods that ask the API server say so themselves.
    { metadata, automountServiceAccountToken: false },
    options,
  );
  const read = ["get", "list", "watch"];
  const write = ["create", "update", "patch", "delete"];
  const rights = grant(
    `${name}-discovery`,
    {
      account: account.metadata.name,
      metadata,
      rules: [
        { apiGroups: [""], resources: ["pods", "endpoints"], verbs: read },
        { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: read },
        { apiGroups: ["nvidia.com"], resources: ["dynamoworkermetadatas"], verbs: [...read, ...write] },
      ],
    },
    options,
  );
  return { account: account.metadata.name, guards: [crd, rights] };
}
