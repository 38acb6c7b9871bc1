/** Brings the tools of the embedded platform to a machine that lacks them, each in the version Ringfence is tested with. */
import { realpath } from "node:fs/promises";
import { dirname, join } from "node:path";
import { build, goVersion } from "./build.ts";
import { install, isCached, isExecutable, pathOf, readReceipt, refreshHelpers } from "./cache.ts";
import { type Binary, type ToolGroup, toolCatalog } from "./catalog.ts";
import { Downloader } from "./download.ts";
import { withLock } from "./lock.ts";
import { elapsed, type Log, toStderr } from "./progress.ts";
import { run } from "./run.ts";

export {
  type Asset,
  defaultHomes,
  officialSites,
  type Recipe,
  type ToolGroup,
  testCatalog,
  toolCatalog,
} from "./catalog.ts";
export { nodeCatalog } from "./node-catalog.ts";

export interface Tool {
  name: string;
  version: string;
  path: string;
  origin: "PATH" | "cache" | "download" | "build";
}

export interface ToolReport {
  name: string;
  /** The version that Ringfence is tested with. */
  wanted: string;
  /** The version that was found, read from the binary where it tells it; absent when the tool is missing. */
  found?: string;
  path?: string;
  origin?: "PATH" | "cache";
  /** Where it came from, or for a missing one what `ensureTools` would do. One line. */
  note: string;
}

export interface ToolOptions {
  /** @default toolCatalog() */
  catalog?: readonly ToolGroup[];
  /** Told of each step. @default lines on stderr */
  log?: Log;
}

/**
 * Brings every tool that is missing: the right version on PATH, else the cache, else the official download, else a
 * build from Go modules. Well under a second when nothing is missing; may be killed anywhere, and called by several at once.
 * @returns every tool by the name of its binary
 * @throws when a tool can neither be downloaded nor built; the message says why and what to install
 */
export async function ensureTools(options: ToolOptions = {}): Promise<Record<string, Tool>> {
  const { catalog = toolCatalog(), log = toStderr } = options;
  const downloader = new Downloader();
  const looked = await Promise.all(catalog.map(look));
  const missing = looked.filter(({ needed, cached }) => needed && !cached).map(({ group }) => group);
  const brought = new Map<ToolGroup, Tool["origin"]>();
  for (const [done, group] of missing.entries()) {
    const numbered: Log = (line) => log(`[${done + 1}/${missing.length}] ${line}`);
    brought.set(group, await bring(group, downloader, numbered));
  }
  const tools: Record<string, Tool> = {};
  for (const { group, onPath } of looked) {
    await refreshHelpers(group);
    for (const { name } of group.binaries) {
      const path = onPath.get(name);
      tools[name] = path
        ? { name, version: group.version, path, origin: "PATH" }
        : { name, version: group.version, path: pathOf(group, name), origin: brought.get(group) ?? "cache" };
    }
  }
  return tools;
}

/** Looks for every tool and brings nothing: what `ringfence doctor` lists. */
export async function inspectTools(options: Pick<ToolOptions, "catalog"> = {}): Promise<ToolReport[]> {
  const { catalog = toolCatalog() } = options;
  const go = await goVersion().catch((error: Error) => error);
  const reports = catalog.map(async (group) => {
    const { onPath, cached } = await look(group);
    const receipt = await readReceipt(group);
    return Promise.all(
      group.binaries.map(async (binary): Promise<ToolReport> => {
        const { name } = binary;
        const path = onPath.get(name) ?? (cached ? pathOf(group, name) : undefined);
        if (!path) return { name, wanted: group.version, note: planFor(group, name, go) };
        const found = (await versionOf(path, binary)) ?? group.version;
        if (onPath.has(name))
          return { name, wanted: group.version, found, path, origin: "PATH", note: "found on PATH" };
        const note = receipt?.from ?? "not brought by Ringfence";
        return { name, wanted: group.version, found, path, origin: "cache", note };
      }),
    );
  });
  return (await Promise.all(reports)).flat();
}

/** Where each is. */
export const pathsOf = (tools: Record<string, Tool>): Record<string, string> =>
  Object.fromEntries(Object.entries(tools).map(([name, { path }]) => [name, path]));

/**
 * The directories to put on PATH, the first to win. Left out are what is on PATH already, and Pulumi's plugins, which
 * Pulumi finds by itself and warns about when it meets them on PATH.
 */
export function toolPath(tools: Record<string, Tool>): string[] {
  const ours = Object.values(tools).filter(
    ({ name, origin }) => origin !== "PATH" && !name.startsWith("pulumi-resource-"),
  );
  return [...new Set(ours.map(({ path }) => dirname(path)))];
}

async function look(group: ToolGroup) {
  const onPath = new Map<string, string>();
  const search = group.binaries.map(async (binary) => {
    const path = await findOnPath(group, binary);
    if (path) onPath.set(binary.name, path);
  });
  const [cached] = await Promise.all([isCached(group), ...search]);
  return { group, onPath, cached, needed: group.binaries.some(({ name }) => !onPath.has(name)) };
}

/** The binary that PATH gives, if it has the right version and is not the cache's own. */
async function findOnPath(group: ToolGroup, binary: Binary): Promise<string | undefined> {
  if (!binary.version) return undefined;
  for (const directory of (process.env.PATH ?? "").split(":")) {
    const path = join(directory || ".", binary.name);
    if (!(await isExecutable(path))) continue;
    // npm's wrappers, such as the one of the package `pulumi`, would themselves download what they are asked about.
    if ((await realpath(path)).includes("/node_modules/")) continue;
    if (path === pathOf(group, binary.name)) return undefined;
    return (await versionOf(path, binary)) === group.version ? path : undefined;
  }
  return undefined;
}

/** The first version in what the binary prints when it is asked for it. */
async function versionOf(path: string, { version }: Binary): Promise<string | undefined> {
  if (!version) return undefined;
  const output = await run(path, version, { deadline: 10_000 }).catch(() => "");
  return /\d+\.\d+\.\d+(?:[-+][\w.+-]*\w)?/.exec(output)?.[0];
}

async function bring(group: ToolGroup, downloader: Downloader, log: Log): Promise<Tool["origin"]> {
  const lock = `${group.directory}.ringfence-lock`;
  const waiting = (pid: number) => log(`waiting for process ${pid}, which is bringing ${group.name} ${group.version}`);
  return withLock(lock, waiting, async () => {
    if (await isCached(group)) return "cache";
    const started = Date.now();
    const { origin, from } = await download(group, downloader, log).catch((reason: Error) => {
      log(`warning: no download of ${group.name} ${group.version}: ${reason.message}; building it instead`);
      return buildFromModules(group, reason, log);
    });
    log(`${group.name} ${group.version}: ${from}, in ${elapsed(started)}`);
    return origin;
  });
}

function download(group: ToolGroup, downloader: Downloader, log: Log) {
  const urls = group.assets.map(({ url }) => url).join(", ");
  log(`downloading ${urls}`);
  return install(group, async (into) => {
    await downloader.bring(group, into, log);
    return { origin: "download", from: `download from ${urls}` };
  });
}

async function buildFromModules(group: ToolGroup, reason: Error, log: Log) {
  const { source } = group.recipe;
  const go = await goVersion().catch((error: Error) => {
    throw new Error(
      `${group.name} ${group.version}: no download (${reason.message}), and to build it: ${error.message}`,
    );
  });
  log(`building ${group.name} ${group.version} from ${source} with ${go}`);
  return install(group, async (into) => {
    await build(group, into, log);
    return { origin: "build", from: `built from ${source} with ${go}` };
  });
}

function planFor(group: ToolGroup, name: string, go: string | Error): string {
  const own = group.assets.find(({ holds }) => "binary" in holds && holds.binary === name);
  const url = (own ?? group.assets[0])?.url;
  const fallback = typeof go === "string" ? `build ${group.recipe.source} with ${go}` : go.message;
  return `missing: would download ${url}; failing that: ${fallback}`;
}
