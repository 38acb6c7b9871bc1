/** The volumes of a process pod: directories, their files as a kubelet would write them. */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { write } from "../files.ts";
import { ConfigError, dataOf, fieldOf, type Mounts, notFound } from "./environment.ts";
import type { Api, ContainerSpec, Pod, Source } from "./types.ts";

/** Seconds for which a token of a service account is good: nobody renews it here, and it ends with its pod. */
const TOKEN_SECONDS = 30 * 86_400;

/** Where the mounts of a container are, the longest path first. */
export function mountsOf(directory: string, { volumeMounts = [] }: ContainerSpec): Mounts {
  return volumeMounts
    .map(({ name, mountPath, subPath = "" }) => ({
      mountPath: mountPath.replace(/\/$/, ""),
      directory: join(directory, name, subPath),
    }))
    .sort((a, b) => b.mountPath.length - a.mountPath.length);
}

/** What a volume is made of. @throws ConfigError for what is no directory here */
function sourcesOf({ name, emptyDir, projected, ...source }: NonNullable<Pod["spec"]["volumes"]>[number]): Source[] {
  if (emptyDir) return [];
  if (projected) return projected.sources ?? [];
  if (source.secret || source.configMap || source.downwardAPI) return [source];
  const known = "emptyDir, secret, configMap, downwardAPI or projected";
  throw new ConfigError(`volume "${name}": found ${Object.keys(source)}; process pods know ${known}`);
}

/**
 * Writes the volumes.
 * @param again what was written before is brought up to date; a token is not, for each request makes another
 * @throws ConfigError for what is not there
 */
export async function writeVolumes(
  api: Api,
  pod: Pod,
  { directory, podIP, again = false }: { directory: string; podIP: string; again?: boolean },
): Promise<void> {
  for (const volume of pod.spec.volumes ?? []) {
    const sources = sourcesOf(volume);
    if (again && (sources.length === 0 || sources.some(({ serviceAccountToken }) => serviceAccountToken))) continue;
    const at = join(directory, volume.name);
    mkdirSync(at, { recursive: true, mode: 0o700 });
    const files = new Map<string, string>();
    for (const source of sources)
      for (const [path, text] of await filesOf(api, pod, source, podIP)) files.set(path, text);
    for (const [path, text] of files) write(join(at, path), text);
    if (!again) continue;
    const kept = new Set([...files.keys()].map((path) => path.split("/", 1)[0]));
    for (const entry of readdirSync(at)) if (!kept.has(entry)) rmSync(join(at, entry), { recursive: true });
  }
}

async function filesOf(api: Api, pod: Pod, source: Source, podIP: string): Promise<Iterable<[string, string]>> {
  const { secret, configMap, downwardAPI, serviceAccountToken } = source;
  if (secret) return itemsOf(api, pod, "secrets", { ...secret, name: secret.secretName ?? secret.name ?? "" });
  if (configMap) return itemsOf(api, pod, "configmaps", configMap);
  if (downwardAPI)
    return (downwardAPI.items ?? []).map(({ path, fieldRef }) => [
      path,
      fieldRef ? fieldOf(pod, fieldRef.fieldPath, podIP) : "",
    ]);
  if (serviceAccountToken) return [[serviceAccountToken.path, await tokenFor(api, pod, serviceAccountToken.audience)]];
  throw new ConfigError(`a projected volume: found ${Object.keys(source)}, which process pods do not know`);
}

async function itemsOf(
  api: Api,
  { metadata }: Pod,
  kind: "secrets" | "configmaps",
  { name, items, optional }: { name: string; items?: { key: string; path: string }[]; optional?: boolean },
): Promise<Iterable<[string, string]>> {
  const data = await dataOf(api, kind, metadata.namespace, name);
  if (!data && !optional) throw notFound(kind, name);
  if (!items) return data ?? [];
  return items.flatMap(({ key, path }): [string, string][] => {
    const text = data?.get(key);
    if (text === undefined && !optional) throw new ConfigError(`${kind} "${name}": no key ${key}`);
    return text === undefined ? [] : [[path, text]];
  });
}

async function tokenFor(api: Api, { metadata, spec }: Pod, audience: string | undefined): Promise<string> {
  const { name, namespace, uid } = metadata;
  const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${spec.serviceAccountName ?? "default"}/token`;
  const request = {
    apiVersion: "authentication.k8s.io/v1",
    kind: "TokenRequest",
    spec: {
      expirationSeconds: TOKEN_SECONDS,
      boundObjectRef: { apiVersion: "v1", kind: "Pod", name, uid },
      ...(audience && { audiences: [audience] }),
    },
  };
  return (await api<{ status: { token: string } }>("POST", path, request)).status.token;
}
