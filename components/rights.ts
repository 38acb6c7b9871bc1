/** What a ServiceAccount of a tenant's namespace may ask the API server for. */
import * as k8s from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";

export interface RightsArgs {
  /** The ServiceAccount's name. */
  account: pulumi.Input<string>;
  /** Of the Role and of what binds it. */
  metadata: { name: string; namespace: pulumi.Input<string>; labels: Record<string, pulumi.Input<string>> };
  rules: k8s.types.input.rbac.v1.PolicyRule[];
}

/**
 * Grants rights in the namespace.
 * @param name what the Pulumi names begin with
 * @returns what has to be there before the account asks
 */
export function grant(
  name: string,
  { account, metadata, rules }: RightsArgs,
  options: pulumi.CustomResourceOptions,
): pulumi.Resource {
  const role = new k8s.rbac.v1.Role(`${name}-role`, { metadata, rules }, options);
  return new k8s.rbac.v1.RoleBinding(
    `${name}-binding`,
    {
      metadata,
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: role.metadata.name },
      subjects: [{ kind: "ServiceAccount", name: account, namespace: metadata.namespace }],
    },
    options,
  );
}
