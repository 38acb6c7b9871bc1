import { copyFile, cp, mkdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { platform, type Recipe, type ToolGroup } from "./catalog.ts";
import { type Log, withProgress } from "./progress.ts";
import { run } from "./run.ts";

/** The language version of the go.mod files. */
const OLDEST_GO = { major: 1, minor: 26 };
const INSTALL_GO = `install Go ≥ ${OLDEST_GO.major}.${OLDEST_GO.minor} from https://go.dev/dl and put it on PATH`;

/**
 * The version of the Go on PATH, as `go1.26.8`.
 * @throws when there is none or it is too old; the message says what to install
 */
export async function goVersion(): Promise<string> {
  let output: string;
  try {
    output = await run("go", ["version"], { env: goEnvironment(), deadline: 10_000 });
  } catch {
    throw new Error(`no Go on PATH: ${INSTALL_GO}`);
  }
  const [version = "", major, minor] = /go(\d+)\.(\d+)\S*/.exec(output) ?? [];
  const enough =
    Number(major) > OLDEST_GO.major || (Number(major) === OLDEST_GO.major && Number(minor) >= OLDEST_GO.minor);
  if (!enough) throw new Error(`Go is ${version || output.trim()}, too old: ${INSTALL_GO}`);
  return version;
}

/**
 * Builds the binaries of a group from its Go modules, verified by the committed go.sum.
 * @param into an empty directory; the binaries end in its `group.bin`
 * @throws when a module cannot be had or does not compile; the message ends with what Go said last
 */
export async function build(group: ToolGroup, into: string, log: Log): Promise<void> {
  const { recipe, name, version } = group;
  const source = join(into, ".source");
  // A copy, because an installed package is read-only and what is embedded has no place in a checkout.
  await cp(recipe.directory, source, { recursive: true });
  await mkdir(join(into, group.bin), { recursive: true });
  let fetched = 0;
  const modules = () => `building ${name} ${version}: ${fetched} modules fetched`;
  const total = await withProgress(log, modules, async () => {
    const countFetched = (line: string) => {
      if (line.startsWith("go: downloading ")) fetched++;
    };
    if (recipe.embed) await copyEmbedded(recipe.embed, source);
    const list = ["list", "-deps", ...tagsOf(recipe), ...Object.values(recipe.packages)];
    return (await go(list, source, countFetched)).trimEnd().split("\n").length;
  });

  let compiled = 0;
  let current = "";
  const countCompiled = (line: string) => {
    if (/^[\w.-]+(\/\S+)*$/.test(line)) compiled++;
  };
  const packages = () => `building ${name} ${version}: ${current}, ${compiled} packages compiled of at most ${total}`;
  await withProgress(log, packages, async () => {
    for (const [binary, path] of Object.entries(recipe.packages)) {
      current = binary;
      await go(
        ["build", "-v", ...buildFlags(recipe), "-o", join(into, group.bin, binary), path],
        source,
        countCompiled,
        recipe.cgo,
      );
    }
  });
  await rm(source, { recursive: true, force: true });
}

const tagsOf = ({ tags = [] }: Recipe): string[] => (tags.length > 0 ? [`-tags=${tags.join(",")}`] : []);

function buildFlags(recipe: Recipe): string[] {
  const { variables = {}, gcflags } = recipe;
  const settings = Object.entries(variables).map(([variable, value]) => ` -X ${variable}=${value}`);
  return [
    ...tagsOf(recipe),
    "-trimpath",
    "-buildvcs=false",
    `-ldflags=-s -w${settings.join("")}`,
    ...(gcflags ? [`-gcflags=${gcflags}`] : []),
  ];
}

async function copyEmbedded({ module, files }: NonNullable<Recipe["embed"]>, source: string): Promise<void> {
  const { Dir } = JSON.parse(await go(["mod", "download", "-json", module], source)) as { Dir: string };
  for (const file of files) await copyFile(join(Dir, file), join(source, basename(file)));
}

function go(args: string[], cwd: string, onLine?: (line: string) => void, cgo?: boolean): Promise<string> {
  return run("go", args, { cwd, env: { ...goEnvironment(), ...(cgo && { CGO_ENABLED: "1" }) }, onLine });
}

/** What the user has set for other projects must not change what is built here. */
function goEnvironment(): NodeJS.ProcessEnv {
  const { os, arch } = platform();
  const flags = (process.env.GOFLAGS ?? "").split(/\s+/).filter((flag) => !/^-mod(=|$)/.test(flag));
  return {
    ...process.env,
    GOFLAGS: flags.join(" "),
    GOOS: os,
    GOARCH: arch,
    CGO_ENABLED: "0",
    GOWORK: "off",
    GOTOOLCHAIN: "local",
    // Trades memory, of which a build has enough, for a third of the time.
    GOGC: "400",
  };
}
