/** What keeps an adapter loader to its own pod: RBAC grants it all pods of the namespace, admission takes the others away. */
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { Inside } from "./inside.ts";
import { ADAPTERS_GATE, LOADED_LABELS } from "./plan/adapter.ts";

/** CEL: what a loader may change is its own pod's labels of ours, and its own condition. */
const OURS = `'${LOADED_LABELS}'`;
const RULES = [
  {
    expression:
      "variables.podName == [request.name] && request.subResource == 'status' && request.operation == 'UPDATE'",
    message: "a loader may change the status of its own pod only",
  },
  {
    expression: `variables.news.all(k, k.startsWith(${OURS}) || (k in variables.olds && variables.olds[k] == variables.news[k])) && variables.olds.all(k, k.startsWith(${OURS}) || k in variables.news)`,
    message: `a loader may change labels only that begin with ${LOADED_LABELS}`,
  },
  {
    expression: [
      ...["annotations", "finalizers", "ownerReferences"].map(
        (field) => `object.metadata.?${field} == oldObject.metadata.?${field}`,
      ),
      "object.spec == oldObject.spec",
    ].join(" && "),
    message: "a loader may change no annotation, finalizer, owner or spec",
  },
  {
    expression: [
      "variables.conditions == variables.oldConditions",
      ...[
        "phase",
        "message",
        "reason",
        "hostIP",
        "hostIPs",
        "podIP",
        "podIPs",
        "nominatedNodeName",
        "startTime",
        "qosClass",
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
        "resourceClaimStatuses",
        "extendedResourceClaimStatus",
        "resize",
        "resources",
        "allocatedResources",
        "observedGeneration",
      ].map((field) => `object.status.?${field} == oldObject.status.?${field}`),
    ].join(" && "),
    message: `a loader may change no part of the status but the condition ${ADAPTERS_GATE}`,
  },
];

const others = (of: string) => `${of}.status.?conditions.orValue([]).filter(c, c.type != '${ADAPTERS_GATE}')`;

/**
 * RBAC cannot say "its own": a token is bound to its pod, and the admission compares. Outside of the namespace, so these carry
 * the tenant's generation, by which a release finds what Pulumi has lost.
 */
export function ownPodOnly(
  { name, namespace, labels, options }: Inside,
  { vertex, account }: { vertex: string; account: pulumi.Output<string> },
): pulumi.Resource[] {
  const metadata = { name: pulumi.interpolate`adapters.${vertex}.${namespace}.ringfence.dev`, labels };
  const policy = new k8s.admissionregistration.v1.ValidatingAdmissionPolicy(
    `${name}-adapters-policy`,
    {
      metadata,
      spec: {
        failurePolicy: "Fail",
        matchConstraints: {
          resourceRules: [
            { apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE", "UPDATE"], resources: ["pods", "pods/*"] },
          ],
        },
        matchConditions: [
          {
            name: "by-a-loader",
            expression: pulumi.interpolate`request.userInfo.username == 'system:serviceaccount:${namespace}:${account}'`,
          },
        ],
        variables: [
          {
            name: "podName",
            expression: "request.userInfo.?extra['authentication.kubernetes.io/pod-name'].orValue([])",
          },
          { name: "news", expression: "object.metadata.?labels.orValue({})" },
          { name: "olds", expression: "oldObject.metadata.?labels.orValue({})" },
          { name: "conditions", expression: others("object") },
          { name: "oldConditions", expression: others("oldObject") },
        ],
        validations: RULES,
      },
    },
    options,
  );
  const binding = new k8s.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
    `${name}-adapters-policy-binding`,
    {
      metadata,
      spec: {
        policyName: policy.metadata.name,
        validationActions: ["Deny"],
        matchResources: { namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace } } },
      },
    },
    options,
  );
  return [policy, binding];
}
