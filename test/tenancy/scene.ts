/** What the suites of this room share: stacks that act on the platform, tenants with their own clients, and a look at what is left. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { CoreV1Api } from "@kubernetes/client-node";
import type { Etcd3 } from "etcd3";
import { connect, credsAuthenticator, type NatsConnection } from "nats";
import { until } from "../../components/stores/errors.ts";
import { op, when } from "../../components/stores/etcd-txn.ts";
import type { JetStreamShare } from "../../components/stores/nats-jwt.ts";
import { openStores, type Stores } from "../../components/tenancy/access.ts";
import { type OpenAccount, openAccount, ourAccounts } from "../../components/tenancy/account.ts";
import { audit } from "../../components/tenancy/audit.ts";
import { type Claimed, claimTenant } from "../../components/tenancy/claim.ts";
import { createLedger, deleteLedger } from "../../components/tenancy/ledger.ts";
import type { TenantRef } from "../../components/tenancy/live-claim.ts";
import { type OpenPrefix, openPrefix } from "../../components/tenancy/prefix.ts";
import { type Grave, keys, listClaims, type Recorded } from "../../components/tenancy/registry.ts";
import { resolveAccess } from "../../components/tenancy/resolve-access.ts";
import type { Present } from "../../components/tenancy/rotation.ts";
import { etcdClient } from "../support/etcd.ts";

export const access = resolveAccess("platform", () => assert.fail("RINGFENCE_PLATFORM is not set; run by npm test"));

const MIB = 2 ** 20;
export const jetStream = { memoryBytes: 16 * MIB, diskBytes: 64 * MIB, streams: 10, consumers: 10 };

/** A realm of its own for each suite: they share the platform and see nothing of each other. */
export const newRealm = (): string => `t${randomBytes(5).toString("hex")}`;

const opened = new Set<Stores>();

/** Opens stores as a process of its own would: runs and queues are kept by the label. */
export function newProcess(at = access): Stores {
  const stores = openStores(at);
  const { etcd } = stores;
  const label = `${etcd.label} (process ${opened.size + 1})`;
  const own = new Proxy(etcd, {
    get: (target, name) => (name === "label" ? label : bound(target, name)),
  });
  const process = { ...stores, etcd: own };
  opened.add(process);
  return process;
}

/** A property of a client behind a proxy; its methods need their own `this`, for they have private fields. */
export function bound<T extends object>(target: T, name: string | symbol): unknown {
  const value = Reflect.get(target, name, target) as unknown;
  return typeof value === "function" ? value.bind(target) : value;
}

/** A tenant that is complete: claimed, with its etcd and NATS parts. */
export interface Tenant extends TenantRef {
  claimed: Claimed;
  etcd: OpenPrefix;
  nats: OpenAccount;
}

export const recorded = (resource: string): Recorded => ({ project: "suite", stack: "test", resource });

/** Makes a tenant as `pulumi up` does: the claim, then the parts side by side. */
export async function provision(
  stores: Stores,
  owner: string,
  logicalName: string,
  share: JetStreamShare = jetStream,
): Promise<Tenant> {
  const claimed = await claimTenant(stores, { owner, logicalName, recorded: recorded(logicalName) });
  const ref = { owner, logicalName, generation: claimed.generation };
  const parts = [openPrefix(stores, ref), openAccount(stores, ref, { users: ["worker"], jetStream: share })] as const;
  // The engine, too, waits for what it has begun when one part fails.
  await Promise.allSettled(parts);
  const [etcd, nats] = await Promise.all(parts);
  return { ...ref, claimed, etcd, nats };
}

/** The credentials that a tenant has now. */
export const presentOf = ({ claimed, etcd, nats }: Tenant): Present => ({
  username: etcd.username,
  account: nats.account,
  signingKey: nats.signingKey,
  jetStream,
  namespace: claimed.namespace,
  credentials: "new",
});

const ledgers: string[] = [];

/** A new stack's ledger, deleted by `tidy`. */
export async function newLedger(stores: Stores): Promise<string> {
  const ledger = await createLedger(stores);
  ledgers.push(ledger);
  return ledger;
}

const clients: Array<() => unknown> = [];

/** An etcd client with a tenant's credentials. */
export function etcdOf(tenant: Tenant): Etcd3 {
  const client = etcdClient(access.etcd.endpoints, tenant.etcd);
  clients.push(() => client.close());
  return client;
}

/** A NATS connection with a tenant's credentials; it does not come back by itself. */
export async function natsOf(tenant: Tenant): Promise<NatsConnection> {
  const creds = new TextEncoder().encode(tenant.nats.creds.worker);
  const authenticator = credsAuthenticator(creds);
  const connection = await connect({ servers: access.nats.servers, authenticator, reconnect: false, name: "worker" });
  clients.push(() => connection.close());
  return connection;
}

/** How long a controller may take on a busy machine, milliseconds. */
const CONTROLLER_MS = 120_000;

/** Waits until pods may be made in a namespace: their account comes a moment after it. */
export async function untilPodsMayCome(core: CoreV1Api, namespace: string): Promise<void> {
  await until(() => core.readNamespacedServiceAccount({ namespace, name: "default" }).catch(() => undefined), {
    deadlineMs: CONTROLLER_MS,
    late: () => new Error(`namespace ${namespace} has no ServiceAccount`),
  });
}

const going: string[] = [];

/** Deletes a namespace, whose end `tidy` waits for: suites that come after take snapshots of the cluster, and audit it. */
export async function deleteNamespace(core: CoreV1Api, name: string): Promise<void> {
  await core.deleteNamespace({ name });
  going.push(name);
}

/** Closes every client, releases every stack, closes every process. For `after`. */
export async function tidy(): Promise<void> {
  for (const close of clients.splice(0)) await close();
  const stores = newProcess();
  for (const ledger of ledgers.splice(0)) await deleteLedger(stores, ledger);
  for (const name of going.splice(0)) {
    const kubernetes = await stores.kubernetes();
    await until(async () => ((await kubernetes.namespace(name)) ? undefined : true), {
      deadlineMs: CONTROLLER_MS,
      late: () => new Error(`namespace ${name} is still there`),
    });
  }
  for (const process of opened) await process.close();
  opened.clear();
}

/** Lets the time of every grave be over. */
export async function passTime({ etcd }: Stores): Promise<void> {
  for (const { key, value } of await etcd.list(keys.graves))
    await etcd.txn([], [op.put(key, JSON.stringify({ ...(JSON.parse(value) as Grave), notBefore: 0 }))]);
}

/** Keeps every grave that there is from being due: a claim empties those first, which are further writes of its. */
export async function holdTime({ etcd }: Stores): Promise<void> {
  for (const { key, value, modRevision } of await etcd.list(keys.graves)) {
    const grave: Grave = { ...(JSON.parse(value) as Grave), notBefore: Date.now() + 3_600_000 };
    await etcd.txn([when.unchanged(key, modRevision)], [op.put(key, JSON.stringify(grave))]);
  }
}

/** Whatever the stores still have of a realm, graves and locks left out. */
export async function tracesOf(stores: Stores, realm: string): Promise<string[]> {
  const { etcd } = stores;
  const traces = (await listClaims(etcd)).map(({ logicalName }) => logicalName).filter((name) => inRealm(name, realm));
  for (const { key, value } of await etcd.list(keys.generations)) if (inRealm(value, realm)) traces.push(key);
  for (const { account, tenant } of await ourAccounts(stores))
    if (inRealm(tenant.logicalName, realm)) traces.push(account);
  // Physical names do not tell the realm.
  traces.push(...(await audit(stores)).findings.map(({ kind, name }) => `${kind} ${name}`));
  return traces;
}

const inRealm = (logicalName: string, realm: string) => logicalName === realm || logicalName.startsWith(`${realm}/`);
