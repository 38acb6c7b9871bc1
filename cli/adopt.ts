/**
 * `ringfence adopt`: puts what has no claim under one, while its workers serve on: the data of a Dynamo deployment from
 * before Ringfence, or with `--from-state` the tenants that Pulumi's state has and a restored registry lacks.
 */
import { hostname, userInfo } from "node:os";
import { logicalNameProblem } from "../components/plan/names.ts";
import { VisibleError } from "../components/plan/visible-error.ts";
import { adoptExternal } from "../components/tenancy/adopt.ts";
import { adoptFromState, type Readoption } from "../components/tenancy/restored.ts";
import { type StateTenant, tenantsInState } from "./from-state.ts";
import { withStores } from "./stores.ts";
import { table } from "./table.ts";

export interface AdoptOptions {
  dynamoNamespace?: string[];
  fromState?: string;
}

/** @returns the exit code */
export async function adoptCommand(
  logicalName: string | undefined,
  { dynamoNamespace, fromState }: AdoptOptions,
): Promise<number> {
  if (fromState !== undefined && !logicalName && !dynamoNamespace) return adoptState(fromState);
  if (fromState !== undefined || !logicalName || !dynamoNamespace)
    throw new VisibleError(
      `found ${given(logicalName, dynamoNamespace, fromState)}; expected either <logical-name> and --dynamo-namespace, or --from-state alone: see 'ringfence adopt --help'`,
    );
  await adoptDeployment(logicalName, dynamoNamespace);
  return 0;
}

/** Which of them there are. */
function given(logicalName?: string, dynamoNamespace?: string[], fromState?: string): string {
  const found = [logicalName && "<logical-name>", dynamoNamespace && "--dynamo-namespace", fromState && "--from-state"];
  return found.filter(Boolean).join(" and ") || "nothing";
}

async function adoptDeployment(logicalName: string, dynamo: string[]): Promise<void> {
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

const OUTCOMES: Record<Readoption, string> = {
  restored: "claimed again",
  there: "is claimed",
  released: "was released since, and stays so",
};

/** @returns the exit code: 1 when a tenant could not be claimed again */
async function adoptState(file: string): Promise<number> {
  const tenants = tenantsInState(file);
  const rows: string[][] = [];
  let refused = 0;
  for (const tenant of tenants) {
    const outcome = await readopt(tenant).catch((error: Error) => {
      refused++;
      return error.message;
    });
    rows.push([tenant.logicalName, tenant.generation, outcome]);
  }
  if (rows.length > 0) console.log(`${table(["TENANT", "GENERATION", "OUTCOME"], rows)}\n`);
  console.log(`${tenants.length} tenants in ${file}, ${refused} of them refused`);
  if (refused < tenants.length)
    console.log("next: 'pulumi up' makes again what etcd lacks; what tenants wrote since the backup is lost");
  return refused > 0 ? 1 : 0;
}

const readopt = (tenant: StateTenant): Promise<string> =>
  withStores(async (stores) => OUTCOMES[await adoptFromState(stores, tenant)], tenant.platform);
