/** A tenant on an embedded platform, as a pipeline's vertex finds it. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { openStores } from "../components/tenancy/access.ts";
import { openAccount } from "../components/tenancy/account.ts";
import { claimTenant } from "../components/tenancy/claim.ts";
import { createLedger, deleteLedger } from "../components/tenancy/ledger.ts";
import { openPrefix } from "../components/tenancy/prefix.ts";
import { resolveAccess } from "../components/tenancy/resolve-access.ts";
import { openPlatform } from "./platform.ts";

/** What a vertex finds in its environment. */
export type Environment = Record<string, string>;

const MIB = 2 ** 20;

/**
 * @param home of a platform that runs already @default one of its own, which ends with the tenant
 * @param work gets the environment of one of the tenant's vertices
 */
export async function withTenant(home: string | undefined, work: (env: Environment) => Promise<void>): Promise<void> {
  const { scratch, env, end } = await openPlatform(home);
  try {
    process.env.RINGFENCE_PLATFORM = env.RINGFENCE_PLATFORM;
    await onPlatform(scratch, work);
  } finally {
    await end();
  }
}

async function onPlatform(scratch: string, work: (env: Environment) => Promise<void>): Promise<void> {
  const access = resolveAccess("platform", () => undefined);
  const stores = openStores(access);
  const owner = await createLedger(stores);
  try {
    const recorded = { project: "bench", stack: "bench", resource: "chat" };
    const logicalName = `bench-${process.pid}/chat`;
    const claimed = await claimTenant(stores, { owner, logicalName, recorded });
    const tenant = { owner, logicalName, generation: claimed.generation };
    const jetStream = { memoryBytes: MIB, diskBytes: MIB, streams: 1, consumers: 1 };
    const etcd = await openPrefix(stores, tenant);
    const nats = await openAccount(stores, tenant, { users: ["worker"], jetStream });
    const creds = join(scratch, "nats.creds");
    writeFileSync(creds, nats.creds.worker as string, { mode: 0o600 });
    await work({
      RINGFENCE_PIPELINE: "chat",
      RINGFENCE_VERTEX: "worker",
      RINGFENCE_ETCD_PREFIX: etcd.prefix,
      ETCD_ENDPOINTS: access.etcd.endpoints.join(","),
      ETCD_AUTH_USERNAME: etcd.username,
      ETCD_AUTH_PASSWORD: etcd.password,
      NATS_SERVER: access.nats.servers.join(","),
      NATS_AUTH_CREDENTIALS_FILE: creds,
    });
  } finally {
    await deleteLedger(stores, owner);
    await stores.close();
  }
}
