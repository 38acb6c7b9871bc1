import type { PolicyResource, StackValidationPolicy } from "@pulumi/policy";
import { commandText, dynamoContainers } from "./stack/dynamo.ts";
import { addressesOf, isLoopback, namespaceOf } from "./stack/hosts.ts";
import { objectsOf } from "./stack/objects.ts";
import { mayLieIn, type Place } from "./stack/places.ts";
import { podsOf } from "./stack/pods.ts";
import { PLATFORM } from "./stack/ringfence.ts";
import { schemaOf } from "./stack/settings.ts";
import { at, eachText, items, type Path, propsOf, text } from "./stack/value.ts";
import { shown, tell } from "./stack/verdict.ts";

/**
 * Dynamo lists and watches etcd's whole root, and a part of its keys carries no namespace. What keeps two pipelines apart
 * there is an `etcd grpc-proxy --namespace` for each: an endpoint in the pipeline's own Kubernetes namespace, or in the pod.
 */
export const brokeredDynamoThroughProxy: StackValidationPolicy = {
  name: "brokered-dynamo-through-proxy",
  displayName: "Brokered Dynamo through a proxy",
  description:
    "Dynamo that uses etcd reaches it through a proxy of its own pipeline, never at the platform's endpoint or as its admin; " +
    "nobody writes Dynamo's global model keys by hand: only a ModelRoute with legacyAlias does.",
  enforcementLevel: "mandatory",
  severity: "high",
  remediationSteps:
    "Run `etcd grpc-proxy start --namespace=<prefix>/` in the pipeline's namespace and point ETCD_ENDPOINTS at it, or use " +
    "DYN_DISCOVERY_BACKEND=kubernetes. Publish models by a ModelRoute instead of writing keys, with `legacyAlias: true` where old frontends have to see them.",
  configSchema: schemaOf({}),
  validateStack: ({ resources }, report) => {
    const admin = platformEndpoints(resources);
    for (const { container, pod, place, brokered } of dynamoContainers(resources)) {
      const { env } = container;
      const endpoints = env.get("ETCD_ENDPOINTS");
      if (brokered !== true || endpoints?.value === undefined) continue;
      for (const { host, port } of addressesOf(endpoints.value)) {
        const problem = admin.has(`${host}:${port}`)
          ? "is the platform's own endpoint"
          : outside(host, place)
            ? "is no proxy of this pipeline: it lies outside its namespace"
            : undefined;
        if (!problem) continue;
        tell(report, {
          resource: pod.object,
          path: endpoints.path,
          problem: `${shown(port ? `${host}:${port}` : host)} ${problem}, and Dynamo reads all of etcd that it reaches`,
          fix: "point it at an `etcd grpc-proxy --namespace` in the pipeline's own namespace",
        });
        break;
      }
      const user = env.get("ETCD_AUTH_USERNAME");
      if (user?.value === "root") {
        tell(report, {
          resource: pod.object,
          path: user.path,
          problem: "'root' is etcd's admin",
          fix: "use the user of the pipeline's EtcdPrefix",
        });
      }
    }
    refuseModelKeys(resources, report);
  },
};

/** Whether a host is certainly not in the pipeline's own namespace. */
function outside(host: string, place: Place): boolean {
  if (isLoopback(host)) return false;
  const lies = namespaceOf(host);
  if (lies.own) return false;
  return lies.namespace === undefined || !mayLieIn(place, lies.namespace);
}

/** Where the platforms of this stack have their etcd, as `host:port`. */
function platformEndpoints(resources: readonly PolicyResource[]): ReadonlySet<string> {
  return new Set(
    resources
      .filter(({ type }) => type === PLATFORM)
      .flatMap((platform) => {
        const etcd = at(propsOf(platform), "etcd");
        return [...items(at(etcd, "endpoints")), ...items(at(etcd, "clusterEndpoints"))];
      })
      .flatMap((endpoint) => addressesOf(text(endpoint) ?? "").map(({ host, port }) => `${host}:${port}`)),
  );
}

/** Dynamo's keys that no namespace tells apart, and those that instances write of themselves. */
const MODEL_KEY = /^\/?(public\/components\/|mdc\/|models\/|v1\/mdc\/|v1\/instances\/|dynamo\/nixl_metadata\/)/;
const WRITING = /\bllmctl\b[^\n;|&]*\badd\b|\betcdctl\b[^\n;|&]*?\bput\s+(?:-\S+\s+)*['"]?(\/?[\w./-]+)/g;

function refuseModelKeys(resources: readonly PolicyResource[], report: (message: string, urn?: string) => void): void {
  const refuse = (resource: { name: string; urn: string }, path: Path, what: string) =>
    tell(report, {
      resource,
      path,
      problem: `${what} one of Dynamo's global model keys, which every pipeline reads`,
      fix: "leave it to a ModelRoute, with legacyAlias where old frontends need the key: it withdraws what it published",
    });
  const judge = (resource: { name: string; urn: string }, path: Path, script: string) => {
    for (const [, key] of script.matchAll(WRITING)) {
      if (key !== undefined && !MODEL_KEY.test(key)) continue;
      return refuse(resource, path, `${key === undefined ? "'llmctl add'" : "'etcdctl put'"} writes`);
    }
  };
  for (const { object, containers } of podsOf(resources)) {
    for (const container of containers) {
      judge(object, container.words[0]?.path.slice(0, -1) ?? container.path, commandText(container));
    }
  }
  for (const object of objectsOf(resources)) {
    if (object.kind !== "ConfigMap") continue;
    eachText(at(object.body, "data"), (script, path) => judge(object, ["data", ...path], script));
  }
  for (const resource of resources) {
    if (!/etcd/i.test(resource.type) || /^(kubernetes|pulumi-nodejs:dynamic\/ringfence):/.test(resource.type)) continue;
    const key = text(at(propsOf(resource), "key"));
    if (key !== undefined && MODEL_KEY.test(key)) refuse(resource, ["key"], `${shown(key)} is`);
  }
}
