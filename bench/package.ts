/** Ringfence as users get it: compiled, so that Node.js has no types to strip, and under its published name. */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/**
 * Builds the package into a directory, beside everything that the checkout has installed.
 * @returns its `node_modules`
 */
export function installPackage(directory: string): string {
  const modules = join(directory, "node_modules");
  const installed = join(modules, "ringfence");
  mkdirSync(installed, { recursive: true });
  for (const name of readdirSync(join(ROOT, "node_modules")))
    if (name !== "ringfence") symlinkSync(join(ROOT, "node_modules", name), join(modules, name));
  const bin = join(ROOT, "node_modules/.bin");
  execFileSync(process.execPath, [join(ROOT, "dev/pack.ts"), "build"], {
    env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` },
    stdio: ["ignore", 2, 2],
  });
  cpSync(join(ROOT, "dist"), join(installed, "dist"), { recursive: true });
  const {
    publishConfig,
    devDependencies: _,
    ...manifest
  } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  writeFileSync(join(installed, "package.json"), JSON.stringify({ ...manifest, ...publishConfig }));
  return modules;
}
