/** Which tenants a person means by the name of a pipeline. */
import { VisibleError } from "../components/plan/visible-error.ts";
import type { Stores } from "../components/tenancy/access.ts";
import { type HeldClaim, listClaims } from "../components/tenancy/registry.ts";

/**
 * @param pipeline its name, or `<realm>/<name>` @default all
 * @returns one at least when a name is given
 * @throws VisibleError when there is none of that name
 */
export async function claimsNamed({ etcd }: Stores, pipeline: string | undefined): Promise<HeldClaim[]> {
  const claims = await listClaims(etcd);
  if (pipeline === undefined) return claims;
  const named = claims.filter(({ logicalName }) => logicalName === pipeline || logicalName.endsWith(`/${pipeline}`));
  if (named.length > 0) return named;
  const known = claims.map(({ logicalName }) => logicalName).join(", ") || "none";
  throw new VisibleError(
    `pipeline: found '${pipeline}'; expected one that is up (${known}): correct it, or run 'pulumi up'`,
  );
}
