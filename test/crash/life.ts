/** One tenant's life, as far as a case needs it: what the program asks for, the tenant's own data, and somebody's meddling. */
import assert from "node:assert/strict";
import { CoreV1Api, KubeConfig } from "@kubernetes/client-node";
import { connect, credsAuthenticator } from "nats";
import type { Access } from "../../components/plan/access.ts";
import { GENERATION_LABEL, OWNER_LABEL } from "../../components/plan/labels.ts";
import { Etcd } from "../../components/stores/etcd.ts";
import { op } from "../../components/stores/etcd-txn.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { readClaim } from "../../components/tenancy/registry.ts";
import type { Engine, Program, Resource, State } from "./engine.ts";

/** What is crashed: the commands by which a tenant is made, changed and removed; the first `up` of many makes slots as well. */
export const acts = ["create", "create without slots", "update", "delete"] as const;
export type Act = (typeof acts)[number];

/** The first deployment of a tenant, and a later one of a stack that was renamed. */
export const first = (logicalName: string): Program => ({ logicalName, stack: "dev", users: ["worker"] });
export const second = (logicalName: string): Program => ({ logicalName, stack: "prod", users: ["worker", "web"] });

/** Has the engine do it. */
export async function perform(engine: Engine, act: Act, logicalName: string): Promise<void> {
  if (act === "delete") return engine.destroy();
  if (act !== "update") return engine.up(first(logicalName));
  await engine.refresh();
  return engine.up(second(logicalName));
}

/** Brings the tenant to where the act begins. */
export async function prepare(stores: Stores, engine: Engine, act: Act, logicalName: string): Promise<void> {
  if (act !== "update" && act !== "delete") return;
  await engine.up(first(logicalName));
  await live(stores.access, engine.state);
  if (act === "update") await meddle(stores, engine.state);
}

/** Seconds: longer than any matrix takes, for one tenant is there from its beginning to its end. */
const TENANT_LEASE = 7_200;

/** The tenant writes with its own credentials to both stores: keys, one of them under a lease, and a stream. */
export async function live(access: Access, state: State): Promise<void> {
  const { prefix, username, password } = part(state, "prefix").outs;
  // The client that rides out authentication changes: other cases make them all the while.
  const etcd = new Etcd({ endpoints: access.etcd.endpoints, username, password });
  try {
    const lease = await etcd.grantLease(TENANT_LEASE);
    await etcd.txn([], [op.put(`${prefix}config`, "1"), op.put(`${prefix}worker/1`, "up", lease)]);
  } finally {
    etcd.close();
  }
  const authenticator = credsAuthenticator(new TextEncoder().encode(part(state, "account").outs.creds.worker));
  const nats = await connect({ servers: access.nats.servers, authenticator, reconnect: false });
  try {
    await (await nats.jetstreamManager()).streams.add({ name: "WORK", subjects: ["work"] });
    await nats.jetstream().publish("work", "1");
  } finally {
    await nats.close();
  }
}

/** The tenant is claimed, and its own credentials work in both stores. */
export async function assertWhole(stores: Stores, logicalName: string, state: State): Promise<void> {
  const seen = await readClaim(stores.etcd, logicalName);
  assert.equal(seen?.claim.state, "active");
  assert.equal(seen.claim.generation, part(state, "claim").outs.generation);
  assert.equal(seen.claim.open, false);
  await live(stores.access, state);
}

/** Somebody widens the role, for an update to take back. */
async function meddle({ etcd }: Stores, state: State): Promise<void> {
  const { username, prefix } = part(state, "prefix").outs;
  await etcd.grantPrefix(username, `/meddled${prefix}`);
}

/** The namespace, which Pulumi's Kubernetes provider makes and deletes; here a release finds it, which takes it 5 s. */
export async function addNamespace({ kubernetes }: Access, state: State): Promise<void> {
  const { namespace, generation, owner } = part(state, "claim").outs;
  const config = new KubeConfig();
  config.loadFromFile(kubernetes.kubeconfig ?? "");
  const labels = { [OWNER_LABEL]: owner, [GENERATION_LABEL]: generation };
  await config.makeApiClient(CoreV1Api).createNamespace({ body: { metadata: { name: namespace, labels } } });
}

const part = (state: State, name: keyof State): Resource => state[name] ?? assert.fail(`there is no ${name} in state`);
