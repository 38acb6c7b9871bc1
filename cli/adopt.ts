/** `ringfence adopt`: puts the data of a Dynamo deployment from before Ringfence under a claim, while its workers serve on. */
import { hostname, userInfo } from "node:os";
import { logicalNameProblem } from "../components/plan/names.ts";
import { VisibleError } from "../components/plan/visible-error.ts";
import { adoptExternal } from "../components/tenancy/adopt.ts";
import { withStores } from "./stores.ts";
import { table } from "./table.ts";

export interface AdoptOptions {
  dynamoNamespace: string[];
}

export async function adoptCommand(logicalName: string, { dynamoNamespace: dynamo }: AdoptOptions): Promise<void> {
  const problem = logicalNameProblem(logicalName);
  if (problem) throw new VisibleError(`'${logicalName}' ${problem}; a logical name is <realm>/<pipeline>`);
  const recorded = { project: "external", stack: "ringfence adopt", resource: `${userInfo().username}@${hostname()}` };
  const { counts, total } = await withStores((stores) => adoptExternal(stores, { logicalName, dynamo, recorded }));
  const rows = Object.entries(counts).map(([prefix, count]) => [prefix, String(count)]);
  if (rows.length > 0) console.log(`${table(["KEYS BELOW", "COUNT"], rows)}\n`);
  const pipeline = logicalName.split("/").at(-1);
  console.log(
    `${logicalName} has ${total} keys of ${dynamo.join(", ")}, and is external: nothing was touched, no sweep takes it, no other claim may overlap it`,
  );
  console.log(`next: bring pipeline '${pipeline}' up with 'adopt: true'; its destroy then removes these keys, too`);
}
