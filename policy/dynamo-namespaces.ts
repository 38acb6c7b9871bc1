import type { StackValidationPolicy } from "@pulumi/policy";
import { type DynamoContainer, dynamoContainers, namespaceFlag } from "./stack/dynamo.ts";
import { apart, bestKnown, placeText } from "./stack/places.ts";
import { type Container, flag } from "./stack/pods.ts";
import { schemaOf } from "./stack/settings.ts";
import { at, type Path, text } from "./stack/value.ts";
import { shown, tell } from "./stack/verdict.ts";

/**
 * Whoever shares a Dynamo namespace shares models and workers, and three names stand for more than they say: `dynamo`
 * and the empty one are everybody's, `a_b` with component `c` is `a` with `b_c` on NATS, and a prefix (the operator's
 * frontends look for workers by one) takes in every name that begins with it.
 */
export const dynamoNamespaces: StackValidationPolicy = {
  name: "dynamo-namespaces",
  displayName: "Dynamo namespaces",
  description:
    "Each pipeline has a Dynamo namespace of its own: not 'dynamo', not empty, without '_', and not the beginning of another's.",
  enforcementLevel: "mandatory",
  severity: "high",
  remediationSteps:
    "Set DYN_NAMESPACE to the pipeline's own name on every Dynamo container, with lower-case letters, digits and hyphens, " +
    "and leave DYN_NAMESPACE_PREFIX out, or set DYN_NAMESPACE_PREFIX_STRICT=true beside it.",
  configSchema: schemaOf({}),
  validateStack: ({ resources }, report) => {
    const names: Name[] = [];
    for (const dynamo of dynamoContainers(resources)) {
      const { container, pod } = dynamo;
      const resource = pod.object;
      const prefix = openPrefix(container);
      if (prefix) {
        tell(report, {
          resource,
          path: prefix,
          problem: "sets a namespace prefix, which also takes in every pipeline whose namespace begins with it",
          fix: "use DYN_NAMESPACE alone, or set DYN_NAMESPACE_PREFIX_STRICT=true",
        });
      }
      const name = nameOf(dynamo);
      if (!name) continue;
      const problem = problemOf(name.name);
      if (problem) {
        tell(report, {
          resource,
          path: name.path,
          problem: `${name.written ? "the Dynamo namespace" : "no Dynamo namespace is set, and the default"} ${shown(name.name)} ${problem}`,
          fix: "set DYN_NAMESPACE to the pipeline's own name",
        });
      } else names.push(name);
    }
    const byName = Map.groupBy(names, ({ name }) => name);
    for (const [name, holders] of byName) {
      const other = bestKnown(holders);
      for (const holder of holders) {
        if (!other || !apart(holder.place, other.place) || !meet(holder, other)) continue;
        tell(report, {
          resource: holder.resource,
          path: holder.path,
          problem: `the Dynamo namespace ${shown(name)} of ${placeText(holder.place)} is also that of ${placeText(other.place)} ('${other.resource.name}')`,
          fix: "give each pipeline a Dynamo namespace of its own",
        });
      }
    }
    for (const [inner, outer] of begun(byName)) {
      tell(report, {
        resource: inner.resource,
        path: inner.path,
        problem: `the Dynamo namespace ${shown(inner.name)} begins with ${shown(outer.name)}, that of ${placeText(outer.place)} ('${outer.resource.name}')`,
        fix: "choose names of which none begins with another",
      });
    }
  },
};

/** Where a prefix is set that may be the beginning of others' names, too. */
function openPrefix(container: Container): Path | undefined {
  const { env } = container;
  const path = flag(container, "--namespace-prefix")?.path ?? env.get("DYN_NAMESPACE_PREFIX")?.path;
  const strict = env.get("DYN_NAMESPACE_PREFIX_STRICT");
  const open = strict
    ? strict.value !== undefined && !/^(1|true)$/i.test(strict.value)
    : env.lacks("DYN_NAMESPACE_PREFIX_STRICT");
  return open ? path : undefined;
}

interface Name extends Pick<DynamoContainer, "place" | "brokered"> {
  name: string;
  resource: { name: string; urn: string };
  path: Path;
  /** Whether it stands in the manifest, rather than being what Dynamo takes when nothing does. */
  written: boolean;
}

/** The namespace that a container is in, or nothing while that is not known. */
function nameOf({ container, pod, place, brokered }: DynamoContainer): Name | undefined {
  const found = (name: string, path: Path, written = true): Name => ({
    name,
    path,
    written,
    place,
    brokered,
    resource: pod.object,
  });
  const option = namespaceFlag(container);
  if (option) return found(option.text, option.path);
  for (const word of container.words) {
    const endpoint = /^dyn:\/\/([^./]*)\./.exec(word.text)?.[1];
    if (endpoint !== undefined) return found(endpoint, word.path);
  }
  const variable = container.env.get("DYN_NAMESPACE");
  if (variable) return variable.value === undefined ? undefined : found(variable.value, variable.path);
  if (!pod.service) {
    return container.env.lacks("DYN_NAMESPACE") ? found("dynamo", [...container.path, "env"], false) : undefined;
  }
  const { path, body } = pod.service;
  if (at(body, "globalDynamoNamespace") === true) return found("dynamo", [...path, "globalDynamoNamespace"]);
  const written = text(at(body, "dynamoNamespace"));
  if (written !== undefined) return found(written, [...path, "dynamoNamespace"]);
  if (at(body, "dynamoNamespace") !== undefined) return undefined;
  const { namespace, objectName } = pod.object;
  // What the operator makes of a graph that says nothing.
  return namespace && objectName ? found(`${namespace}-${objectName}`, ["metadata", "name"]) : undefined;
}

function problemOf(name: string): string | undefined {
  if (name === "" || name === "dynamo") return "means all of them: its frontends see every pipeline's models";
  if (name.includes("_")) return "has a '_', with which Dynamo also joins namespace and component on NATS";
  return /^[a-z0-9-]+$/.test(name) ? undefined : "has other characters than lower-case letters, digits and hyphens";
}

/** Whether two pipelines' instances can see each other: native discovery ends at the Kubernetes namespace. */
const meet = (a: Name, b: Name): boolean =>
  a.brokered !== false || b.brokered !== false || a.place.namespace === b.place.namespace;

/** Each name that begins with another pipeline's, with the longest such. Sorted rather than paired: stacks get large. */
function begun(byName: ReadonlyMap<string, Name[]>): [inner: Name, outer: Name][] {
  const found: [Name, Name][] = [];
  const open: Name[][] = [];
  for (const name of [...byName.keys()].sort()) {
    while (open.length > 0 && !name.startsWith(open.at(-1)?.[0]?.name ?? "")) open.pop();
    const holders = byName.get(name) ?? [];
    for (const inner of holders) {
      const outer = open
        .slice(-8)
        .flatMap((names) => names.slice(0, 8))
        .findLast((candidate) => apart(inner.place, candidate.place) && meet(inner, candidate));
      if (outer) found.push([inner, outer]);
    }
    open.push(holders);
  }
  return found;
}
