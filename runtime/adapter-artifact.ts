/**
 * Brings an adapter's artifact into a directory that the engine sees: vLLM loads from a path (or by itself from the Hugging
 * Face Hub, with nothing that bounds it), and knows neither s3 nor gs.
 */
import { randomBytes } from "node:crypto";
import { createWriteStream, existsSync, mkdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import aws4 from "aws4";
import { type ADAPTER_CREDENTIALS, type Artifact, artifactOf } from "../components/plan/adapter.ts";
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

interface Part {
  /** Below the artifact's root. */
  path: string;
  url: URL;
}

/** How to list an artifact's files, and what to send along when each is asked for. */
interface Source {
  parts(signal: AbortSignal): Promise<Part[]>;
  headers(url: URL): Record<string, string>;
}

/**
 * Brings an artifact, all of it or nothing; one that is there already stays as it is.
 * @throws VisibleError when it cannot be had, is larger than allowed, or takes too long
 */
export async function bring({ url, directory, credentials, maxBytes, signal }: FetchOptions): Promise<void> {
  const artifact = artifactOf(url);
  if (!artifact) throw new VisibleError(`artifact: found '${url}'; expected an s3, gs or hf URL or an absolute path`);
  if (artifact.scheme === "path") return link(artifact.path, directory);
  if (existsSync(directory)) return;
  const source = artifact.scheme === "hf" ? hub(artifact, credentials) : bucket(artifact, credentials);
  const partial = `${directory}.${randomBytes(4).toString("hex")}.partial`;
  try {
    const parts = await source.parts(signal);
    if (parts.length === 0) throw new VisibleError(`${url} has no files: correct the artifact's URL`);
    let room = maxBytes;
    for (const part of parts) {
      const to = join(partial, part.path);
      if (!normalize(to).startsWith(`${partial}/`)) throw new VisibleError(`${url}: found a file '${part.path}'`);
      mkdirSync(dirname(to), { recursive: true });
      const body = (await get(part.url, source.headers(part.url), signal)).body as NonNullable<Response["body"]>;
      const bounded = async function* (chunks: AsyncIterable<Uint8Array>) {
        for await (const chunk of chunks) {
          room -= chunk.length;
          if (room < 0)
            throw new VisibleError(`${url} is larger than maxBytes (${maxBytes}): raise it, if it is right`);
          yield chunk;
        }
      };
      await pipeline(Readable.fromWeb(body as never), bounded, createWriteStream(to), { signal });
    }
    renameSync(partial, directory);
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    if (error instanceof VisibleError) throw error;
    if (signal.aborted) throw new VisibleError(`${url} did not come within its time`, { cause: error });
    const { message, cause } = error as Error & { cause?: Error };
    throw new VisibleError(`${url} cannot be had: ${cause?.message ?? message}`, { cause: error });
  }
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

async function get(url: URL, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
  const answer = await fetch(url, { headers, signal });
  if (answer.ok) return answer;
  await answer.body?.cancel();
  const where = `${url.origin}${url.pathname}`;
  const hint = { 401: ": credentials?", 403: ": may its credentials read it?", 404: ": is the URL right?" }[
    answer.status
  ];
  throw new VisibleError(`${where} answered ${answer.status}${hint ?? ""}`);
}

/** Files below a prefix of a bucket: ListObjectsV2, which Google's XML API has as well. */
function bucket({ scheme, bucket, prefix }: Extract<Artifact, { bucket: string }>, credentials: Credentials): Source {
  const region = credentials.AWS_REGION ?? "us-east-1";
  const home = scheme === "gs" ? "https://storage.googleapis.com" : `https://s3.${region}.amazonaws.com`;
  const endpoint = credentials.AWS_ENDPOINT_URL ?? home;
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
  return {
    headers,
    async parts(signal) {
      const found: Part[] = [];
      let more: string | undefined;
      do {
        const url = at();
        const query = { "list-type": "2", prefix: `${prefix}/`, ...(more && { "continuation-token": more }) };
        for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
        const text = await (await get(url, headers(url), signal)).text();
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
  const endpoint = credentials.HF_ENDPOINT ?? "https://huggingface.co";
  const headers = (): Record<string, string> =>
    credentials.HF_TOKEN ? { authorization: `Bearer ${credentials.HF_TOKEN}` } : {};
  return {
    headers,
    async parts(signal) {
      const url = new URL(`${endpoint}/api/models/${repository}/revision/${encoded(revision)}`);
      const answer = (await (await get(url, headers(), signal)).json()) as { siblings?: Array<{ rfilename: string }> };
      return (answer.siblings ?? []).map(({ rfilename }) => ({
        path: rfilename,
        url: new URL(
          `${endpoint}/${repository}/resolve/${encoded(revision)}/${rfilename.split("/").map(encoded).join("/")}`,
        ),
      }));
    },
  };
}

/** As RFC 3986 has it, which encodeURIComponent is laxer than. */
const encoded = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
