/** Which backend Pulumi works with, found the way that its CLI finds it; no provider is told. */
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parse } from "yaml";

/** @returns its URL without credentials, a directory's from the root on; undefined when there is none */
export function backendUrl(): string | undefined {
  const url = process.env.PULUMI_BACKEND_URL || projectBackend(process.cwd()) || loggedInto();
  // Relative to where pulumi was started: a provider's own directory is the project's.
  const [, relative] = /^file:\/\/([.~].*)$/.exec(url ?? "") ?? [];
  if (relative === undefined) return url?.replace(/\/\/[^/@]*@/, "//");
  return `file://${resolve(process.env.PWD ?? process.cwd(), relative.replace(/^~/, homedir()))}`;
}

/** `backend.url` of the nearest Pulumi.yaml. */
function projectBackend(directory: string): string | undefined {
  const file = join(directory, "Pulumi.yaml");
  if (existsSync(file)) return (parse(readFileSync(file, "utf8")) as { backend?: { url?: string } }).backend?.url;
  return dirname(directory) === directory ? undefined : projectBackend(dirname(directory));
}

/** Where `pulumi login` went last. */
function loggedInto(): string | undefined {
  const home = process.env.PULUMI_CREDENTIALS_PATH ?? process.env.PULUMI_HOME ?? join(homedir(), ".pulumi");
  const credentials = join(home, "credentials.json");
  return existsSync(credentials)
    ? (JSON.parse(readFileSync(credentials, "utf8")) as { current?: string }).current
    : undefined;
}
