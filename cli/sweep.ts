/** `ringfence sweep`: releases the claims of stacks that are gone, and nobody else's. */
import { createInterface } from "node:readline/promises";
import { VisibleError } from "../components/plan/visible-error.ts";
import type { Stores } from "../components/tenancy/access.ts";
import { receiptLine } from "../components/tenancy/receipt.ts";
import { EXTERNAL, type HeldClaim, listClaims } from "../components/tenancy/registry.ts";
import { sweepClaim } from "../components/tenancy/sweep.ts";
import { Backends, type Ownership } from "./backend.ts";
import { withStores } from "./stores.ts";
import { table } from "./table.ts";

export interface SweepOptions {
  dryRun?: boolean;
  yes?: boolean;
  /** Ids of the claims to release, and no others; `owner unknown` protects none of them. */
  claim?: string[];
}

/** A claim, and whose it is. */
interface Row {
  /** As in Pulumi's state: `<logical name>#<generation>`. */
  id: string;
  held: HeldClaim;
  ownership: Ownership | { owner: "external" };
}

/** @returns the exit code: 1 when what was to be released was not */
export function sweepCommand({ dryRun, yes, claim }: SweepOptions): Promise<number> {
  return withStores(async (stores) => {
    const rows = await ownersOf(await listClaims(stores.etcd));
    const chosen = claim?.map((id) => choose(rows, id)) ?? rows.filter(({ ownership }) => ownership.owner === "lost");
    console.log(sweepText(rows));
    if (chosen.length === 0) return 0;
    console.log(`\nto be released, with all data:\n${chosen.map(({ id }) => `  ${id}`).join("\n")}`);
    if (dryRun) return 0;
    if (!yes && !(await confirmed())) return 1;
    return (await releaseAll(stores, rows, chosen)) ? 0 : 1;
  });
}

async function ownersOf(claims: HeldClaim[]): Promise<Row[]> {
  const backends = new Backends();
  const rows = claims.map(async (held): Promise<Row> => {
    const external = held.claim.owner === EXTERNAL;
    return {
      id: `${held.logicalName}#${held.claim.generation}`,
      held,
      ownership: external ? { owner: "external" } : await backends.ownership(held),
    };
  });
  return Promise.all(rows);
}

/** @throws VisibleError when there is no such claim, or one that has an owner */
function choose(rows: Row[], id: string): Row {
  const row = rows.find((each) => each.id === id);
  if (!row)
    throw new VisibleError(`--claim ${id}: no such claim; 'ringfence sweep --dry-run' lists those without an owner`);
  const { ownership } = row;
  if (ownership.owner === "external")
    throw new VisibleError(
      `--claim ${id}: is external, and sweep never takes such a claim: bring it up with 'adopt: true', then destroy it`,
    );
  if (ownership.owner === "held")
    throw new VisibleError(`--claim ${id}: stack '${ownership.by}' holds it: destroy it there`);
  return row;
}

function sweepText(rows: Row[]): string {
  const counts = { held: 0, external: 0, lost: 0, unknown: 0 };
  for (const { ownership } of rows) counts[ownership.owner]++;
  const loose = rows.filter(({ ownership }) => ownership.owner !== "held");
  const lines = loose.map(({ id, held: { claim }, ownership }) => [
    id,
    claim.state,
    `${claim.recorded.project}/${claim.recorded.stack}`,
    ...ownerAndWhy(ownership, claim.recorded.backend),
  ]);
  return [
    ...(loose.length > 0 ? [table(["CLAIM", "STATE", "STACK", "OWNER", "WHY"], lines), ""] : []),
    `${rows.length} claims: ${counts.held} held by a stack, ${counts.external} external, ${counts.lost} lost, ${counts.unknown} owner unknown`,
  ].join("\n");
}

function ownerAndWhy(ownership: Row["ownership"], backend: string | undefined): [string, string] {
  switch (ownership.owner) {
    case "lost":
      return ["lost", `no stack in ${backend} has it`];
    case "external":
      return ["external", "a Tenant with 'adopt: true' takes it over"];
    case "unknown":
      return ["owner unknown", ownership.why];
    case "held":
      return ["held", ownership.by];
  }
}

/** Asks the person at the terminal; where there is none, says how to go on. */
async function confirmed(): Promise<boolean> {
  if (!process.stdin.isTTY) {
    console.error("nothing was released: run again with --yes");
    return false;
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await terminal.question("Release them? [y/N] ")).trim());
  } finally {
    terminal.close();
  }
}

/** One after another; one that fails does not keep the others. @returns whether all went well */
async function releaseAll(stores: Stores, rows: Row[], chosen: Row[]): Promise<boolean> {
  const left = new Set(rows);
  for (const row of chosen) {
    const { id, held, ownership } = row;
    const ofLedger = [...left].filter((each) => each.held.claim.owner === held.claim.owner);
    const ledgerGone = ownership.owner === "lost" && ownership.ledgerGone && ofLedger.length === 1;
    try {
      console.log(receiptLine(await sweepClaim(stores, held, { ledgerGone })));
      left.delete(row);
    } catch (error) {
      console.error(`${id}: ${(error as Error).message}`);
    }
  }
  return chosen.every((row) => !left.has(row));
}
