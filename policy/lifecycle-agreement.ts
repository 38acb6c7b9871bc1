import type { PolicyResource, ReportViolation, StackValidationPolicy } from "@pulumi/policy";
import {
  PHASE_ANNOTATION,
  PIPELINE_LABEL,
  SCALE_ANNOTATION,
  scaleBounds,
  VERTEX_LABEL,
} from "../components/plan/labels.ts";
import { dynamoContainers } from "./stack/dynamo.ts";
import { annotation, type KubernetesObject, label, objectsOf } from "./stack/objects.ts";
import { type Place, placeOf } from "./stack/places.ts";
import { podsIn } from "./stack/pods.ts";
import { PIPELINE } from "./stack/ringfence.ts";
import { schemaOf } from "./stack/settings.ts";
import { at, entries, number, type Path, propsOf, text } from "./stack/value.ts";
import { shown, tell } from "./stack/verdict.ts";

/** A pipeline is one unit of pause and scale: a vertex that goes its own way loses what the others still send to it. */
export const lifecycleAgreement: StackValidationPolicy = {
  name: "lifecycle-agreement",
  displayName: "Lifecycle agreement",
  description:
    "Every vertex has its pipeline's phase, replicas lie within their scale's bounds, and nobody writes Endpoints or " +
    "EndpointSlices of a served model by hand.",
  enforcementLevel: "mandatory",
  severity: "high",
  remediationSteps:
    "Set the phase on the pipeline (`lifecycle.desiredPhase`) and let it reach its vertices, keep replicas between minimum " +
    "and maximum, and let a Service's selector choose the pods that serve a model.",
  configSchema: schemaOf({}),
  validateStack: ({ resources }, report) => {
    const objects = objectsOf(resources);
    refuseDisagreement(objects, report);
    refuseOutOfBounds(objects, report);
    refuseEndpoints(resources, objects, report);
  },
};

function refuseDisagreement(objects: KubernetesObject[], report: ReportViolation): void {
  const vertices = objects.flatMap((object) => {
    const phase = annotation(object, PHASE_ANNOTATION);
    return phase !== undefined && podsIn(object).length > 0 ? [{ object, phase }] : [];
  });
  const path: Path = ["metadata", "annotations", PHASE_ANNOTATION];
  const disagree = (object: KubernetesObject, phase: string, whose: string) =>
    tell(report, {
      resource: object,
      path,
      problem: `${shown(phase)} is not ${whose}`,
      fix: "set the phase on the pipeline only",
    });
  const judged = new Set<KubernetesObject>();
  for (const { object, phase } of vertices) {
    const pipeline = pipelineOver(object.resource);
    const wanted = pipeline && text(at(propsOf(pipeline), "phase"));
    if (!pipeline || wanted === undefined) continue;
    judged.add(object);
    if (wanted !== phase) disagree(object, phase, `${shown(wanted)}, the phase of its pipeline '${pipeline.name}'`);
  }
  const loose = vertices.filter(({ object }) => !judged.has(object) && known(object));
  for (const group of Map.groupBy(loose, ({ object }) => key(placeOf(object))).values()) {
    const [first, ...others] = group;
    for (const { object, phase } of others) {
      if (!first || phase === first.phase) continue;
      disagree(object, phase, `${shown(first.phase)}, the phase of '${first.object.name}' of the same pipeline`);
    }
  }
  for (const { object, phase } of vertices) {
    const replicas = number(at(object.body, "spec", "replicas"));
    if (phase !== "Paused" || replicas === undefined || replicas === 0) continue;
    tell(report, {
      resource: object,
      path: ["spec", "replicas"],
      problem: `${replicas} pods run while the pipeline is paused`,
      fix: "set 0, or the phase Running",
    });
  }
}

const known = (object: KubernetesObject) =>
  label(object, PIPELINE_LABEL) !== undefined &&
  object.namespace !== undefined &&
  label(object, VERTEX_LABEL) !== undefined;
const key = ({ namespace, pipeline }: Place): string => `${namespace}/${pipeline}`;

function pipelineOver(resource: PolicyResource): PolicyResource | undefined {
  let { parent } = resource;
  while (parent && parent.type !== PIPELINE) parent = parent.parent;
  return parent;
}

/** What scales an object, by who: bounds and target. */
const SCALERS: Record<string, { min: string; max: string; least: number }> = {
  HorizontalPodAutoscaler: { min: "minReplicas", max: "maxReplicas", least: 1 },
  ScaledObject: { min: "minReplicaCount", max: "maxReplicaCount", least: 0 },
};

function refuseOutOfBounds(objects: KubernetesObject[], report: ReportViolation): void {
  const targets = new Map(
    objects
      .filter(({ namespace, objectName }) => namespace !== undefined && objectName !== undefined)
      .map((object) => [`${object.namespace}/${object.kind}/${object.objectName}`, object]),
  );
  const bounds = (object: KubernetesObject, path: Path, min: number | undefined, max: number | undefined): boolean => {
    if (min === undefined || max === undefined || min <= max) return true;
    tell(report, {
      resource: object,
      path,
      problem: `the minimum of ${min} is above the maximum of ${max}`,
      fix: "lower the one or raise the other",
    });
    return false;
  };
  const within = (object: KubernetesObject, path: Path, replicas: number | undefined, min: number, max: number) => {
    if (replicas === undefined || replicas === 0 || (replicas >= min && replicas <= max)) return;
    tell(report, {
      resource: object,
      path,
      problem: `${replicas} replicas are not within the scale's ${min} to ${Number.isFinite(max) ? max : "any"}`,
      fix: "choose a number within, or change the bounds",
    });
  };
  for (const object of objects) {
    const { body, namespace, kind } = object;
    const own = scaleBounds(annotation(object, SCALE_ANNOTATION) ?? "");
    if (own) within(object, ["spec", "replicas"], number(at(body, "spec", "replicas")), own.min, own.max);
    const scaler = Object.hasOwn(SCALERS, kind) ? SCALERS[kind] : undefined;
    if (scaler) {
      const min = number(at(body, "spec", scaler.min)) ?? scaler.least;
      const max = number(at(body, "spec", scaler.max));
      if (!bounds(object, ["spec", scaler.min], min, max)) continue;
      const reference = at(body, "spec", "scaleTargetRef");
      const name = text(at(reference, "name"));
      const target = targets.get(`${namespace}/${text(at(reference, "kind")) ?? "Deployment"}/${name}`);
      if (target && max !== undefined && at(body, "spec", scaler.min) !== undefined) {
        within(target, ["spec", "replicas"], number(at(target.body, "spec", "replicas")), min, max);
      }
    }
    if (kind === "InferenceService") {
      for (const [part, spec] of entries(at(body, "spec")))
        bounds(object, ["spec", part, "minReplicas"], number(at(spec, "minReplicas")), number(at(spec, "maxReplicas")));
    }
    if (/^(Pipeline|MonoVertex)$/.test(kind) && object.group === "numaflow.numaproj.io") {
      const vertices = at(body, "spec", "vertices");
      for (const [index, vertex] of Array.isArray(vertices) ? vertices.entries() : [[-1, at(body, "spec")] as const]) {
        const path: Path = index < 0 ? ["spec"] : ["spec", "vertices", index];
        const [min, max] = [number(at(vertex, "scale", "min")), number(at(vertex, "scale", "max"))];
        if (bounds(object, [...path, "scale", "min"], min, max) && min !== undefined && max !== undefined)
          within(object, [...path, "replicas"], number(at(vertex, "replicas")), min, max);
      }
    }
  }
}

/** Only Kubernetes' own controller knows which pods are ready; a list by hand keeps sending requests to pods that are gone. */
function refuseEndpoints(resources: PolicyResource[], objects: KubernetesObject[], report: ReportViolation): void {
  const serving = new Set(
    dynamoContainers(resources).flatMap(({ place }) => (place.namespace === undefined ? [] : [place.namespace])),
  );
  const served = new Set<string>();
  for (const object of objects) {
    if (object.kind !== "Service" || object.namespace === undefined || object.objectName === undefined) continue;
    const labels = [at(object.body, "spec", "selector"), at(object.body, "metadata", "labels")];
    const model = labels.some((some) => text(at(some, PIPELINE_LABEL)) !== undefined);
    if (model || serving.has(object.namespace)) served.add(`${object.namespace}/${object.objectName}`);
  }
  for (const object of objects) {
    const slice = object.kind === "EndpointSlice";
    if (!slice && object.kind !== "Endpoints") continue;
    const service = slice ? label(object, "kubernetes.io/service-name") : object.objectName;
    const ours = label(object, PIPELINE_LABEL) !== undefined;
    if (!ours && !(service !== undefined && served.has(`${object.namespace}/${service}`))) continue;
    tell(report, {
      resource: object,
      path: slice ? ["endpoints"] : ["subsets"],
      problem: `lists by hand what serves ${shown(service ?? object.objectName)}, and will name pods that are gone`,
      fix: "leave it out and give the Service a selector",
    });
  }
}
