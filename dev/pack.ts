// What `npm pack` adds to a checkout: `prepack` builds dist/ and swaps package.json for the one that users get, `postpack`
// swaps it back (after a kill, dev/bootstrap.js does). Node.js refuses `.ts` under node_modules, so users get JavaScript.
//
//   node dev/bootstrap.js dev/pack.ts build | prepack | postpack

import { spawnSync } from "node:child_process";
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { manifestAside, restoreManifest } from "./bootstrap.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const manifest = join(root, "package.json");

/** npm, which is at work for as long as the swap must last. */
const packer = Number(process.env.RINGFENCE_BOOTSTRAPPED_BY);

/** The rooms that ship, as in tsconfig.build.json. */
const rooms = ["components", "runtime", "cli", "dev"];

/** What modules read beside themselves. JSON is left out: it is what builds copy from Go modules, megabytes of it. */
const data = [".cjs", ".go", ".mod", ".sum", ".yaml"];

/** Compiles the rooms to dist/ and puts their data files beside the modules. */
function build(): void {
  const dist = join(root, "dist");
  rmSync(dist, { recursive: true, force: true });
  const { status } = spawnSync("tsc", ["--project", "tsconfig.build.json"], { cwd: root, stdio: ["ignore", 2, 2] });
  if (status !== 0) process.exit(1);
  for (const room of rooms.filter((room) => existsSync(join(root, room))))
    cpSync(join(root, room), join(dist, room), {
      recursive: true,
      filter: (path) => extname(path) === "" || data.includes(extname(path)),
    });
}

/** Swaps package.json; `publishConfig` says what differs for users, with the meaning that pnpm gives to it. */
function prepack(): void {
  build();
  const text = readFileSync(manifest, "utf8");
  const { publishConfig, devDependencies, allowScripts, ...ours } = JSON.parse(text);
  writeFileSync(manifestAside, JSON.stringify({ packer, manifest: text }));
  writeFileSync(manifest, `${JSON.stringify({ ...ours, ...publishConfig }, null, 2)}\n`);
}

const steps: Record<string, () => void> = {
  build,
  prepack,
  postpack: () => restoreManifest(packer),
};
steps[process.argv[2] ?? ""]?.();
