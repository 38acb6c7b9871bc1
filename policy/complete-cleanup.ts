import type { PolicyResource, ReportViolation, StackValidationPolicy } from "@pulumi/policy";
import { GENERATION_LABEL } from "../components/plan/labels.ts";
import { logicalNameParts } from "./stack/logical-name.ts";
import { annotation, type KubernetesObject, label, objectsOf } from "./stack/objects.ts";
import { type Place, placeOf } from "./stack/places.ts";
import { podsIn } from "./stack/pods.ts";
import { ETCD_PREFIX, LEDGER, NATS_ACCOUNT, ofType, placed, TENANT_CLAIM } from "./stack/ringfence.ts";
import { schemaOf } from "./stack/settings.ts";
import { tenantsOf } from "./stack/tenants.ts";
import { at, items, text } from "./stack/value.ts";
import { shown, tell } from "./stack/verdict.ts";

/**
 * A destroy leaves nothing behind when a claim accounts for every part, the ledger for every claim, when nothing in the
 * tenant's namespace survives it, and when the engine takes workloads away before the data that they write.
 */
export const completeCleanup: StackValidationPolicy = {
  name: "complete-cleanup",
  displayName: "Complete clean-up",
  description:
    "Every part of a tenant has its claim and every claim its ledger, nothing in a tenant's namespace outlives it, and " +
    "workloads are deleted before data is purged.",
  enforcementLevel: "mandatory",
  severity: "high",
  remediationSteps:
    "Use Ringfence's Tenant or Pipeline, which declare ledger, claim and parts in order; put workloads into the namespace " +
    "by its output (`namespace: tenant.namespace`), and give volumes of tenants the reclaim policy Delete.",
  configSchema: schemaOf({}),
  validateStack: ({ resources }, report) => {
    refuseUnclaimed(resources, report);
    const objects = objectsOf(resources);
    refuseSurvivors(objects, tenantsOf(resources).has, report);
    refuseEarlyPurge(resources, objects, report);
  },
};

function refuseUnclaimed(resources: PolicyResource[], report: ReportViolation): void {
  const claims = ofType(resources, TENANT_CLAIM, ["platform", "logicalName", "generation"]);
  const claimed = new Set(placed(claims).map(({ tenant }) => tenant));
  const unsure = claimed.size < claims.length;
  for (const type of [ETCD_PREFIX, NATS_ACCOUNT]) {
    for (const { name, urn, tenant } of placed(ofType(resources, type, ["platform", "logicalName"]))) {
      if (unsure || claimed.has(tenant)) continue;
      const problem = `${tenant} has no TenantClaim in this stack, so no release would purge what it holds`;
      tell(report, { resource: { name, urn }, path: ["logicalName"], problem, fix: "declare the tenant's claim" });
    }
  }
  const ledgers = ofType(resources, LEDGER, ["platform"]);
  const kept = new Set(ledgers.map(({ platform }) => platform));
  for (const { name, urn, platform } of claims) {
    if (platform === undefined || kept.has(platform) || kept.has(undefined)) continue;
    const problem = `platform ${shown(platform)} has no Ledger in this stack, so a claim of a killed run would stay for ever`;
    tell(report, { resource: { name, urn }, path: ["platform"], problem, fix: "declare the Ledger, as Platform does" });
  }
  const generations = new Set(claims.map(({ generation }) => generation));
  for (const object of objectsOf(resources)) {
    const generation = object.kind === "Namespace" ? label(object, GENERATION_LABEL) : undefined;
    if (generation === undefined || generations.has(generation) || generations.has(undefined)) continue;
    tell(report, {
      resource: object,
      path: ["metadata", "labels", GENERATION_LABEL],
      problem: `no TenantClaim in this stack has the generation ${shown(generation)}`,
      fix: "take the label from the tenant's claim, or leave it out",
    });
  }
}

/** What a deleted namespace leaves: volumes that are retained, and what deletion is told to skip. */
function refuseSurvivors(
  objects: KubernetesObject[],
  isTenant: (place: Place) => boolean,
  report: ReportViolation,
): void {
  const retained = new Map<string, KubernetesObject>();
  for (const object of objects) {
    if (object.objectName === undefined) continue;
    const policy = { StorageClass: at(object.body, "reclaimPolicy"), PersistentVolume: volumePolicy(object) }[
      object.kind
    ];
    if (policy === "Retain") retained.set(`${object.kind} ${object.objectName}`, object);
  }
  for (const object of objects) {
    const { kind, body } = object;
    if (kind === "PersistentVolume") {
      const namespace = text(at(body, "spec", "claimRef", "namespace"));
      if (namespace === undefined || volumePolicy(object) !== "Retain" || !isTenant({ namespace })) continue;
      tell(report, {
        resource: object,
        path: ["spec", "persistentVolumeReclaimPolicy"],
        problem: `'Retain' keeps a volume of namespace ${shown(namespace)} after its tenant is gone`,
        fix: "use 'Delete', or keep data that has to stay outside of tenants",
      });
      continue;
    }
    if (!isTenant(placeOf(object))) continue;
    const claims =
      kind === "PersistentVolumeClaim"
        ? [{ path: ["spec"], spec: at(body, "spec") }]
        : items(at(body, "spec", "volumeClaimTemplates")).map((template, index) => ({
            path: ["spec", "volumeClaimTemplates", index, "spec"],
            spec: at(template, "spec"),
          }));
    for (const { path, spec } of claims) {
      for (const [property, of] of [
        ["storageClassName", "StorageClass"],
        ["volumeName", "PersistentVolume"],
      ] as const) {
        const name = text(at(spec, property));
        if (name === undefined || !retained.has(`${of} ${name}`)) continue;
        tell(report, {
          resource: object,
          path: [...path, property],
          problem: `the ${of} ${shown(name)} retains its volumes, so the data outlives the tenant`,
          fix: `use one with the reclaim policy 'Delete'`,
        });
      }
    }
    for (const [key, kept] of [
      ["helm.sh/resource-policy", "keep"],
      ["pulumi.com/deletionPropagationPolicy", "orphan"],
    ] as const) {
      if (annotation(object, key)?.toLowerCase() !== kept) continue;
      tell(report, {
        resource: object,
        path: ["metadata", "annotations", key],
        problem: `'${kept}' leaves it, or what it owns, behind when its tenant goes`,
        fix: "leave the annotation out",
      });
    }
  }
}

/** Kubernetes retains what was made by hand unless told otherwise. */
function volumePolicy({ kind, body, patch }: KubernetesObject): unknown {
  if (kind !== "PersistentVolume") return undefined;
  return at(body, "spec", "persistentVolumeReclaimPolicy") ?? (patch ? undefined : "Retain");
}

/**
 * The engine deletes what depends on a resource before the resource. So the tenant's namespace has to depend on the parts
 * that fence, the parts on the claim that purges, the claim on the ledger, and each workload on the namespace.
 */
function refuseEarlyPurge(resources: PolicyResource[], objects: KubernetesObject[], report: ReportViolation): void {
  const parts = [TENANT_CLAIM, ETCD_PREFIX, NATS_ACCOUNT].flatMap((type) =>
    placed(ofType(resources, type, ["platform", "logicalName", "generation"])),
  );
  const byTenant = Map.groupBy(parts, ({ tenant }) => tenant);
  // A pipeline's name is its tenant's unless two realms have one; which of them is meant shows in the generation.
  const byPipeline = Map.groupBy(byTenant.values(), ([part]) => logicalNameParts(part?.logicalName ?? "").pipeline);
  const owners = new Map<PolicyResource, string>();
  for (const { resource, tenant } of parts) owners.set(resource, tenant);

  const ledgers = ofType(resources, LEDGER, ["platform"]);
  for (const own of byTenant.values()) {
    const claim = own.find(({ resource }) => resource.type === TENANT_CLAIM);
    for (const part of own) {
      if (!claim || part === claim || reaches(part.resource, claim.resource, owners)) continue;
      tell(report, {
        resource: part,
        path: ["generation"],
        problem: `it does not depend on '${claim.name}', which might be released first`,
        fix: "take the generation from the claim's output",
      });
    }
  }
  for (const { resource, platform } of parts) {
    const ledger = ledgers.find((one) => one.platform === platform);
    if (resource.type !== TENANT_CLAIM || !ledger || reaches(resource, ledger.resource, owners)) continue;
    tell(report, {
      resource,
      path: ["owner"],
      problem: `it does not depend on '${ledger.name}', whose deletion releases every claim`,
      fix: "take the owner from the ledger's id",
    });
  }
  for (const object of objects) {
    const { pipeline, generation } = placeOf(object);
    const tenants = (pipeline === undefined ? undefined : byPipeline.get(pipeline)) ?? [];
    const mine = tenants.filter(([part]) => generation === undefined || part?.generation === generation);
    const [own] = mine;
    if (!own || mine.length > 1 || (object.kind !== "Namespace" && podsIn(object).length === 0)) continue;
    const missing = own.filter(({ resource }) => !reaches(object.resource, resource, owners));
    for (const { name } of missing.slice(0, 1)) {
      tell(report, {
        resource: object,
        path: object.kind === "Namespace" ? ["metadata", "name"] : ["metadata", "namespace"],
        problem: `it does not depend on '${name}', so data could be purged while this still runs`,
        fix:
          object.kind === "Namespace"
            ? "make the namespace depend on the tenant's parts"
            : "take the namespace from the tenant's output, or set dependsOn",
      });
    }
  }
}

/** Whether a resource depends on another, not by way of another tenant's parts. The nearest are looked at first. */
function reaches(from: PolicyResource, goal: PolicyResource, owners: ReadonlyMap<PolicyResource, string>): boolean {
  const tenant = owners.get(goal);
  const seen = new Set([from]);
  for (const resource of seen) {
    if (resource === goal) return true;
    const { dependencies, propertyDependencies, parent } = resource;
    for (const next of [...dependencies, ...Object.values(propertyDependencies).flat(), ...(parent ? [parent] : [])]) {
      const owner = owners.get(next);
      if (owner === undefined || tenant === undefined || owner === tenant) seen.add(next);
    }
  }
  return false;
}
