/** Which pipeline something belongs to, as far as that is known; and when two things certainly belong to two. */
import { GENERATION_LABEL, PIPELINE_LABEL } from "../../components/plan/labels.ts";
import { namespaceName } from "../../components/plan/names.ts";
import { type KubernetesObject, label } from "./objects.ts";

/** What is known of the pipeline that something belongs to. */
export interface Place {
  /** The Kubernetes namespace: the boundary of a pipeline, whoever made it. */
  namespace?: string | undefined;
  /** The pipeline's name and generation, as Ringfence labels what belongs to a tenant. */
  pipeline?: string | undefined;
  generation?: string | undefined;
  /** The DynamoGraphDeployment: each is a pipeline. */
  graph?: string | undefined;
}

export const placeOf = (object: KubernetesObject): Place => ({
  namespace: object.kind === "Namespace" ? object.objectName : object.namespace,
  pipeline: label(object, PIPELINE_LABEL),
  generation: label(object, GENERATION_LABEL),
  graph: object.kind === "DynamoGraphDeployment" ? object.objectName : undefined,
});

/** Whether two things certainly belong to two pipelines; what is not known yet never says so. */
export function apart(a: Place, b: Place): boolean {
  if (differ(a.pipeline, b.pipeline) || differ(a.generation, b.generation) || differ(a.graph, b.graph)) return true;
  if (a.namespace !== undefined) return !mayLieIn(b, a.namespace);
  return b.namespace !== undefined && !mayLieIn(a, b.namespace);
}

/**
 * Whether this may be the namespace of a place. One that is not known yet is a tenant's, and has the name that Ringfence
 * gives: the pipeline's, and eight of the generation.
 */
export function mayLieIn({ namespace, pipeline }: Place, candidate: string): boolean {
  if (namespace !== undefined) return namespace === candidate;
  if (pipeline === undefined) return true;
  return candidate === namespaceName(pipeline, candidate.slice(-8));
}

const differ = (a: string | undefined, b: string | undefined) => a !== undefined && b !== undefined && a !== b;

/** A place as a message names it. */
export const placeText = ({ namespace, pipeline, graph }: Place): string =>
  [
    graph && `graph '${graph}'`,
    pipeline && `pipeline '${pipeline}'`,
    namespace !== undefined && `namespace '${namespace}'`,
  ]
    .filter(Boolean)
    .join(" in ") || "another pipeline";

/** A resource in its place. */
export interface Held {
  resource: { name: string; urn: string };
  place: Place;
}

/** Of those who hold one thing, the one whose place is known best: the others are held against it. */
export function bestKnown<T extends Held>(holders: T[]): T | undefined {
  const known = ({ place }: Held) => Object.values(place).filter((part) => part !== undefined).length;
  return holders.reduce<T | undefined>((a, b) => (a === undefined || known(b) > known(a) ? b : a), undefined);
}
