/** `ringfence map`: an environment as a picture, from its stack's state alone: no store and no cluster is asked. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { environment } from "../dev/platform/index.ts";
import { layout } from "../dev/platform/layout.ts";
import { platformHome, projectRoot } from "./home.ts";
import { layoutOf } from "./map-layout.ts";
import { environmentOf } from "./map-model.ts";
import { svgOf } from "./map-svg.ts";
import { withPulumi } from "./pulumi.ts";

export interface MapOptions {
  /** A stack of the project that is the current directory's. @default the one that is selected */
  stack?: string;
  /** A file with what `pulumi stack export` prints, or `-` for stdin. @default what it prints now */
  state?: string;
  /** The file to write. @default stdout */
  output?: string;
}

/** @throws when the state cannot be read; it says whose complaint that is */
export async function mapCommand({ stack, state, output }: MapOptions): Promise<void> {
  const text = state === undefined ? await exported(stack) : read(state);
  const svg = svgOf(layoutOf(environmentOf(parsed(text, state ?? "pulumi stack export"))));
  if (output) writeFileSync(output, svg);
  else process.stdout.write(svg);
}

function read(file: string): string {
  try {
    return readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (error) {
    throw new Error(`--state ${file}: ${(error as Error).message}; give it what 'pulumi stack export' prints`);
  }
}

function parsed(text: string, source: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${source}: expected the JSON of 'pulumi stack export': ${oneLine((error as Error).message)}`);
  }
}

/** What others say may have several. */
const oneLine = (text: string): string => text.trim().replaceAll(/\s+/g, " ");

async function exported(stack: string | undefined): Promise<string> {
  const home = platformHome();
  // A shell that knows of no backend, in a checkout whose embedded platform has one.
  const embedded = !process.env.PULUMI_BACKEND_URL && existsSync(layout(home).access) ? environment(home) : {};
  const env = await withPulumi(embedded);
  const args = ["stack", "export", "--non-interactive", ...(stack ? ["--stack", stack] : [])];
  try {
    return execFileSync("pulumi", args, {
      cwd: projectRoot(),
      env,
      encoding: "utf8",
      maxBuffer: 2 ** 30,
      stdio: ["ignore", "pipe", "pipe"],
    });
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string };
    throw new Error(`pulumi ${args.join(" ")}: ${oneLine(stderr || message)}`);
  }
}
