/** Which backend Pulumi works with, found the way that its CLI finds it; no provider is told. */
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { parse } from "yaml";

/** @returns its URL without credentials; undefined when there is none */
export function backendUrl(): string | undefined {
  const url = process.env.PULUMI_BACKEND_URL || projectBackend(process.cwd()) || loggedInto();
  return url?.replace(/\/\/[^/@]*@/, "//");
}

/** `backend.url` of the nearest Pulumi.yaml. */
function projectBackend(directory: string): string | undefined {
  const file = join(directory, "Pulumi.yaml");
  if (existsSync(file)) return (parse(readFileSync(file, "utf8")) as { backend?: { url?: string } }).backend?.url;
  return dirname(directory) === directory ? undefined : projectBackend(dirname(directory));
}

/** Where `pulumi login` went last. */
function loggedInto(): string | undefined {
  const home = process.env.PULUMI_HOME ?? join(homedir(), ".pulumi");
  const file = process.env.PULUMI_CREDENTIALS_PATH ?? home;
  const credentials = join(file, "credentials.json");
  return existsSync(credentials)
    ? (JSON.parse(readFileSync(credentials, "utf8")) as { current?: string }).current
    : undefined;
}
