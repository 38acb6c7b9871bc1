/**
 * Names: what a pipeline may be called, and when two names overlap.
 *
 * A logical name is the path under which a tenant is claimed: `<realm>/<pipeline>`, written without leading or trailing
 * slash. A prefix is a path in etcd's flat key space and always ends in a slash, for `Range.prefix("/t/a")` would also
 * hold `/t/ab` (that is how a sibling tenant's data was deleted elsewhere: clastix/kamaji#201).
 */

/** Where Ringfence keeps its own records; nothing of a tenant's may lie here. */
export const REGISTRY_PREFIX = "/ringfence/v1/";

/** Above every physical prefix that Ringfence hands out. */
export const TENANTS_PREFIX = "/ringfence/tenants/";

/** A name that Kubernetes, NATS and a path in etcd all take: RFC 1123 label. */
const LABEL = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;

/** A claim compares itself and each ancestor in one etcd transaction, which holds at most 128 compares (etcd's default `--max-txn-ops`). */
const MAX_SEGMENTS = 100;

/**
 * A Kubernetes namespace is at most 63 characters; `-` and eight of the generation follow the pipeline's name, which is
 * a logical name's last segment. The other segments keep to it too: one rule is easier to remember.
 */
export const MAX_SEGMENT = 63 - 1 - 8;

const RESERVED_ROOTS = ["ringfence", "registry"];

/**
 * Says what is wrong with the name of a pipeline or a vertex, or nothing.
 * @param limit the most characters
 */
export function labelProblem(name: string, limit: number): string | undefined {
  if (name === "") return "is empty";
  if (name.length > limit) return `has ${name.length} characters, at most ${limit} are allowed`;
  if (!LABEL.test(name)) return "may hold lower-case letters, digits and inner hyphens only (RFC 1123)";
  return undefined;
}

/** Names the Deployment and the Service of a tenant's etcd proxies, so no vertex may have it. */
export const PROXY_NAME = "etcd-proxy";

/** Says what is wrong with a vertex' name, or nothing: it also names a Service, a domain name of its own (RFC 1035). */
export function vertexNameProblem(name: string): string | undefined {
  if (name === PROXY_NAME) return "is reserved, for the tenant has a Service of that name";
  return labelProblem(name, 63) ?? (/^[a-z]/.test(name) ? undefined : "does not begin with a letter (RFC 1035)");
}

/** Says what is wrong with a port's name, or nothing: Kubernetes takes the names of RFC 6335. */
export function portNameProblem(name: string): string | undefined {
  const fit = /[a-z]/.test(name) && !name.includes("--");
  return labelProblem(name, 15) ?? (fit ? undefined : "needs a letter, and no two hyphens in a row (RFC 6335)");
}

/** Says what is wrong with a logical name, or nothing. */
export function logicalNameProblem(name: string): string | undefined {
  const segments = name.split("/");
  if (name === "") return "is the root, which would hold every tenant";
  if (segments.length > MAX_SEGMENTS) return `has ${segments.length} segments, at most ${MAX_SEGMENTS} are allowed`;
  for (const segment of segments) {
    const problem = labelProblem(segment, MAX_SEGMENT);
    if (problem) return `has the segment '${segment}', which ${problem}`;
  }
  if (RESERVED_ROOTS.includes(segments[0] as string)) return `begins with '${segments[0]}', which is reserved`;
  return undefined;
}

/** Says what is wrong with a tenant's physical prefix, or nothing. */
export function prefixProblem(prefix: string): string | undefined {
  if (prefix === "" || prefix === "/") return "is the root, which would hold every tenant";
  if (!prefix.endsWith("/")) return "does not end in '/', so it would also hold its siblings' keys";
  if (contains(prefix, REGISTRY_PREFIX) || contains(REGISTRY_PREFIX, prefix))
    return `overlaps the registry '${REGISTRY_PREFIX}'`;
  if (contains(prefix, TENANTS_PREFIX)) return `holds every tenant's prefix, '${TENANTS_PREFIX}'`;
  return undefined;
}

/** The physical prefix of one generation of a tenant: never used twice. It is made before anybody knows for which tenant. */
export const physicalPrefix = (generation: string): string => `${TENANTS_PREFIX}${generation}/`;

/** etcd's user and role of one generation of a tenant. */
export const userName = (generation: string): string => `ringfence.${generation}`;

/** The Kubernetes namespace of one generation of a tenant. */
export const namespaceName = (logicalName: string, generation: string): string =>
  `${logicalName.split("/").at(-1)}-${generation.slice(0, 8)}`;

/** `<realm>/<pipeline>`; a realm may itself be a path. */
export const logicalName = (realm: string, pipeline: string): string => `${realm}/${pipeline}`;

/** Whether two logical names or prefixes are equal, or one lies within the other. */
export function overlap(a: string, b: string): boolean {
  const [x, y] = [closed(a), closed(b)];
  return contains(x, y) || contains(y, x);
}

const closed = (path: string) => (path.endsWith("/") ? path : `${path}/`);
const contains = (outer: string, inner: string) => inner.startsWith(outer);
