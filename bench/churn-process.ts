/** What `bench/churn.ts` does to a platform, in a process of its own. */
import { randomBytes } from "node:crypto";
import type { Access } from "../components/plan/access.ts";
import type { Etcd } from "../components/stores/etcd.ts";
import { openStores, type Stores } from "../components/tenancy/access.ts";
import { openAccount } from "../components/tenancy/account.ts";
import { claimTenant } from "../components/tenancy/claim.ts";
import { createLedger, deleteLedger } from "../components/tenancy/ledger.ts";
import { openPrefix } from "../components/tenancy/prefix.ts";
import { release } from "../components/tenancy/release.ts";
import { serve } from "./child.ts";

export interface Lives {
  /** `ringfence`: claimed and released; `plain`: role, grant, user, grant, and both deleted again. */
  way: "ringfence" | "plain";
  access: Access;
  /** How many tenants come and go, one after the other. */
  tenants: number;
}

const MIB = 2 ** 20;
const jetStream = { memoryBytes: 0, diskBytes: 16 * MIB, streams: 5, consumers: 5 };

/** As `pulumi up` and `pulumi destroy` do: the claim, its parts side by side, and everything away again. */
async function claimedLives(stores: Stores, tenants: number): Promise<void> {
  const owner = await createLedger(stores);
  for (let i = 0; i < tenants; i++) {
    const logicalName = `churn/t${i}`;
    const recorded = { project: "bench", stack: "churn", resource: logicalName };
    const { generation, attempt } = await claimTenant(stores, { owner, logicalName, recorded });
    const tenant = { owner, logicalName, generation };
    await Promise.all([openPrefix(stores, tenant), openAccount(stores, tenant, { users: ["worker"], jetStream })]);
    await release(stores, { ...tenant, attempt });
  }
  await deleteLedger(stores, owner);
}

async function plainLives(etcd: Etcd, tenants: number): Promise<void> {
  for (let i = 0; i < tenants; i++) {
    const name = `plain-${i}`;
    await etcd.addRole(name);
    await etcd.grantPrefix(name, `/${name}/`);
    await etcd.addUser(name, randomBytes(32).toString("base64url"));
    await etcd.grantRole(name, name);
    await etcd.deleteUser(name);
    await etcd.deleteRole(name);
  }
}

serve<Lives>(async ({ way, access, tenants }) => {
  const stores = openStores(access);
  const begun = performance.now();
  await (way === "ringfence" ? claimedLives(stores, tenants) : plainLives(stores.etcd, tenants));
  await stores.close();
  return (performance.now() - begun) / 1000;
});
