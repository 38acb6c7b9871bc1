/** The embedded platform that a benchmark works on, and a directory for what it writes. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { down, environment, up } from "../dev/platform/index.ts";
import { ensureTools, pathsOf, toolPath } from "../dev/tools/index.ts";

export interface BenchPlatform {
  /** A directory that goes with it. */
  scratch: string;
  /** What `ringfence dev env` gives a shell, with the tools on its PATH, behind the Node.js that runs this. */
  env: NodeJS.ProcessEnv;
  /** Stops what was started, and removes the directory. */
  end(): Promise<void>;
}

/**
 * Brings a platform of the benchmark's own, which ends with an interrupted one as well.
 * @param home of a platform that runs already, and is left running, instead
 */
export async function openPlatform(home?: string): Promise<BenchPlatform> {
  const scratch = mkdtempSync(join(tmpdir(), "ringfence-bench-"));
  const own = join(scratch, "home");
  let ended: Promise<void> | undefined;
  const end = () => {
    ended ??= (home === undefined ? down({ home: own }) : Promise.resolve()).finally(() =>
      rmSync(scratch, { recursive: true, force: true, maxRetries: 10 }),
    );
    return ended;
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.once(signal, () => void end().finally(() => process.exit(1)));
  try {
    const found = await ensureTools({ log: () => {} });
    if (home === undefined) await up({ home: own, tools: pathsOf(found) });
    const PATH = [dirname(process.execPath), ...toolPath(found), process.env.PATH].join(delimiter);
    const env = { ...process.env, ...environment(home ?? own), PATH, PULUMI_SKIP_UPDATE_CHECK: "true" };
    return { scratch, env, end };
  } catch (error) {
    await end();
    throw error;
  }
}
