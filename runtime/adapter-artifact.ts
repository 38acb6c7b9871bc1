/**
 * Brings an adapter's artifact into a directory that the engine sees: vLLM loads from a path (or by itself from the Hugging
 * Face Hub, with nothing that bounds it), and knows neither s3 nor gs.
 */
import { randomBytes } from "node:crypto";
import { createWriteStream, existsSync, mkdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import aws4 from "aws4";
import { type ADAPTER_CREDENTIALS, type Artifact, artifactOf } from "../components/plan/adapter.ts";
import { mapValues } from "../components/plan/records.ts";
import { VisibleError } from "../components/plan/visible-error.ts";

/** What the artifact's store asks for, by the names that its own tools have: AWS_ACCESS_KEY_ID, HF_TOKEN, … */
export type Credentials = { [name in (typeof ADAPTER_CREDENTIALS)[number]]?: string };

export interface FetchOptions {
  url: string;
  /** Where it shall be. */
  directory: string;
  credentials: Credentials;
  maxBytes: number;
  signal: AbortSignal;
}

/** What a listing of an artifact's files may have, bytes: many thousands of names, and no flood. */
const LISTING_BYTES = 2 ** 24;

/** What is read of a refusal, bytes. */
const REFUSAL_BYTES = 2 ** 14;

interface Part {
  /** Below the artifact's root. */
  path: string;
  url: URL;
}

/** How to list an artifact's files, and how to ask for each. */
interface Source {
  parts(signal: AbortSignal): Promise<Part[]>;
  get(url: URL, signal: AbortSignal): Promise<Response>;
}

/**
 * Brings an artifact, all of it or nothing; one that is there already stays as it is.
 * @throws VisibleError when it cannot be had, is larger than allowed, or takes too long
 */
export async function bring({ url, directory, maxBytes, signal, ...options }: FetchOptions): Promise<void> {
  // Files that were made into a Secret end with a line break.
  const credentials: Credentials = mapValues(options.credentials, (value) => value.trim());
  const artifact = artifactOf(url);
  if (!artifact) throw new VisibleError(`artifact: found '${url}'; expected an s3, gs or hf URL or an absolute path`);
  if (artifact.scheme === "path") return link(artifact.path, directory);
  if (existsSync(directory)) return;
  const partial = `${directory}.${randomBytes(4).toString("hex")}.partial`;
  try {
    const source = artifact.scheme === "hf" ? hub(artifact, credentials) : bucket(artifact, credentials);
    const parts = await source.parts(signal);
    if (parts.length === 0) throw new VisibleError(`${url} has no files: correct the artifact's URL`);
    const bounded = within(maxBytes, `${url} is larger than maxBytes (${maxBytes}): raise it, if it is right`);
    for (const part of parts) {
      const to = join(partial, part.path);
      if (!normalize(to).startsWith(`${partial}/`)) throw new VisibleError(`${url}: found a file '${part.path}'`);
      mkdirSync(dirname(to), { recursive: true });
      const { body } = await source.get(part.url, signal);
      await pipeline(Readable.fromWeb(body as never), bounded, createWriteStream(to), { signal });
    }
    renameSync(partial, directory);
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    if (error instanceof VisibleError) throw error;
    if (signal.aborted) throw new VisibleError(`${url} did not come within its time`, { cause: error });
    const { message, cause } = error as Error & { cause?: Error };
    throw new VisibleError(`${url} cannot be had: ${without(credentials, cause?.message ?? message)}`);
  }
}

/** Node.js tells what it could not send. */
const without = (credentials: Credentials, text: string): string =>
  Object.values(credentials).reduce((rest, value) => (value ? rest.replaceAll(value, "…") : rest), text);

/** @returns what passes chunks on, of all that it is given, until there are too many */
function within(bytes: number, tooMuch: string) {
  let room = bytes;
  return async function* (chunks: AsyncIterable<Uint8Array>) {
    for await (const chunk of chunks) {
      room -= chunk.length;
      if (room < 0) throw new VisibleError(tooMuch);
      yield chunk;
    }
  };
}

/** The engine resolves it, in its own file system. */
function link(path: string, directory: string): void {
  try {
    if (readlinkSync(directory) === path) return;
  } catch {
    // Not there, or no link.
  }
  rmSync(directory, { recursive: true, force: true });
  symlinkSync(path, directory);
}

/** Asks for something. @throws VisibleError with the store's reason, and a hint */
async function ask(url: URL, options: RequestInit, hints: Record<number, string> = {}): Promise<Response> {
  const answer = await fetch(url, options);
  if (answer.ok) return answer;
  const where = `${url.origin}${url.pathname}`;
  const text = await textOf(answer, REFUSAL_BYTES).catch(() => "");
  // Of S3's reasons the code alone: the rest repeats what was asked, and as whom.
  const code = /<Code>(\w+)<\/Code>/.exec(text)?.[1];
  const known: Record<number, string> = {
    401: "credentials?",
    403: "may its credentials read it?",
    404: "is the URL right?",
    ...hints,
  };
  const hint = known[answer.status];
  throw new VisibleError(`${where} answered ${answer.status}${code ? ` (${code})` : ""}${hint ? `: ${hint}` : ""}`);
}

async function textOf({ body }: Response, bytes: number): Promise<string> {
  const bounded = within(bytes, `the store answered more than ${bytes} bytes: correct the artifact's URL`);
  return text(bounded((body ?? []) as AsyncIterable<Uint8Array>));
}

/** Where a store is, from a Secret: its value is not for messages. */
function endpointOf(name: keyof Credentials, credentials: Credentials, standard: string): string {
  const url = URL.parse(credentials[name] ?? standard);
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search)
    throw new VisibleError(
      `${name}: expected a URL such as ${standard}, without credentials in it: correct the Secret`,
    );
  return url.href.replace(/\/+$/, "");
}

/** Files below a prefix of a bucket: ListObjectsV2, which Google's XML API has as well. */
function bucket({ scheme, bucket, prefix }: Extract<Artifact, { bucket: string }>, credentials: Credentials): Source {
  const region = credentials.AWS_REGION ?? "us-east-1";
  const home = scheme === "gs" ? "https://storage.googleapis.com" : `https://s3.${region}.amazonaws.com`;
  const endpoint = endpointOf("AWS_ENDPOINT_URL", credentials, home);
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = credentials;
  const sessionToken = credentials.AWS_SESSION_TOKEN;
  const keys = accessKeyId &&
    secretAccessKey && { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) };
  const at = (key = "") => new URL(`${endpoint}/${bucket}${key && `/${key.split("/").map(encoded).join("/")}`}`);
  const headers = (url: URL): Record<string, string> => {
    if (!keys) return {};
    const request = { service: "s3", region, host: url.host, path: url.pathname + url.search, headers: {} };
    return aws4.sign(request, keys).headers as Record<string, string>;
  };
  const elsewhere = `is AWS_REGION (${region}) the bucket's, or AWS_ENDPOINT_URL right?`;
  return {
    // A signature is for one host: what answers elsewhere is not followed.
    get: (url, signal) =>
      ask(
        url,
        { headers: headers(url), signal, redirect: "manual" },
        { 301: elsewhere, 307: elsewhere, 400: elsewhere },
      ),
    async parts(signal) {
      const found: Part[] = [];
      let room = LISTING_BYTES;
      let more: string | undefined;
      do {
        const url = at();
        const query = { "list-type": "2", prefix: `${prefix}/`, ...(more && { "continuation-token": more }) };
        for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
        const text = await textOf(await this.get(url, signal), room);
        room -= text.length;
        const keysListed = [...text.matchAll(/<Key>([^<]*)<\/Key>/g)].map(([, key = ""]) => plain(key));
        for (const key of keysListed)
          if (!key.endsWith("/")) found.push({ path: key.slice(prefix.length + 1), url: at(key) });
        more = plain(/<NextContinuationToken>([^<]*)</.exec(text)?.[1] ?? "") || undefined;
      } while (more);
      return found;
    },
  };
}

const ENTITIES: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
const plain = (xml: string) => xml.replace(/&(amp|lt|gt|quot|apos);/g, (_, name: string) => ENTITIES[name] as string);

/** Files of a repository of the Hugging Face Hub. */
function hub({ repository, revision }: Extract<Artifact, { scheme: "hf" }>, credentials: Credentials): Source {
  const endpoint = endpointOf("HF_ENDPOINT", credentials, "https://huggingface.co");
  const headers = credentials.HF_TOKEN ? { authorization: `Bearer ${credentials.HF_TOKEN}` } : {};
  return {
    // Large files are elsewhere; the token does not go there.
    get: (url, signal) => ask(url, { headers, signal }),
    async parts(signal) {
      const url = new URL(`${endpoint}/api/models/${repository}/revision/${encoded(revision)}`);
      const { sha, siblings = [] } = JSON.parse(await textOf(await this.get(url, signal), LISTING_BYTES)) as {
        sha?: string;
        siblings?: Array<{ rfilename: string }>;
      };
      // All of one commit, whatever becomes of the branch meanwhile.
      const root = `${endpoint}/${repository}/resolve/${encoded(sha ?? revision)}`;
      return siblings.map(({ rfilename }) => ({
        path: rfilename,
        url: new URL(`${root}/${rfilename.split("/").map(encoded).join("/")}`),
      }));
    },
  };
}

/** As RFC 3986 has it, which encodeURIComponent is laxer than. */
const encoded = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
