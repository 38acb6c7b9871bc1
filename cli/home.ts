/** Where the embedded platform of a project lives, and the environment to work with it. */
import { existsSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import { assertNodePossible, environment, type TlsOption, up } from "../dev/platform/index.ts";
import { ensureTools, nodeCatalog, pathsOf, type Tool, toolPath } from "../dev/tools/index.ts";

/** The project that a command is about: the nearest directory upwards with a Pulumi.yaml, or the current one. */
export function projectRoot(from = process.cwd()): string {
  for (let directory = resolve(from); ; directory = dirname(directory)) {
    if (existsSync(join(directory, "Pulumi.yaml"))) return directory;
    if (directory === dirname(directory)) return resolve(from);
  }
}

/** RINGFENCE_HOME, or `.ringfence` in the project. */
export const platformHome = (): string => process.env.RINGFENCE_HOME ?? join(projectRoot(), ".ringfence");

/** Progress goes to stderr: stdout is for what was asked. */
export const progress = (line: string): void => console.error(line);

export interface PlatformOptions extends TlsOption {
  /** Adds a real node, which stays until `down`. @default false */
  realNode?: boolean;
}

/** Brings the tools and the embedded platform to ready; returns the environment to work with it, PATH included. */
export async function bringPlatform(options: PlatformOptions = {}): Promise<NodeJS.ProcessEnv> {
  const home = platformHome();
  const { realNode, ...rest } = options;
  if (realNode) assertNodePossible(home);
  const tools = await ensureTools({ log: progress });
  const nodeTools = realNode ? await ensureTools({ catalog: nodeCatalog(), log: progress }) : undefined;
  await up({ home, tools: pathsOf(tools), progress, ...rest, ...(nodeTools && { realNode: pathsOf(nodeTools) }) });
  return { ...process.env, ...shellEnvironment(tools) };
}

/** What a shell needs to work with the platform and its tools. */
export const shellEnvironment = (tools: Record<string, Tool>): Record<string, string> => ({
  ...environment(platformHome()),
  PATH: withTools(toolPath(tools)),
});

/** PATH with the tools first, then whatever `node` this runs on: Pulumi has to find the same one. */
function withTools(directories: string[]): string {
  return [...new Set([...directories, dirname(process.execPath), ...(process.env.PATH ?? "").split(delimiter)])].join(
    delimiter,
  );
}
