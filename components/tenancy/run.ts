/**
 * A run is one `pulumi` command's acts on a stack. Its epoch is the revision at which it last wrote the stack's record:
 * a newer run writes that record again, and from then on every guarded transaction of the older one fails.
 */

import { VisibleError } from "../plan/visible-error.ts";
import { type Compare, op, when } from "../stores/etcd-txn.ts";
import type { Stores } from "./access.ts";
import { keys, type StackRecord } from "./registry.ts";

/**
 * An unused ledger's record goes by itself after this long, seconds: its `create` may have been killed before Pulumi
 * noted the ledger. The first act of the stack makes the record last.
 */
const UNUSED_LEDGER_TTL = 3600;

/** Who acts: the stack and its run. */
export interface Runner {
  ledger: string;
  /** From `enterRun`. */
  epoch: string;
}

/** Thrown when something newer has taken over: what this run has begun, that one finishes. */
export class Superseded extends VisibleError {
  constructor(what: string) {
    super(`${what}: a newer run has taken over, so this one writes nothing more; let that one finish, then run again`);
    this.name = "Superseded";
  }
}

/** Who acts for no stack: a sweep, or a registration from outside. Its epoch is that of a record that is never there. */
export const OUTSIDER: Runner = { ledger: "nobody", epoch: "0" };

interface Run {
  epoch: string;
  /** The stack's when the run began; undefined when it had no record. */
  state: StackRecord["state"] | undefined;
}

/** This process' runs, by store and ledger. */
const runs = new Map<string, Promise<Run>>();

const runKey = (stores: Stores, ledger: string) => `${stores.etcd.label} ${ledger}`;

/** Records a new ledger. */
export async function openLedger(stores: Stores, ledger: string): Promise<void> {
  const lease = await stores.etcd.grantLease(UNUSED_LEDGER_TTL);
  const record: StackRecord = { state: "open", run: 0 };
  await stores.etcd.txn([when.absent(keys.stack(ledger))], [op.put(keys.stack(ledger), JSON.stringify(record), lease)]);
}

/** How a ledger is recorded; undefined when it is not. */
export async function ledgerState({ etcd }: Stores, ledger: string): Promise<StackRecord["state"] | undefined> {
  const entry = await etcd.get(keys.stack(ledger));
  return entry && (JSON.parse(entry.value) as StackRecord).state;
}

/**
 * Begins this process' run of a stack, once; later calls join it.
 * @param purpose `create` is refused when the stack is closing or gone: a killed run's surviving process must not claim
 * anything after the destroy
 * @returns the epoch
 */
export async function enterRun(stores: Stores, ledger: string, purpose: "create" | "release"): Promise<string> {
  const key = runKey(stores, ledger);
  const { epoch, state } = await (runs.get(key) ?? keep(key, begin(stores, ledger, purpose)));
  if (purpose === "create") requireOpen(ledger, state);
  return epoch;
}

/** Sets the stack to closing under a new epoch; from here on nothing is created for it. */
export async function closeRun(stores: Stores, ledger: string): Promise<string> {
  return (await keep(runKey(stores, ledger), begin(stores, ledger, "close"))).epoch;
}

/** A run that could not begin is forgotten. */
function keep(key: string, run: Promise<Run>): Promise<Run> {
  runs.set(key, run);
  run.catch(() => runs.delete(key));
  return run;
}

/** Removes the stack's record: the very last act. */
export async function forgetLedger(stores: Stores, ledger: string, epoch: string): Promise<void> {
  const key = keys.stack(ledger);
  for (const { lease } of await stores.etcd.list(keys.releasedBy(ledger))) await stores.etcd.revokeLease(lease);
  const { succeeded } = await stores.etcd.txn([when.unchanged(key, epoch)], [op.remove(key)]);
  if (!succeeded && (await stores.etcd.get(key))) throw new Superseded(`ledger ${ledger}`);
  runs.delete(runKey(stores, ledger));
}

/** Holds only while no newer run of the stack has acted. */
export const stillRunning = (ledger: string, epoch: string): Compare => when.unchanged(keys.stack(ledger), epoch);

async function begin(stores: Stores, ledger: string, purpose: "create" | "release" | "close"): Promise<Run> {
  const key = keys.stack(ledger);
  const entry = await stores.etcd.get(key);
  const record = entry && (JSON.parse(entry.value) as StackRecord);
  if (purpose === "create") requireOpen(ledger, record?.state);
  // A release needs no record, only that none appears: a missing key's mod revision is 0.
  if (purpose === "release" && !record) return { epoch: "0", state: undefined };
  const state = purpose === "close" ? "closing" : (record?.state ?? "closing");
  const next: StackRecord = { state, run: (record?.run ?? 0) + 1 };
  const seen = entry ? when.unchanged(key, entry.modRevision) : when.absent(key);
  const { succeeded, revision } = await stores.etcd.txn([seen], [op.put(key, JSON.stringify(next))]);
  // Another run has begun since we looked. To look again would make us the newest, and we may be a killed run's process.
  if (!succeeded) throw new Superseded(`ledger ${ledger}`);
  if (entry && entry.lease !== "0") await stores.etcd.revokeLease(entry.lease);
  return { epoch: revision, state };
}

function requireOpen(ledger: string, state: Run["state"]): void {
  if (state === "open") return;
  const found = state ? "is being destroyed" : "is not in the registry";
  throw new VisibleError(
    `ledger ${ledger} ${found}, so nothing may be claimed for it: run 'pulumi refresh', then 'pulumi up' again`,
  );
}
