/** The gate between a pipeline's sources and the rest: a pause, and a deletion, go through when nothing is on its way any more. */
import { VERTEX_LABEL } from "../plan/labels.ts";
import type { Phase } from "../plan/spec.ts";
import type { TopologyPlan } from "../plan/topology.ts";
import { VisibleError } from "../plan/visible-error.ts";
import { pause } from "../stores/backoff.ts";
import { StoreError } from "../stores/errors.ts";
import type { Stores } from "./access.ts";
import { lookInside, requireAccount } from "./act.ts";
import { unreadOf } from "./buffer.ts";
import { formerClaim, isLive, type TenantRef, withClaim, withFormerClaim } from "./live-claim.ts";
import { putRecord, readTopology, sameTopology } from "./topology-record.ts";

const POLL_MS = 500;

/** Between two lines of progress, milliseconds. */
const PROGRESS_MS = 2_000;

/** How many buffers or pods a line names. */
const NAMED = 8;

export interface Gate {
  /** The account's public key. */
  account: string;
  /** The tenant's Kubernetes namespace. */
  namespace: string;
  phase: Phase;
  /** Names of the vertices that are sources. */
  sources: string[];
  /** Names of the buffers. */
  buffers: string[];
}

/** How a gate let through: `running`, `drained`, or `timed out, …` with what was left. */
export type Outcome = string;

/** What one look found: nothing left, or what is. */
interface Look {
  /** The last sequence of each buffer. */
  sequences: Record<string, number>;
  /** Names of the sources' pods that are still there. */
  pods: string[];
  /** Unread messages by buffer, those with none left out. */
  unread: Array<[buffer: string, unread: number]>;
  /** Why it could not be looked at all; that is never `drained`. */
  failure?: string;
}

/**
 * Lets a pipeline through to its phase: at once when it runs, and when it is paused as soon as nothing is on its way.
 * @param graceSeconds how long it waits for that at most
 * @throws VisibleError when the tenant has another account by now
 */
export async function passGate(stores: Stores, tenant: TenantRef, gate: Gate, graceSeconds: number): Promise<Outcome> {
  // The run is entered and the claim looked at here: an older run may still be at work on what this one counts.
  await withClaim(stores, tenant, async (_hold, { claim }) => requireAccount(tenant, claim, gate.account));
  await markLeaving(stores, tenant, false);
  if (gate.phase === "Running") return "running";
  return told(stores, tenant, outcomeOf(await drain(stores, tenant, gate, graceSeconds)));
}

/**
 * Lets a pipeline through to its deletion. When it is through, whatever is left in the buffers may go with them.
 * @param graceSeconds how long it waits at most; not at all for a paused pipeline, for it has no readers
 * @returns undefined when there is no such tenant any more
 */
export async function passForGood(
  stores: Stores,
  tenant: TenantRef,
  gate: Gate,
  graceSeconds: number,
): Promise<Outcome | undefined> {
  const claim = await formerClaim(stores, tenant);
  if (!claim || !isLive(claim) || claim.handedOut.account !== gate.account) return undefined;
  const left = await drain(stores, tenant, gate, gate.phase === "Paused" ? 0 : graceSeconds);
  await markLeaving(stores, tenant, true);
  return told(stores, tenant, outcomeOf(left));
}

function told({ progress }: Stores, { logicalName }: TenantRef, outcome: Outcome): Outcome {
  progress(`${logicalName}: ${outcome}`);
  return outcome;
}

/**
 * Waits until the sources' pods are gone and no buffer has an unread message: two looks in a row find none, and nothing
 * came between them, so there was a moment at which all were empty. A single look at one buffer after another could miss
 * a message that moves on behind it.
 * @returns what is left when the grace is over, or nothing
 */
async function drain(stores: Stores, tenant: TenantRef, gate: Gate, graceSeconds: number): Promise<Look | undefined> {
  const end = Date.now() + graceSeconds * 1000;
  const tell = teller(stores, `draining ${tenant.logicalName}`);
  let empty: Look | undefined;
  for (;;) {
    const look = await lookAt(stores, tenant, gate);
    if (isEmpty(look)) {
      if (empty && JSON.stringify(empty.sequences) === JSON.stringify(look.sequences)) return undefined;
      empty = look;
      continue;
    }
    empty = undefined;
    const left = end - Date.now();
    if (left <= 0) return look;
    tell(`${leftIn(look)}, ${Math.ceil(left / 1000)} s of its grace to go`);
    await pause(Math.min(POLL_MS, left));
  }
}

const outcomeOf = (left: Look | undefined): Outcome => (left ? `timed out, ${leftIn(left)}` : "drained");

const isEmpty = ({ pods, unread, failure }: Look): boolean =>
  pods.length + unread.length === 0 && failure === undefined;

async function lookAt(
  stores: Stores,
  tenant: TenantRef,
  { account, namespace, sources, buffers }: Gate,
): Promise<Look> {
  const look: Look = { sequences: {}, pods: [], unread: [] };
  try {
    const kubernetes = await stores.kubernetes();
    const pods =
      sources.length > 0 ? await kubernetes.pods(namespace, `${VERTEX_LABEL} in (${sources.join(",")})`) : [];
    look.pods = pods.map(({ metadata: { name } }) => name);
    const claim = await formerClaim(stores, tenant);
    const views = await lookInside(stores, { ...tenant, claim }, account, (jetStream) =>
      Promise.all(buffers.map((name) => jetStream.buffer(name))),
    );
    if (!views) return { ...look, failure: `the tenant's NATS account is not ${account} any more` };
    views.forEach((view, i) => {
      const name = buffers[i] as string;
      look.sequences[name] = view?.lastSequence ?? 0;
      if (unreadOf(view) > 0) look.unread.push([name, unreadOf(view)]);
    });
    return look;
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    return { ...look, failure: error.message };
  }
}

function leftIn({ pods, unread, failure }: Look): string {
  const parts: string[] = [];
  if (pods.length > 0) parts.push(`pods of sources are still there: ${listed(pods)}`);
  if (unread.length > 0) {
    const total = unread.reduce((sum, [, count]) => sum + count, 0);
    parts.push(`${total} ${total === 1 ? "message" : "messages"} left in ${inWords(unread)}`);
  }
  if (failure !== undefined) parts.push(`and it could not be looked at all: ${failure}`);
  return parts.join(", ");
}

const inWords = (unread: Look["unread"]): string => listed(unread.map(([name, count]) => `${name} (${count})`));

function listed(names: string[]): string {
  const more = names.length > NAMED ? [`${names.length - NAMED} more`] : [];
  return [...names.slice(0, NAMED), ...more].join(", ");
}

/** Tells a line now and then, and none twice. */
function teller({ progress }: Stores, what: string): (line: string) => void {
  let told = 0;
  let last = "";
  return (line) => {
    if (line === last || Date.now() - told < PROGRESS_MS) return;
    told = Date.now();
    last = line;
    progress(`${what}: ${line}`);
  };
}

/**
 * Waits until what left the topology has no unread messages.
 * @param readers the vertex that read each buffer
 * @param plan a vertex that it has reads what left no more, though it stays
 * @throws VisibleError when it still has some at the end of the grace; nothing reads it while the phase is Paused
 */
export async function untilRead(
  stores: Stores,
  tenant: TenantRef,
  readers: Record<string, string>,
  plan: Pick<TopologyPlan, "vertices"> | undefined,
  { phase, graceSeconds, ...where }: Omit<Gate, "sources" | "buffers"> & { graceSeconds: number },
): Promise<void> {
  const buffers = Object.keys(readers);
  if (buffers.length === 0) return;
  const gate = { ...where, phase, sources: [], buffers };
  const left = await drain(stores, tenant, gate, phase === "Paused" ? 0 : graceSeconds);
  if (!left) return;
  const unread = new Set(left.unread.map(([name]) => readers[name] as string));
  const stay = [...unread].filter((vertex) => plan?.vertices[vertex]);
  throw new VisibleError(
    `tenant '${tenant.logicalName}': what leaves the topology is not drained (${outcomeOf(left)}): ${wayOut(phase, stay)}. Or let the messages go with 'buffers.discard: true'`,
  );
}

const PAUSE_FIRST =
  "pause first: run 'pulumi up' with the topology before, then make this change with lifecycle.desiredPhase 'Paused', which drains it";

/** @param stay vertices that gave up a buffer with messages, and whose pods read it no more */
function wayOut(phase: Phase, stay: string[]): string {
  if (phase === "Paused") return "go back to the topology before and let it run until that is read";
  if (stay.length > 0) return `nobody reads it any more, for it was taken from ${listed(stay)}; ${PAUSE_FIRST}`;
  return `let its readers finish and run again; where a source that leaves still writes to it, ${PAUSE_FIRST}`;
}

/** Notes whether whatever is left of the tenant's streams may go with its messages. */
async function markLeaving(stores: Stores, tenant: TenantRef, leaving: boolean): Promise<void> {
  const { etcd } = stores;
  if ((await readTopology(etcd, tenant))?.record.leaving === leaving) return;
  await withFormerClaim(stores, tenant, isLive, async (hold) => {
    const topology = await readTopology(etcd, tenant);
    if (!topology || topology.record.state === "none") return;
    await hold.write([sameTopology(tenant, topology)], [putRecord(tenant, { ...topology.record, leaving })]);
  });
}

/** Whether a gate's deletion went through and the tenant stayed: a destroy was killed after it. */
export async function isLeaving({ etcd }: Stores, tenant: TenantRef): Promise<boolean> {
  return (await readTopology(etcd, tenant))?.record.leaving === true;
}
