/** Registering what was deployed before us: its data get a claim, and are then neither residue nor anybody else's to take. */
import { dynamoNamespaceProblem } from "../plan/dynamo-keys.ts";
import { VisibleError } from "../plan/visible-error.ts";
import type { Stores } from "./access.ts";
import { ClaimRefused, putClaim } from "./claim.ts";
import { type DynamoKeys, findDynamo } from "./dynamo.ts";
import { withTenant } from "./hold.ts";
import { EXTERNAL, newClaim, type Recorded } from "./registry.ts";
import { OUTSIDER } from "./run.ts";

export interface Adoption {
  logicalName: string;
  /** The Dynamo namespaces of the deployment: `{ns}`, and `{ns}-{suffix}` of workers that have a suffix of their own. */
  dynamo: string[];
  recorded: Recorded;
}

/**
 * Claims a running Dynamo deployment's keys at etcd's root, old and new layouts alike; nothing of it is touched. A Tenant
 * of the same logical name with `adopt: true` takes the claim over.
 * @returns what is there now
 * @throws ClaimRefused when the name or one of the namespaces is claimed already
 */
export async function adoptExternal(stores: Stores, { logicalName, dynamo, recorded }: Adoption): Promise<DynamoKeys> {
  for (const namespace of dynamo) {
    const problem = dynamoNamespaceProblem(namespace);
    if (problem) throw new VisibleError(`Dynamo namespace '${namespace}' ${problem}`);
  }
  await withTenant(stores, OUTSIDER, logicalName, async (hold) => {
    const seen = await hold.claim();
    const same = seen?.claim.owner === EXTERNAL && String(seen.claim.dynamo) === String(dynamo);
    if (seen && !same) throw new ClaimRefused(logicalName, seen);
    if (!seen) await putClaim(stores, hold, { ...newClaim(EXTERNAL, logicalName, recorded), state: "active", dynamo });
  });
  return findDynamo(stores.etcd, dynamo);
}
