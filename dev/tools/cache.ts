import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { access, mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { ToolGroup } from "./catalog.ts";
import { isAlive } from "./lock.ts";

/** Where a cached group came from; lies beside it. */
export interface Receipt {
  origin: "download" | "build";
  /** One line: `download from <URL>` or `built from <module@version> with <go version>`. */
  from: string;
  /** When, as ISO 8601. */
  at: string;
}

const RECEIPT = "ringfence.json";

export function pathOf(group: ToolGroup, binary: string): string {
  return join(group.directory, group.bin, binary);
}

/** Whether every binary of the group, and every helper that one of them starts, is in the cache. */
export async function isCached(group: ToolGroup): Promise<boolean> {
  return (await lacking(group, group.directory)).length === 0;
}

async function lacking(group: ToolGroup, directory: string): Promise<string[]> {
  const names = [...group.binaries.map(({ name }) => name), ...(group.helpers?.required ?? [])];
  const found = await Promise.all(names.map((name) => isExecutable(join(directory, group.bin, name))));
  return names.filter((_, index) => !found[index]);
}

export async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    const found = await stat(path);
    return found.isFile() && found.size > 0;
  } catch {
    return false;
  }
}

/** The receipt of a cached group, or undefined when something else than Ringfence put it there. */
export async function readReceipt(group: ToolGroup): Promise<Receipt | undefined> {
  try {
    return JSON.parse(await readFile(join(group.directory, RECEIPT), "utf8")) as Receipt;
  } catch {
    return undefined;
  }
}

/**
 * Fills a directory of its own beside the group's and renames it to the group's: the group is there whole or not at
 * all, wherever this process is killed. What a killed one has left behind is removed.
 * @param fill brings the binaries into a directory laid out like the group's, and says where they came from
 * @throws what `fill` throws, and when it has left out a binary
 */
export async function install(
  group: ToolGroup,
  fill: (into: string) => Promise<Omit<Receipt, "at">>,
): Promise<Receipt> {
  const parent = dirname(group.directory);
  const prefix = `.${basename(group.directory)}.`;
  await mkdir(parent, { recursive: true });
  await removeAbandoned(parent, prefix);
  const draft = join(parent, `${prefix}${process.pid}.${randomUUID()}`);
  try {
    await mkdir(draft);
    const receipt = { ...(await fill(draft)), at: new Date().toISOString() };
    if (receipt.origin === "build") await copyHelpers(group, join(draft, group.bin));
    const absent = await lacking(group, draft);
    if (absent.length > 0)
      throw new Error(`${group.name} ${group.version}: ${absent.join(", ")} not in ${receipt.from}`);
    await writeFile(join(draft, RECEIPT), `${JSON.stringify(receipt, null, 2)}\n`);
    await replace(draft, group.directory);
    return receipt;
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** A directory cannot be renamed over one that has files: what is there, incomplete as it is, goes aside first. */
async function replace(draft: string, directory: string): Promise<void> {
  const aside = `${draft}.old`;
  await rename(directory, aside).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
  await rename(draft, directory);
  await rm(aside, { recursive: true, force: true });
}

async function removeAbandoned(parent: string, prefix: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const pid = name.startsWith(prefix) ? Number(name.slice(prefix.length).split(".")[0]) : Number.NaN;
    if (pid && pid !== process.pid && !isAlive(pid)) await rm(join(parent, name), { recursive: true, force: true });
  }
}

/** Brings this Ringfence's helpers to a group that an earlier one has built; a download's are its own. */
export async function refreshHelpers(group: ToolGroup): Promise<void> {
  if (group.helpers && (await readReceipt(group))?.origin === "build") {
    await copyHelpers(group, join(group.directory, group.bin));
  }
}

async function copyHelpers({ helpers }: ToolGroup, bin: string): Promise<void> {
  if (!helpers) return;
  for (const name of await readdir(helpers.directory)) {
    const wanted = await readFile(join(helpers.directory, name));
    const path = join(bin, name);
    const found = await readFile(path).catch(() => undefined);
    if (found?.equals(wanted)) continue;
    const draft = `${path}.${randomUUID()}`;
    await writeFile(draft, wanted, { mode: 0o755 });
    await rename(draft, path);
  }
}
