/** The environment and the command line of a container, as a kubelet would make them of its spec. */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ApiError } from "../kubernetes.ts";
import { localAddress } from "./address.ts";
import type { Api, ContainerSpec, EnvVar, KeyRef, Pod } from "./types.ts";

/** Where the package lies in an image of ours. */
const IMAGE_ROOT = "/ringfence";

/** Where it lies here: the checkout, or `dist` of what was installed. */
const packageRoot = fileURLToPath(new URL("../../..", import.meta.url)).replace(/\/$/, "");

/** Paths inside a container, and where each is here. */
export type Mounts = { mountPath: string; directory: string }[];

/** What a container cannot be started for; it is tried again, for its Secret may come. */
export class ConfigError extends Error {}

/** As a kubelet says it. */
export const notFound = (kind: "secrets" | "configmaps", name: string): ConfigError =>
  new ConfigError(`${kind.slice(0, -1)} "${name}" not found`);

/** For a request to the API server whose object may not be there. */
function unlessMissing(error: unknown): undefined {
  if (!(error instanceof ApiError && error.status === 404)) throw error;
}

/** The texts in a Secret or ConfigMap; undefined when there is none of that name. */
export async function dataOf(api: Api, kind: "secrets" | "configmaps", namespace: string, name: string) {
  const path = `/api/v1/namespaces/${namespace}/${kind}/${name}`;
  const found = await api<{ data?: Record<string, string> }>("GET", path).catch(unlessMissing);
  if (!found) return undefined;
  const decode = (text: string) => (kind === "secrets" ? Buffer.from(text, "base64").toString() : text);
  return new Map(Object.entries(found.data ?? {}).map(([key, text]): [string, string] => [key, decode(text)]));
}

/**
 * @param mounts what a value that is a path below one of them is rewritten by: nothing is really mounted
 * @throws ConfigError for what is not there, or not known here
 */
export async function environmentOf(
  api: Api,
  pod: Pod,
  container: ContainerSpec,
  { podIP, mounts, apiServer }: { podIP: string; mounts: Mounts; apiServer: URL },
): Promise<Record<string, string>> {
  const { namespace } = pod.metadata;
  const env: Record<string, string> = {
    HOSTNAME: pod.metadata.name,
    KUBERNETES_SERVICE_HOST: apiServer.hostname,
    KUBERNETES_SERVICE_PORT: apiServer.port,
  };
  for (const { prefix = "", secretRef, configMapRef } of container.envFrom ?? []) {
    const ref = secretRef ?? configMapRef;
    if (!ref) continue;
    const data = await dataOf(api, secretRef ? "secrets" : "configmaps", namespace, ref.name);
    if (!data && !ref.optional) throw notFound(secretRef ? "secrets" : "configmaps", ref.name);
    for (const [key, value] of data ?? []) env[prefix + key] = value;
  }
  for (const variable of container.env ?? []) {
    const value = await variableOf(api, pod, variable, podIP);
    if (value !== undefined) env[variable.name] = expand(value, env);
  }
  const located = Object.entries(env).map(([name, value]) => [name, mounted(value, mounts)]);
  // The first to be found is the Node.js that runs us, as an image of ours has it.
  const PATH = `${dirname(process.execPath)}:${process.env.PATH}`;
  return { PATH, ...Object.fromEntries(located), RINGFENCE_BIND_ADDRESS: localAddress(podIP) };
}

/** The words that start the container's process. @throws ConfigError when the spec leaves that to an image */
export function commandOf(container: ContainerSpec, env: Record<string, string>, mounts: Mounts): string[] {
  const { command = [], args = [] } = container;
  if (command.length === 0)
    throw new ConfigError(`container "${container.name}": no command; a process pod has no image that could name one`);
  return [...command, ...args].map((word) => {
    const [, flag = "", value = ""] = /^(--?[\w-]+=)?(.*)$/s.exec(expand(word, env)) ?? [];
    return flag + locate(value, mounts);
  });
}

async function variableOf(api: Api, pod: Pod, { name, value, valueFrom }: EnvVar, podIP: string) {
  if (!valueFrom) return value ?? "";
  const { secretKeyRef, configMapKeyRef, fieldRef } = valueFrom;
  if (secretKeyRef) return keyOf(api, pod, "secrets", secretKeyRef);
  if (configMapKeyRef) return keyOf(api, pod, "configmaps", configMapKeyRef);
  if (fieldRef) return fieldOf(pod, fieldRef.fieldPath, podIP);
  throw new ConfigError(
    `env ${name}: expected a secretKeyRef, configMapKeyRef or fieldRef; process pods know no other`,
  );
}

async function keyOf(api: Api, { metadata }: Pod, kind: "secrets" | "configmaps", { name, key, optional }: KeyRef) {
  const data = await dataOf(api, kind, metadata.namespace, name);
  const found = data?.get(key);
  if (found === undefined && !optional)
    throw data ? new ConfigError(`couldn't find key ${key} in ${kind} "${name}"`) : notFound(kind, name);
  return found;
}

/** A field of the pod, as the downward API has it. @throws ConfigError */
export function fieldOf({ metadata, spec }: Pod, path: string, podIP: string): string {
  const [, map, key] = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path) ?? [];
  if (map && key) return metadata[map as "labels" | "annotations"]?.[key] ?? "";
  const fields: Record<string, string | undefined> = {
    "metadata.name": metadata.name,
    "metadata.namespace": metadata.namespace,
    "metadata.uid": metadata.uid,
    "metadata.labels": lines(metadata.labels),
    "metadata.annotations": lines(metadata.annotations),
    "spec.nodeName": spec.nodeName,
    "spec.serviceAccountName": spec.serviceAccountName,
    "status.podIP": podIP,
    "status.podIPs": podIP,
    "status.hostIP": "127.0.0.1",
    "status.hostIPs": "127.0.0.1",
  };
  if (!Object.hasOwn(fields, path))
    throw new ConfigError(`fieldPath ${path}: unknown; expected one of ${Object.keys(fields)}`);
  return fields[path] ?? "";
}

const lines = (map: Record<string, string> = {}) =>
  Object.entries(map)
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    .join("\n");

/** `$(NAME)` becomes the variable's value, `$$(NAME)` the text `$(NAME)`; an unknown name stays. */
const expand = (text: string, env: Record<string, string>) =>
  text.replace(/\$(\$)?\(([^)]+)\)/g, (all, escaped, name) => (escaped ? all.slice(1) : (env[name] ?? all)));

/** Where a path below a mount is here; any other text stays: a tenant's prefix in etcd begins as the image's root does. */
function mounted(text: string, mounts: Mounts): string {
  const mount = mounts.find(({ mountPath }) => below(text, mountPath));
  return mount ? join(mount.directory, text.slice(mount.mountPath.length)) : text;
}

/** Where a word of a command is here, which may also be a path in the image. */
function locate(text: string, mounts: Mounts): string {
  return below(text, IMAGE_ROOT) ? packageRoot + text.slice(IMAGE_ROOT.length) : mounted(text, mounts);
}

const below = (text: string, root: string): boolean => text === root || text.startsWith(`${root}/`);
