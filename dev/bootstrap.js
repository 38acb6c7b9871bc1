// @ts-check
// Brings a checkout to the state that the lock file describes, then runs a script on the Node.js that it pins.
// Plain JavaScript on nothing but Node's own modules: it runs before anything is installed, on any Node.js from 20 on.
//
//   node dev/bootstrap.js [script [argument…]]     without a script: installs only

import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const bin = join(root, "node_modules", ".bin");
const node = join(bin, "node");

/** What `npm pack` set aside (see dev/pack.ts): `{ packer, manifest }`, the pid of the npm at work and the text. */
export const manifestAside = join(root, "node_modules", ".ringfence-package.json");

/**
 * Installs the locked dependencies where they are not, without a word on stdout, which belongs to the script.
 * @throws one line when npm fails, or when its result lacks the pinned Node.js
 */
function install() {
  if (Number.parseInt(process.versions.node, 10) < 20)
    throw new Error(`node: found ${process.version}, needed 20 or newer; see https://nodejs.org/en/download`);
  restoreManifest();
  if (isInstalled()) return;
  console.error("Installing the locked dependencies (about 500 MB, half a minute with a warm npm cache)");
  // Node.js 20 only bootstraps, so warnings that it is too old for the dependencies would mislead: errors only.
  const npm = spawnSync("npm", ["ci", "--loglevel=error", "--no-audit", "--no-fund"], {
    cwd: root,
    stdio: ["ignore", 2, 2],
  });
  if (npm.error) throw new Error(`npm ci: ${npm.error.message}; npm comes with Node.js and must be on PATH`);
  if (npm.status !== 0) throw new Error(`npm ci: ended with ${npm.status ?? npm.signal}, its reasons are above`);
  if (!existsSync(node))
    throw new Error(`${node}: not there after npm ci, so scripts are off; run npm rebuild node --ignore-scripts=false`);
}

/** Compares the lock with npm's own record of what it installed, which it writes last. */
function isInstalled() {
  try {
    const wanted = packagesIn(join(root, "package-lock.json"));
    const installed = packagesIn(join(root, "node_modules", ".package-lock.json"));
    // Optional ones are for other systems; the one without a path is the project itself.
    return (
      existsSync(node) &&
      Object.entries(wanted).every(
        ([path, { version, optional }]) => !path || optional || version === installed[path]?.version,
      )
    );
  } catch {
    return false;
  }
}

/** @returns {Record<string, { version?: string, optional?: boolean }>} */
const packagesIn = (/** @type {string} */ lock) => JSON.parse(readFileSync(lock, "utf8")).packages;

/**
 * Puts back the package.json that an `npm pack` set aside, unless that one is still at work.
 * @param {number} [packer] the pid that asks because its pack is done
 */
export function restoreManifest(packer) {
  if (!existsSync(manifestAside)) return;
  const aside = JSON.parse(readFileSync(manifestAside, "utf8"));
  if (aside.packer !== packer && isAlive(aside.packer)) return;
  writeFileSync(join(root, "package.json"), aside.manifest);
  rmSync(manifestAside);
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === "EPERM";
  }
}

/**
 * Installs, runs a script of the checkout and ends as it ends. The script's children find the pinned `node` first on
 * PATH, as Pulumi must.
 * @param {string} [script] path from the root of the checkout; nothing runs without one
 * @param {string[]} args
 */
export function run(script, ...args) {
  try {
    install();
  } catch (error) {
    console.error(/** @type {Error} */ (error).message);
    process.exit(1);
  }
  if (!script) return;
  const PATH = `${bin}${delimiter}${process.env.PATH}`;
  const env = { ...process.env, PATH, RINGFENCE_BOOTSTRAPPED_BY: `${process.ppid}` };
  const child = spawn(node, [join(root, script), ...args], { stdio: "inherit", env });
  // A terminal's Ctrl-C reaches the child by itself, and Pulumi takes a second one for "now, without tidying up".
  const terminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
  for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"]))
    process.on(signal, () => (terminal && signal !== "SIGTERM" ? undefined : child.kill(signal)));
  child.on("error", (error) => {
    console.error(`${node}: ${error.message}`);
    process.exit(1);
  });
  child.on("exit", (code, signal) => {
    if (!signal) process.exit(code ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

const [, self = "", ...command] = process.argv;
if (realpathSync(self) === fileURLToPath(import.meta.url)) run(...command);
