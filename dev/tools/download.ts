import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { chmod, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join, posix } from "node:path";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Asset, ToolGroup } from "./catalog.ts";
import { type Log, withProgress } from "./progress.ts";
import { run } from "./run.ts";

/** Milliseconds in which a site must have answered: name, connection, TLS, redirects and the head of the answer. */
const ANSWER = 4_000;
/** Milliseconds that a transfer may stand still. */
const STALL = 10_000;

/** Downloads with the sums that the projects publish. Remembers which sites do not answer, and asks them no more. */
export class Downloader {
  readonly #silent = new Map<string, string>();

  /**
   * Brings the binaries of a group.
   * @param into an empty directory
   * @throws naming the file: no answer, a status other than 200, no published sum, a sum that differs, a cut transfer
   */
  async bring(group: ToolGroup, into: string, log: Log): Promise<void> {
    await mkdir(join(into, group.bin), { recursive: true });
    for (const asset of group.assets) {
      const name = posix.basename(new URL(asset.url).pathname);
      const expected = sumOf(name, await this.#text(asset.sums), asset.sums);
      const file = join(into, name);
      const found = await this.#file(asset.url, file, log);
      if (found !== expected) throw new Error(`${name}: sha256 expected ${expected}, found ${found}`);
      await unpack(group, asset, file, into);
    }
  }

  async #text(url: string): Promise<string> {
    const { response, abort } = await this.#answer(url);
    const timer = setTimeout(abort, STALL);
    try {
      return await response.text();
    } catch (error) {
      throw new Error(`${url}: transfer cut: ${reasonOf(error)}`);
    } finally {
      clearTimeout(timer);
    }
  }

  /** @returns the SHA-256 of what arrived */
  async #file(url: string, file: string, log: Log): Promise<string> {
    const { response, abort } = await this.#answer(url);
    const total = Number(response.headers.get("content-length"));
    const hash = createHash("sha256");
    let arrived = 0;
    let timer = setTimeout(abort, STALL);
    const meter = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        clearTimeout(timer);
        timer = setTimeout(abort, STALL);
        arrived += chunk.length;
        hash.update(chunk);
        done(null, chunk);
      },
    });
    const megabytes = (bytes: number) => (bytes / 1e6).toFixed(0);
    const describe = () => `downloading ${url}: ${megabytes(arrived)} of ${total ? megabytes(total) : "?"} MB`;
    try {
      if (!response.body) throw new Error("no content");
      const body = Readable.fromWeb(response.body as import("node:stream/web").ReadableStream);
      await withProgress(log, describe, () => pipeline(body, meter, createWriteStream(file)));
    } catch (error) {
      throw new Error(`${url}: transfer cut after ${arrived} of ${total || "?"} bytes: ${reasonOf(error)}`);
    } finally {
      clearTimeout(timer);
    }
    return hash.digest("hex");
  }

  async #answer(url: string): Promise<{ response: Response; abort: () => void }> {
    const { host } = new URL(url);
    const known = this.#silent.get(host);
    if (known) throw new Error(`${host} is out of reach (${known})`);
    const controller = new AbortController();
    const abort = () => controller.abort(new Error("no data for too long"));
    const timer = setTimeout(() => controller.abort(new Error(`no answer in ${ANSWER / 1000} s`)), ANSWER);
    let response: Response;
    try {
      response = await fetch(url, { signal: controller.signal });
    } catch (error) {
      this.#silent.set(host, reasonOf(error));
      throw new Error(`${host} is out of reach (${reasonOf(error)})`);
    } finally {
      clearTimeout(timer);
    }
    if (response.ok) return { response, abort };
    await response.body?.cancel();
    throw new Error(`${url}: HTTP ${response.status}`);
  }
}

async function unpack(group: ToolGroup, { holds }: Asset, file: string, into: string): Promise<void> {
  const bin = join(into, group.bin);
  if ("binary" in holds) {
    await chmod(file, 0o755);
    await rename(file, join(bin, holds.binary));
    return;
  }
  const unpacked = join(into, ".unpacked");
  await mkdir(unpacked);
  await run("tar", ["-xf", file, "-C", unpacked]); // macOS's tar reads zip files too
  const from = join(unpacked, holds.directory);
  const names = group.wholeArchive ? await readdir(from) : group.binaries.map(({ name }) => name);
  for (const name of names) await rename(join(from, name), join(bin, name));
  await rm(unpacked, { recursive: true });
  await rm(file);
}

/** The SHA-256 of the file `name` in a published text, as hex. */
function sumOf(name: string, text: string, source: string): string {
  const sum = text.trimStart().startsWith("{") ? githubDigest(name, text) : listedSum(name, text);
  if (!sum) throw new Error(`${name}: no sha256 for it in ${source}`);
  return sum;
}

function listedSum(name: string, text: string): string | undefined {
  const bare = /^[0-9a-f]{64}$/.exec(text.trim());
  if (bare) return bare[0];
  const lines = text.split("\n").map((line) => /^([0-9a-f]{64})\s+\*?(?:\.\/)?(.+?)\s*$/.exec(line));
  return lines.find((line) => line?.[2] === name)?.[1];
}

function githubDigest(name: string, text: string): string | undefined {
  const { assets = [] } = JSON.parse(text) as { assets?: { name: string; digest?: string | null }[] };
  return assets.find((asset) => asset.name === name)?.digest?.replace(/^sha256:/, "");
}

/** `fetch` hides why it failed in the error's cause. */
function reasonOf(error: unknown): string {
  const { cause, message } = error as Error & { cause?: { code?: string; message?: string } };
  return cause?.code ?? cause?.message ?? message;
}
