/** The snapshot of everything outside, from before the first `up`, that `destroy` is held to. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import type { Stores } from "../components/tenancy/access.ts";
import { compareSnapshots, type Snapshot, takeSnapshot } from "../components/tenancy/outside.ts";
import { keys, listClaims } from "../components/tenancy/registry.ts";
import { layout } from "../dev/platform/layout.ts";
import { platformHome, progress } from "./home.ts";

const file = () => layout(platformHome()).outside;

/** Takes the snapshot while no tenant lives; once one does, the one that was taken stands. */
export async function rememberOutside(stores: Stores): Promise<void> {
  if ((await listClaims(stores.etcd)).length > 0) return;
  // A pulumi that was killed leaves its stack's record also without a claim: that goes with the stack, so it is not outside.
  const isStack = (await stores.etcd.list(keys.stacks)).some(({ lease }) => lease === "0");
  if (isStack && existsSync(file())) return;
  progress("noting what is outside, for the destroy to be held to");
  writeFileSync(file(), JSON.stringify(await takeSnapshot(stores), null, 1), { mode: 0o600 });
}

/** What differs from the snapshot, a line each; undefined when none was taken. */
export async function differencesOutside(stores: Stores): Promise<string[] | undefined> {
  if (!existsSync(file())) return undefined;
  const before = JSON.parse(readFileSync(file(), "utf8")) as Snapshot;
  return compareSnapshots(before, await takeSnapshot(stores));
}
