/** A tenant's part of Kubernetes, as a release sees it: one namespace, and what lies outside of namespaces. */
import { GENERATION_LABEL } from "../plan/labels.ts";
import { StoreError, until } from "../stores/errors.ts";
import type { Kubernetes, KubernetesObject, Located, PersistentVolume } from "../stores/kubernetes.ts";
import type { Stores } from "./access.ts";
import type { Caller } from "./hold.ts";

/** How long a step may wait for the cluster, milliseconds: Kubernetes' default grace for pods is 30 s. */
const CLUSTER_DEADLINE_MS = 180_000;

const POLL_MS = 250;

/** How many objects an error names. */
const NAMED = 10;

/**
 * Removes the namespace that carries the generation, waits until it is gone, and then does the same with the
 * cluster-scoped objects that carry it: until then its pods may need their roles.
 * @param deadlineMs for each of the two
 * @returns false when there was no such namespace, or one that is not ours
 * @throws StoreError that names what holds them; `unreachable` when the cluster does not answer
 */
export async function dropNamespace(
  stores: Stores,
  name: string,
  generation: string,
  call: Caller,
  deadlineMs = CLUSTER_DEADLINE_MS,
): Promise<boolean> {
  const kubernetes = await stores.kubernetes();
  const ours = (await kubernetes.namespace(name))?.metadata.labels?.[GENERATION_LABEL] === generation;
  if (ours) {
    await call(() => kubernetes.deleteNamespace(name));
    await until(async () => ((await kubernetes.namespace(name)) ? undefined : true), {
      deadlineMs,
      everyMs: POLL_MS,
      late: async () => notGone(kubernetes, `namespace '${name}'`, await holdersOf(kubernetes, name), deadlineMs),
    });
  }
  const outside = await clusterObjects(kubernetes, generation);
  for (const object of outside) await call(() => kubernetes.remove(object));
  const look = async () => (await clusterObjects(kubernetes, generation)).map(({ object }) => object);
  if (outside.length > 0) await untilNone(kubernetes, `what carries generation ${generation}`, look, deadlineMs);
  return ours;
}

/**
 * The last look at the cluster, for right before a claim is given up: the namespace, the cluster-scoped objects and the
 * volumes that were bound in the namespace are gone. Volumes whose reclaim policy has them deleted are waited for.
 * @param name the namespace
 * @throws StoreError that names what is left and the way out; `unreachable` when the cluster does not answer
 */
export async function requireNothingOutlives(
  stores: Stores,
  name: string,
  generation: string,
  deadlineMs = CLUSTER_DEADLINE_MS,
): Promise<void> {
  const kubernetes = await stores.kubernetes();
  const left = (await clusterObjects(kubernetes, generation)).map(({ object }) => inWords(object));
  if (left.length > 0)
    throw new StoreError(`${kubernetes.label} still has ${listed(left)}: run again, to have that removed`);
  // By now whoever has the name is somebody else, and so are the volumes bound there.
  const foreign = (await kubernetes.namespace(name)) !== undefined;
  const ours = ({ metadata, spec }: PersistentVolume) =>
    metadata.labels?.[GENERATION_LABEL] === generation || (!foreign && spec.claimRef?.namespace === name);
  const look = async () => {
    const volumes = (await kubernetes.persistentVolumes()).filter(ours);
    requirePassing(kubernetes, name, volumes);
    return volumes;
  };
  await untilNone(kubernetes, `what namespace '${name}' had in volumes`, look, deadlineMs);
}

/** @throws StoreError when a volume is there to stay: to wait for it would be in vain */
function requirePassing(kubernetes: Kubernetes, namespace: string, volumes: PersistentVolume[]): void {
  const lasting = volumes.filter(({ spec }) => spec.persistentVolumeReclaimPolicy === "Retain");
  if (lasting.length === 0) return;
  throw new StoreError(
    `${kubernetes.label}: of namespace '${namespace}' stay, for their reclaim policy is Retain, ${listed(lasting.map(inWords))}: ` +
      "delete each with its data, or keep it by removing its 'spec.claimRef', then run again",
  );
}

/** What carries the generation outside of namespaces. A machine is nobody's part, and volumes go by their own policy. */
async function clusterObjects(kubernetes: Kubernetes, generation: string): Promise<Located[]> {
  const found = await kubernetes.clusterObjects(`${GENERATION_LABEL}=${generation}`);
  return found.filter(({ object: { kind } }) => kind !== "Node" && kind !== "PersistentVolume");
}

/** Waits until a look finds nothing. */
async function untilNone(
  kubernetes: Kubernetes,
  what: string,
  look: () => Promise<KubernetesObject[]>,
  deadlineMs: number,
): Promise<void> {
  let left: KubernetesObject[] = [];
  const done = async () => {
    left = await look();
    return left.length === 0 ? true : undefined;
  };
  await until(done, {
    deadlineMs,
    everyMs: POLL_MS,
    late: () => notGone(kubernetes, what, left.map(inWords), deadlineMs),
  });
}

const notGone = ({ label }: Kubernetes, what: string, holders: string[], deadlineMs: number): StoreError =>
  new StoreError(
    `${label}: ${what} is not gone after ${deadlineMs / 1000} s, because of ${listed(holders)}: remove what holds it up, then run again`,
  );

/** What keeps a namespace that is being deleted: pods and finalizers in it, its own finalizers, and what its controller stumbles over. */
async function holdersOf(kubernetes: Kubernetes, name: string): Promise<string[]> {
  const namespace = await kubernetes.namespace(name);
  const { conditions = [] } = (namespace?.status ?? {}) as { conditions?: Condition[] };
  const troubles = conditions.filter(({ type, status }) => type.endsWith("Failure") && status === "True");
  // An API whose server is gone cannot be listed; that is what the conditions tell then.
  const inside = await kubernetes.objectsIn(name).catch((error: unknown) => {
    if (troubles.length === 0) throw error;
    return [];
  });
  const holding = inside.filter(({ kind, metadata }) => kind === "Pod" || (metadata.finalizers ?? []).length > 0);
  const holders = [
    ...holding.map(inWords),
    ...(namespace?.metadata.finalizers ?? []).map((finalizer) => `its own finalizer ${finalizer}`),
    ...troubles.map(({ message }) => message),
  ];
  return holders.length > 0 ? holders : inside.map(inWords);
}

interface Condition {
  type: string;
  status: string;
  message: string;
}

/** An object for people: what it is, and what tells why it is still there. */
function inWords({ kind, metadata, spec, status }: KubernetesObject): string {
  const { nodeName } = (spec ?? {}) as { nodeName?: string };
  const { phase, message } = (status ?? {}) as { phase?: string; message?: string };
  const details = [
    ...(phase ? [phase] : []),
    ...(nodeName ? [`on node ${nodeName}`] : []),
    ...(metadata.deletionTimestamp ? [`to end at ${metadata.deletionTimestamp}`] : []),
    ...(metadata.finalizers ?? []).map((finalizer) => `finalizer ${finalizer}`),
    ...(message ? [message] : []),
  ];
  return `${kind} '${metadata.name}'${details.length > 0 ? ` (${details.join(", ")})` : ""}`;
}

function listed(names: string[]): string {
  const more = names.length > NAMED ? [`${names.length - NAMED} more`] : [];
  return [...names.slice(0, NAMED), ...more].join(", ") || "nothing that can be listed";
}
