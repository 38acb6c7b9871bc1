/**
 * The outside: everything in the three stores that is not declared platform state. A snapshot from before an `up` and
 * one from after the `destroy` are equal, or something was left behind or disturbed (DESIGN, invariant 3).
 */
import { digestOf } from "../plan/digest.ts";
import { REGISTRY_PREFIX } from "../plan/names.ts";
import { until } from "../stores/errors.ts";
import type { KubernetesObject } from "../stores/kubernetes.ts";
import { decodeAccount } from "../stores/nats-jwt.ts";
import type { Stores } from "./access.ts";
import { keys } from "./registry.ts";
import { slotUsers } from "./slots.ts";

/** What is there → a mark that changes when it does. */
export type Snapshot = Record<string, string>;

/** Records of the registry that come and go by themselves: locks and notes of releases hold a lease, graves their time; and slots, which are nobody's yet. */
const DECLARED = [`${REGISTRY_PREFIX}locks/`, keys.graves, keys.released, keys.slots];

/** Kubernetes kinds that the cluster rewrites all the time. */
const RESTLESS = new Set(["Lease", "Event", "ComponentStatus"]);

/** How long controllers may take until two looks in a row are equal, milliseconds. */
const SETTLE_DEADLINE_MS = 60_000;

/** Takes a snapshot, once the stores have settled. */
export async function takeSnapshot(stores: Stores): Promise<Snapshot> {
  let last: Snapshot | undefined;
  return until(
    async () => {
      const now = await lookOnce(stores);
      const settled = last && compareSnapshots(last, now).length === 0;
      last = now;
      return settled ? now : undefined;
    },
    {
      deadlineMs: SETTLE_DEADLINE_MS,
      everyMs: 500,
      late: () =>
        new Error(`the stores do not settle within ${SETTLE_DEADLINE_MS / 1000} s: something else is changing them`),
    },
  );
}

/** The differences, a line each; none when nothing differs. */
export function compareSnapshots(before: Snapshot, after: Snapshot): string[] {
  const lines: string[] = [];
  for (const name of [...new Set([...Object.keys(before), ...Object.keys(after)])].sort()) {
    if (before[name] === after[name]) continue;
    lines.push(`${name} ${!(name in before) ? "was left behind" : !(name in after) ? "is missing" : "was changed"}`);
  }
  return lines;
}

async function lookOnce(stores: Stores): Promise<Snapshot> {
  const snapshot: Snapshot = {};
  const { etcd } = stores;
  for (const { key, modRevision, lease } of await etcd.list("", { keysOnly: true })) {
    // An unused ledger's record has a lease, and goes by itself.
    const declared =
      DECLARED.some((prefix) => key.startsWith(prefix)) || (key.startsWith(keys.stacks) && lease !== "0");
    if (!declared) snapshot[`etcd key ${key}`] = modRevision;
  }
  const slots = await slotUsers(stores);
  for (const user of await etcd.users())
    if (!slots.has(user)) snapshot[`etcd user ${user}`] = digestOf(await etcd.rolesOf(user));
  for (const role of await etcd.roles())
    if (!slots.has(role)) snapshot[`etcd role ${role}`] = digestOf(await etcd.permissionsOf(role));

  const nats = await stores.nats();
  for (const account of await nats.accounts()) {
    const jwt = await nats.lookup(account);
    snapshot[`NATS account ${account}`] = jwt ? digestOf(decodeAccount(jwt)) : "";
    for (const { name, messages, consumers } of await nats.streams(account)) {
      snapshot[`NATS stream ${name} of account ${account}`] = `${messages} messages, ${consumers} consumers`;
    }
  }

  for (const object of await (await stores.kubernetes()).objects()) {
    if (RESTLESS.has(object.kind)) continue;
    const { namespace, name } = object.metadata;
    snapshot[`Kubernetes ${object.kind} ${namespace ? `${namespace}/` : ""}${name}`] = digestOf(
      canonicalObject(object),
    );
  }
  return snapshot;
}

/** An object without what changes although nothing happens to it: versions, field managers, heartbeats. */
function canonicalObject({ metadata, status, ...rest }: KubernetesObject): unknown {
  const { resourceVersion, managedFields, ...lasting } = metadata;
  const calm = JSON.parse(JSON.stringify(status ?? {}), (key, value) =>
    key === "lastHeartbeatTime" || key === "lastTransitionTime" ? undefined : value,
  );
  return { ...rest, metadata: lasting, status: calm };
}
