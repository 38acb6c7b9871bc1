/**
 * Where NVIDIA Dynamo (0.1 to 1.5) keeps its state in etcd. It has no setting for a root: whoever shares an etcd shares
 * these keys. Most layouts have the Dynamo namespace in one place of the key, so that a prefix holds one namespace;
 * the others name it in the value only, or nowhere.
 */

/**
 * The layouts with the namespace in one place, oldest last. Those that begin with the namespace go down to what Dynamo
 * wrote there: `/chat/` alone may be anybody's, and `dynamo/` holds more than namespace `dynamo`.
 */
const LAYOUTS = [
  "v1/instances/{ns}/",
  "v1/mdc/{ns}/",
  "v1/event_channels/namespace/{ns}/",
  "v1/event_channels/{ns}/",
  "v1/event_sources/namespace/{ns}/",
  "v1/kv_routers/{ns}/",
  "v1/kv-routers/{ns}/",
  "v1/{ns}/planner/",
  "v1/{ns}/ports/",
  "dyn://{ns}/",
  "dynamo://{ns}/",
  "instances/{ns}/",
  "{ns}/components/",
  "{ns}/nixl_metadata/",
  "/{ns}/planner/",
  "/{ns}/processor/",
  "/{ns}/disagg_router/",
].map((layout) => {
  const [head, tail] = layout.split("{ns}") as [string, string];
  return { head, tail, pattern: new RegExp(`^${head}([^/]+)${tail}`) };
});

/**
 * Prefixes of keys that all namespaces share. Such a key belongs to a namespace only when its value says so
 * (`valueNames`); most of them never do.
 */
export const GLOBAL_PREFIXES: readonly string[] = [
  "public/components/",
  "dynamo://public/",
  "models/",
  "mdc/",
  // Every namespace' engines: Dynamo's workers passed the constant "dynamo".
  "dynamo/nixl_metadata/",
  "/dynamo/processor/",
  "/dynamo/disagg_router/",
  "barrier/",
  "kv_routers/",
  "router-snapshot-lock/",
  "/router-snapshot-lock/",
  "v1/router-snapshot-lock/",
  "router-cleanup-lock/",
];

/**
 * What precedes the namespace in any layout. Walking the distinct segments below each of them finds every namespace
 * that has keys, without reading the keys.
 */
export const NAMESPACE_HEADS: readonly string[] = [...new Set(LAYOUTS.map(({ head }) => head))];

/** Segments that mean something else in a place where a layout has the namespace, and roots that are not Dynamo's. */
const RESERVED = new Set([
  "v1",
  "instances",
  "mdc",
  "models",
  "public",
  "barrier",
  "namespace",
  "event_channels",
  "event_sources",
  "kv_routers",
  "kv-routers",
  "router-snapshot-lock",
  "router-cleanup-lock",
  "ringfence",
  "registry",
]);

/** Says why a name cannot be a Dynamo namespace whose keys are told apart from others', or nothing. */
export function dynamoNamespaceProblem(namespace: string): string | undefined {
  if (namespace === "") return "is empty";
  if (!/^[a-z0-9_-]+$/.test(namespace)) return "may hold lower-case letters, digits, '-' and '_' only, as in Dynamo";
  if (RESERVED.has(namespace)) return "is reserved: others' keys lie under that name";
  return undefined;
}

/**
 * Every prefix that holds keys of this Dynamo namespace and of no other, each ending in a slash, none within another.
 * Empty for a name that `dynamoNamespaceProblem` refuses.
 */
export function namespacePrefixes(namespace: string): string[] {
  if (dynamoNamespaceProblem(namespace) !== undefined) return [];
  return LAYOUTS.map(({ head, tail }) => `${head}${namespace}${tail}`).filter((prefix) => !isGlobal(prefix));
}

/**
 * Whose a key at etcd's root is, by its layout alone: the namespace that it lies in; "global" for a key of Dynamo's that
 * lies in no namespace that `namespacePrefixes` knows; undefined for a key that is not Dynamo's.
 */
export function namespaceOfKey(key: string): { namespace: string } | "global" | undefined {
  if (isGlobal(key)) return "global";
  const matches = LAYOUTS.flatMap(({ head, pattern }) => {
    const namespace = pattern.exec(key)?.[1];
    return namespace === undefined ? [] : [{ head, namespace }];
  });
  const known = matches.find(({ namespace }) => dynamoNamespaceProblem(namespace) === undefined);
  if (known) return { namespace: known.namespace };
  return matches.some(({ head }) => head !== "" && head !== "/") ? "global" : undefined;
}

/**
 * The namespace that the value of a global key names; undefined when it names none, several, or one that no namespace
 * can be. The forms are those of Dynamo's model entries, instances and router metadata; any other form names nobody, and
 * so does what Ringfence wrote: the registry accounts for that (models.ts).
 */
export function namespaceOfValue(value: string): string | undefined {
  const entry = parsed(value);
  if (aliasModel(value) !== undefined) return undefined;
  const [namespace, ...others] = new Set(namespacesIn(entry));
  if (namespace === undefined || others.length > 0) return undefined;
  return dynamoNamespaceProblem(namespace) === undefined ? namespace : undefined;
}

/** Whether the value of a global key says that it is this namespace's, and no other's. */
export const valueNames = (value: string, namespace: string): boolean => namespaceOfValue(value) === namespace;

const isGlobal = (key: string) => GLOBAL_PREFIXES.some((prefix) => key.startsWith(prefix));

function parsed(value: string): unknown {
  try {
    return JSON.parse(value);
  } catch {
    return undefined;
  }
}

/** `{ namespace }`, `{ endpoint: { namespace } }`, `{ component: { namespace } }`, and endpoints written as one string. */
function namespacesIn(value: unknown): string[] {
  if (typeof value === "string") return namespaceOfEndpoint(value);
  const { endpoint, component } = fieldsOf(value);
  const parts = [value, endpoint, component].map((part) => fieldsOf(part).namespace);
  const ofEndpoint = typeof endpoint === "string" ? namespaceOfEndpoint(endpoint) : [];
  return [...parts.filter((part) => typeof part === "string"), ...ofEndpoint];
}

/** The model that a key for old frontends is about, when Ringfence wrote it; undefined for anybody else's (models.ts). */
export function aliasModel(value: string): string | undefined {
  const { ringfence, name } = fieldsOf(parsed(value));
  return ringfence !== undefined && typeof name === "string" ? name : undefined;
}

const fieldsOf = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};

/** `dyn://namespace.component.endpoint`, in older versions without the scheme or with slashes; two parts alone are a component and an endpoint. */
function namespaceOfEndpoint(endpoint: string): string[] {
  const [namespace, ...rest] = endpoint.replace(/^dyn:\/\//, "").split(/[./]/);
  return namespace !== undefined && rest.length >= 2 ? [namespace] : [];
}
