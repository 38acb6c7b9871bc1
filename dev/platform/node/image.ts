/**
 * The image of the demo's containers, made on the spot from what is installed: Node.js with the libraries it needs, and of the package
 * what its runtime imports. Nothing comes from a registry. The sandboxes' image is the same files with another command.
 */
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, extname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "../../tools/run.ts";
import { read, write } from "../files.ts";

export const DEMO_IMAGE = "ringfence.dev/demo:1";
export const PAUSE_IMAGE = "ringfence.dev/pause:1";

/** The package's own directory: `/ringfence` in the image. */
const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** Path in the image → path here. */
type Files = Map<string, string>;

/**
 * The image as an archive that containerd imports; made anew when a file of it has changed.
 * @param directory its own
 * @returns the archive's path
 * @throws when a library of Node.js is not there
 */
export async function ensureImage(directory: string): Promise<string> {
  const archive = join(directory, "image.tar");
  const files = await allFiles();
  const key = createHash("sha256");
  for (const [path, source] of files) {
    const { size, mtimeMs } = statSync(source);
    key.update(`${path} ${source} ${size} ${mtimeMs}\n`);
  }
  const digest = key.digest("hex");
  const made = join(directory, "made-of");
  if (existsSync(archive) && read(made) === digest) return archive;
  rmSync(directory, { recursive: true, force: true });
  await pack(files, directory, archive);
  write(made, digest);
  return archive;
}

async function allFiles(): Promise<Files> {
  const files: Files = new Map();
  const sleep = await commandPath("sleep");
  files.set("/usr/local/bin/node", realpathSync(process.execPath));
  files.set("/bin/sleep", sleep);
  for (const program of [process.execPath, sleep])
    for (const library of await librariesOf(program)) files.set(library, realpathSync(library));
  const manifests = [ROOT, dirname(ROOT)].map((directory) => join(directory, "package.json"));
  for (const manifest of manifests.filter(existsSync).slice(0, 1)) files.set("/ringfence/package.json", manifest);
  const { ours, packages } = importsOf(
    globSync(join(ROOT, "runtime/**/*.{ts,js,cjs}")).filter((path) => !path.endsWith(".d.ts")),
  );
  for (const path of ours) files.set(join("/ringfence", relative(ROOT, path)), path);
  for (const directory of packages)
    for (const path of filesBelow(directory))
      files.set(join("/ringfence", installedAs(directory), relative(directory, path)), path);
  return files;
}

const commandPath = async (name: string) => (await run("sh", ["-c", `command -v ${name}`])).trim();

/** The dynamic loader, and what it loads, under the names by which it looks for them. */
async function librariesOf(program: string): Promise<string[]> {
  const said = await run("ldd", [realpathSync(program)]).catch(() => ""); // a static one has none
  if (said.includes("not found"))
    throw new Error(
      `${program}: ${said
        .split("\n")
        .find((line) => line.includes("not found"))
        ?.trim()}`,
    );
  return [...said.matchAll(/(?:^|\s)(\/\S+)(?= \()/gm)].map(([, path = ""]) => path);
}

const IMPORT = /(?:from|import|import\(|require\()\s*["']([^"']+)["']/g;

/** Follows the imports of files of the package: the files reached, and the directories of the npm packages with all that they need. */
function importsOf(entries: string[]): { ours: Set<string>; packages: Set<string> } {
  const ours = new Set<string>();
  const packages = new Set<string>();
  const queue = entries.map((path) => resolve(path));
  for (let path = queue.pop(); path; path = queue.pop()) {
    if (ours.has(path)) continue;
    ours.add(path);
    for (const [, name = ""] of readFileSync(path, "utf8").matchAll(IMPORT)) {
      const file = resolve(dirname(path), name);
      if (name.startsWith(".")) {
        if (existsSync(file) && extname(file)) queue.push(file);
      } else if (!name.startsWith("node:"))
        takePackage(
          name
            .split("/")
            .slice(0, name.startsWith("@") ? 2 : 1)
            .join("/"),
          path,
          packages,
        );
    }
  }
  return { ours, packages };
}

/** Adds an installed package, and those that it depends on. What is not installed is optional, a built-in, or a word in a comment. */
function takePackage(name: string, from: string, packages: Set<string>): void {
  const places = createRequire(from).resolve.paths(name) ?? [];
  const found = places.map((place) => join(place, name)).find((place) => existsSync(join(place, "package.json")));
  if (!found || packages.has(found) || realpathSync(found) === realpathSync(ROOT)) return;
  packages.add(found);
  const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
    readFileSync(join(found, "package.json"), "utf8"),
  );
  for (const each of Object.keys({ ...dependencies, ...optionalDependencies }))
    takePackage(each, join(found, "package.json"), packages);
}

/** Where the package's own imports are looked for, the nearest first: below it in a checkout, beside it in an installation. */
const bases = (createRequire(join(ROOT, "package.json")).resolve.paths("x") ?? []).map((base) => `${base}/`);

/** `node_modules/…`, from whichever of those it was installed in. */
function installedAs(directory: string): string {
  const base = bases.find((each) => directory.startsWith(each)) ?? "/";
  return join("node_modules", directory.slice(base.length));
}

const filesBelow = (directory: string) =>
  globSync("**/*", { cwd: directory, withFileTypes: true, exclude: (entry) => entry.name === "node_modules" })
    .filter((entry) => entry.isFile() && !/\.(map|md|markdown)$|\.d\.[cm]?ts$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name));

/** An OCI layout of one layer and two images. */
async function pack(files: Files, directory: string, archive: string): Promise<void> {
  const tree = join(directory, "tree");
  for (const each of ["tmp", "proc", "sys", "dev", "etc"]) mkdirSync(join(tree, each), { recursive: true });
  for (const [path, source] of files) {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    copyFileSync(source, join(tree, path));
  }
  write(join(tree, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n");
  const blobs = join(directory, "layout", "blobs", "sha256");
  mkdirSync(blobs, { recursive: true });
  const draft = join(directory, "layer.tar");
  // Readable for whoever a container runs as, whatever the umask here was.
  await run("tar", [
    "-C",
    tree,
    "--owner=0",
    "--group=0",
    "--numeric-owner",
    "--sort=name",
    "--mode=a+rX,u+w",
    "-cf",
    draft,
    ".",
  ]);
  const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar", ...describe(readFileSync(draft)) };
  renameSync(draft, join(blobs, layer.digest.slice(7)));
  const architecture = { x64: "amd64", arm64: "arm64" }[process.arch as string];

  const put = (mediaType: string, content: object) => {
    const bytes = Buffer.from(JSON.stringify(content));
    const blob = { mediaType, ...describe(bytes) };
    write(join(blobs, blob.digest.slice(7)), bytes.toString());
    return blob;
  };
  const image = (name: string, config: object) => {
    const PATH = "PATH=/usr/local/bin:/usr/bin:/bin";
    const described = put("application/vnd.oci.image.config.v1+json", {
      architecture,
      os: "linux",
      config: { Env: [PATH], WorkingDir: "/", ...config },
      rootfs: { type: "layers", diff_ids: [layer.digest] },
    });
    const mediaType = "application/vnd.oci.image.manifest.v1+json";
    const manifest = put(mediaType, { schemaVersion: 2, mediaType, config: described, layers: [layer] });
    return { ...manifest, annotations: { "io.containerd.image.name": name } };
  };
  const manifests = [
    image(DEMO_IMAGE, { Cmd: ["node"] }),
    image(PAUSE_IMAGE, { Entrypoint: ["/bin/sleep", "infinity"] }),
  ];
  const layoutDirectory = join(directory, "layout");
  write(join(layoutDirectory, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  write(join(layoutDirectory, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
  await run("tar", ["-C", layoutDirectory, "-cf", `${archive}.draft`, "."]);
  renameSync(`${archive}.draft`, archive);
  for (const each of [tree, layoutDirectory]) rmSync(each, { recursive: true });
}

const describe = (bytes: Buffer) => ({
  digest: `sha256:${createHash("sha256").update(bytes).digest("hex")}`,
  size: bytes.length,
});
