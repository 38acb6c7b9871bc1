import type { StackValidationPolicy } from "@pulumi/policy";
import { byUrn, type KubernetesObject, objectsOf } from "./stack/objects.ts";
import { apart, type Place, placeOf } from "./stack/places.ts";
import { podsIn } from "./stack/pods.ts";
import { schemaOf } from "./stack/settings.ts";
import { type Tenant, type Tenants, tenantsOf } from "./stack/tenants.ts";
import { at, eachText, isRecord, type Path, propsOf, text } from "./stack/value.ts";
import { shown, tell } from "./stack/verdict.ts";

/**
 * Credentials keep tenants apart at run time; a manifest that names another tenant's things shows before that somebody
 * means to cross over. A tenant's prefix and account are nobody else's to name at all. Its namespace, Services and
 * Secrets may be named by what belongs to no tenant, such as a gateway or a monitor.
 */
export const noForeignReferences: StackValidationPolicy = {
  name: "no-foreign-references",
  displayName: "No foreign references",
  description:
    "No pod, ConfigMap, Secret, Helm value or DynamoGraphDeployment names another tenant's etcd prefix, namespace, NATS " +
    "account, Service or Secret.",
  enforcementLevel: "mandatory",
  severity: "critical",
  remediationSteps:
    "Let each pipeline use what its own tenant hands out, and exchange data between pipelines over an interface that is " +
    "meant for it, such as a frontend's public address.",
  configSchema: schemaOf({}),
  validateStack: ({ resources }, report) => {
    const tenants = tenantsOf(resources);
    if (tenants.prefixes.size + tenants.accounts.size + tenants.namespaces.size === 0) return;
    for (const { resource, place, parts } of [...objectsOf(resources).flatMap(manifest), ...releases(resources)]) {
      for (const [key, part] of parts) {
        eachText(part, (written, path) => {
          const inKey = withNameOf(part, path);
          const found = foreign(open(key, written), inKey, place, tenants);
          if (!found) return;
          tell(report, {
            resource,
            path: [...key, ...path],
            problem: `names ${found.what} of ${found.tenant.text}`,
            fix: "use what this pipeline's own tenant has",
          });
        });
      }
    }
  },
};

interface Named {
  resource: { name: string; urn: string };
  place: Place;
  /** What to look through. */
  parts: [path: Path, value: unknown][];
}

/** What is looked through of a Kubernetes object; what a cluster adds to it is not. */
function manifest(object: KubernetesObject): Named[] {
  const { kind, body } = object;
  const looked = kind === "ConfigMap" || kind === "Secret" || kind === "DynamoGraphDeployment";
  if (!looked && podsIn(object).length === 0) return [];
  const paths: Path[] = [["metadata", "annotations"], ["spec"], ["template"], ["data"], ["stringData"]];
  return [
    {
      resource: object,
      place: placeOf(object),
      parts: paths.flatMap((path): Named["parts"] => {
        const value = at(body, ...path);
        return isRecord(value) ? [[path, value]] : [];
      }),
    },
  ];
}

/** The values of Helm releases and charts. */
const releases = (resources: Parameters<typeof objectsOf>[0]): Named[] =>
  byUrn(resources).flatMap((resource) => {
    if (!/^kubernetes:helm\.sh\//.test(resource.type)) return [];
    const props = propsOf(resource);
    const place = { namespace: text(at(props, "namespace")) };
    return [{ resource, place, parts: [[["values"], at(props, "values")]] as Named["parts"] }];
  });

/** What a Secret has in its data is base64. */
const open = ([part]: Path, written: string): string =>
  part === "data" && /^[A-Za-z0-9+/]+={0,2}$/.test(written) && written.length % 4 === 0
    ? `${written} ${Buffer.from(written, "base64").toString()}`
    : written;

/** The name under which a text is written: that of the environment variable for a variable's value. */
function withNameOf(part: unknown, path: Path): string {
  const last = path.at(-1);
  if (last === "value") return text(at(part, ...path.slice(0, -1), "name")) ?? "value";
  return typeof last === "number" ? String(path.at(-2)) : String(last);
}

function foreign(
  written: string,
  name: string,
  place: Place,
  tenants: Tenants,
): { what: string; tenant: Tenant } | undefined {
  const theirs = (tenant: Tenant | undefined) => (tenant && apart(place, tenant.place) ? tenant : undefined);
  for (const [path] of tenants.prefixes.size > 0 ? written.matchAll(/\/[\w.-]+(?:\/[\w.-]+)*\/?/g) : []) {
    for (let end = path.indexOf("/", 1); end > 0; end = path.indexOf("/", end + 1)) {
      const tenant = theirs(tenants.prefixes.get(path.slice(0, end + 1)));
      if (tenant) return { what: `the etcd prefix ${shown(path.slice(0, end + 1))}`, tenant };
    }
    const whole = theirs(tenants.prefixes.get(`${path}/`));
    if (whole) return { what: `the etcd prefix ${shown(path)}`, tenant: whole };
  }
  for (const [key] of tenants.accounts.size > 0 ? written.matchAll(/\bA[A-Z2-7]{55}\b/g) : []) {
    const tenant = theirs(tenants.accounts.get(key));
    if (tenant) return { what: `the NATS account ${shown(key)}`, tenant };
  }
  if (!tenants.has(place)) return undefined;
  for (const [reference, namespace] of namespacesIn(written, name, tenants)) {
    const tenant = theirs(tenants.namespaces.get(namespace));
    if (tenant) return { what: shown(reference), tenant };
  }
  return undefined;
}

/** Dynamo has namespaces of its own, which are no Kubernetes namespaces. */
const DYNAMO_NAMESPACE = /^(dynamoNamespace|DYN_\w*|dynamo_?namespace)$/i;

/** Kubernetes namespaces that a text names, each with the words that name it. */
function* namespacesIn(written: string, name: string, tenants: Tenants): Generator<[string, string]> {
  if (/namespaces?$/i.test(name) && !DYNAMO_NAMESPACE.test(name)) yield [`the namespace ${written}`, written];
  for (const [host, namespace] of written.matchAll(/\b[a-z0-9][a-z0-9-]*\.([a-z0-9][a-z0-9-]*)\.svc\b/g))
    yield [host, namespace as string];
  for (const [host, namespace] of written.matchAll(
    /(?<=:\/\/(?:[^\s/@]*@)?|^|,)[a-z0-9][a-z0-9-]*\.([a-z0-9][a-z0-9-]*)(?=:\d+|[/,]|$)/g,
  ))
    if (tenants.inside.has(`${namespace}/${host.slice(0, host.indexOf("."))}`)) yield [host, namespace as string];
  if (tenants.inside.has(written)) yield [written, written.slice(0, written.indexOf("/"))];
}
