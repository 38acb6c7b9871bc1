/** A run of a stack that takes a tenant's lock, says so, and hangs: `fork("holder.ts", [ledger, logicalName])`. */
import { withTenant } from "../../components/tenancy/hold.ts";
import { enterRun } from "../../components/tenancy/run.ts";
import { newProcess } from "./scene.ts";

const [ledger = "", logicalName = ""] = process.argv.slice(2);
const stores = newProcess();
const epoch = await enterRun(stores, ledger, "create");
await withTenant(stores, { ledger, epoch }, logicalName, () => {
  process.send?.("held");
  // Until it is killed, or its parent is gone.
  process.channel?.ref();
  return new Promise(() => {});
});
