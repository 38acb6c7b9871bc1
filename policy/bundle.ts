/**
 * `npm run build:policy`: the pack as a folder of its own, for `pulumi -C dist/policy policy publish`. It is JavaScript,
 * since not every Node.js that Pulumi finds strips types, and brings the modules of components/plan that it uses.
 *
 *   node dev/bootstrap.js policy/bundle.ts [DIRECTORY]
 */
import { spawnSync } from "node:child_process";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const target = process.argv[2] ?? join(root, "dist", "policy");

rmSync(target, { recursive: true, force: true });
const tsc = ["--project", join(root, "policy", "tsconfig.bundle.json"), "--outDir", target];
const { status } = spawnSync(join(root, "node_modules", ".bin", "tsc"), tsc, { cwd: root, stdio: ["ignore", 2, 2] });
if (status !== 0) process.exit(1);
cpSync(join(root, "policy", "PulumiPolicy.yaml"), join(target, "PulumiPolicy.yaml"));
const { scripts, ...manifest } = JSON.parse(readFileSync(join(root, "policy", "package.json"), "utf8"));
writeFileSync(join(target, "package.json"), `${JSON.stringify({ ...manifest, main: "policy/index.mjs" }, null, 2)}\n`);
