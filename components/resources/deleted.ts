import * as pulumi from "@pulumi/pulumi";

/**
 * Refuses the options under which the engine forgets a resource and what lies under it without calling `delete`: the
 * tenant would stay behind. No policy can see them, so components and resources look themselves.
 * @throws pulumi.ResourceError
 */
export function deleted<T extends pulumi.ResourceOptions>(name: string, opts: T | undefined): T | undefined {
  for (const option of ["retainOnDelete", "deletedWith"] as const) {
    if (!opts?.[option]) continue;
    const way = "leave it out; to keep a tenant, set 'protect'";
    throw new pulumi.ResourceError(
      `${name}: found the option '${option}', which skips the release; ${way}`,
      undefined,
      true,
    );
  }
  return opts;
}
