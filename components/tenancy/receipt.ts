/** What a release removed, and that nothing is left: printed, and written as JSON where RINGFENCE_RECEIPTS says. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Removed } from "./registry.ts";

export interface Receipt {
  logicalName: string;
  generation: string;
  removed: Removed;
  /** What the last look found; a release ends only when it is 0. */
  residue: 0;
  /** etcd's revisions at the first and the last act. */
  revisions: { from: string; to: string };
  durationMs: number;
  /** What could not be looked at, for example a cluster that is gone. */
  notes: string[];
}

/** One line for people. */
export function receiptLine({ logicalName, removed, revisions, durationMs, notes }: Receipt): string {
  const counts = Object.entries(removed)
    .filter(([, count]) => count > 0)
    .map(([what, count]) => `${count} ${count === 1 ? what.slice(0, -1) : what}`);
  const found = counts.length > 0 ? counts.join(", ") : "nothing was left to remove";
  return [
    `released ${logicalName}: ${found}; residue 0`,
    `revisions ${revisions.from}-${revisions.to}, ${(durationMs / 1000).toFixed(1)} s`,
    ...notes,
  ].join("; ");
}

/** Writes the receipt as a file of its own, when a directory is asked for. */
export function fileReceipt(receipt: Receipt, directory = process.env.RINGFENCE_RECEIPTS): void {
  if (!directory) return;
  mkdirSync(directory, { recursive: true });
  const name = `${receipt.logicalName.replaceAll("/", ".")}.${receipt.generation}.json`;
  writeFileSync(join(directory, name), `${JSON.stringify(receipt, null, 2)}\n`);
}
