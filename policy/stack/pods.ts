/** The pods that a stack's objects make, each container with its environment and command. */

import type { PolicyResource } from "@pulumi/policy";
import { Env } from "./env.ts";
import { type KubernetesObject, objectsOf } from "./objects.ts";
import { at, entries, isRecord, isUnknown, items, number, type Path, text } from "./value.ts";

export interface Pod {
  object: KubernetesObject;
  /** From the object to the pod's spec. */
  path: Path;
  spec: unknown;
  /** The labels of the pod itself. */
  labels: unknown;
  /** Pods wanted; undefined where it is not known, or not a matter of a number. */
  replicas: number | undefined;
  /** Whether somebody adds to what is written here (an operator, or what a patch patches): what is missing is not judged. */
  completed: boolean;
  containers: Container[];
  /** Dynamo's word for what a component of a graph is: `frontend`, `worker`, `planner`. */
  componentType: string | undefined;
  /** The service of a DynamoGraphDeployment, as it is written there. */
  service: { path: Path; body: unknown } | undefined;
}

export interface Container {
  pod: Pod;
  path: Path;
  body: unknown;
  init: boolean;
  image: string | undefined;
  env: Env;
  /** Command and arguments, as far as they are known. */
  words: Word[];
}

export interface Word {
  text: string;
  path: Path;
}

/** Every pod of a stack, in the order of its objects. */
export const podsOf = (resources: readonly PolicyResource[]): Pod[] => objectsOf(resources).flatMap(podsIn);

/** Where Kubernetes' own kinds have their pod template. */
const TEMPLATES: Record<string, Path> = {
  Pod: [],
  PodTemplate: ["template"],
  CronJob: ["spec", "jobTemplate", "spec", "template"],
  ...Object.fromEntries(
    ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"].map((kind) => [
      kind,
      ["spec", "template"],
    ]),
  ),
};

/** The pods that one object makes. */
export function podsIn(object: KubernetesObject): Pod[] {
  const { group, kind, body } = object;
  if (/^(core|apps|batch|extensions)$/.test(group)) {
    const path = Object.hasOwn(TEMPLATES, kind) ? TEMPLATES[kind] : undefined;
    if (!path) return [];
    const spec = at(body, ...path, "spec");
    if (!isRecord(spec)) return [];
    const replicas = number(at(body, "spec", "replicas") ?? (kind === "Deployment" ? 1 : undefined));
    return [podOf(object, [...path, "spec"], spec, { labels: at(body, ...path, "metadata", "labels"), replicas })];
  }
  if (group === "nvidia.com" && kind === "DynamoGraphDeployment") return graphPods(object);
  // Kubernetes' own other groups have no dot, or end in k8s.io, and make no pods.
  return !group.includes(".") || (group.endsWith(".k8s.io") && !/x-k8s\.io$/.test(group)) ? [] : podsByShape(object);
}

/** The pods of a DynamoGraphDeployment: by service in v1alpha1, by component in v1beta1. */
function graphPods(object: KubernetesObject): Pod[] {
  const shared = { value: at(object.body, "spec", "envs"), path: ["spec", "envs"] as Path };
  const services = entries(at(object.body, "spec", "services")).map(([name, body]) => {
    const path: Path = ["spec", "services", name];
    const inPod: Path = [...path, "extraPodSpec"];
    const spec = at(body, "extraPodSpec");
    const pod = podOf(object, inPod, isRecord(spec) ? spec : {}, facts(path, body, at(body, "componentType")));
    const main = at(spec, "mainContainer");
    pod.containers.unshift(
      containerOf(pod, [...inPod, "mainContainer"], isRecord(main) ? { ...main, ...own(main, body) } : own({}, body), [
        shared,
        { value: at(body, "envs"), path: [...path, "envs"] },
        { value: at(main, "env"), path: [...inPod, "mainContainer", "env"] },
      ]),
    );
    return pod;
  });
  const components = items(at(object.body, "spec", "components")).map((body, index) => {
    const path: Path = ["spec", "components", index];
    const spec = at(body, "podTemplate", "spec");
    const pod = facts(path, body, at(body, "type"));
    const made = podOf(object, [...path, "podTemplate", "spec"], isRecord(spec) ? spec : {}, pod);
    for (const container of made.containers) container.env = container.env.after(shared);
    return made;
  });
  return [...services, ...components];
}

/** What a service says of its main container beside it. */
function own(main: unknown, service: unknown): Record<string, unknown> {
  const secret = at(service, "envFromSecret");
  const limit = at(service, "resources", "limits", "gpu");
  return {
    ...(secret !== undefined && { envFrom: [{ secretRef: { name: secret } }, ...items(at(main, "envFrom"))] }),
    ...(limit !== undefined && { resources: { limits: { "nvidia.com/gpu": limit } } }),
    ...Object.fromEntries(
      ["livenessProbe", "readinessProbe"].flatMap((probe) => {
        const value = at(service, probe);
        return value === undefined ? [] : [[probe, value]];
      }),
    ),
  };
}

const facts = (path: Path, body: unknown, type: unknown): Partial<Pod> => ({
  labels: at(body, "labels"),
  replicas: number(at(body, "replicas")),
  completed: true,
  componentType: text(type),
  service: { path, body },
});

/** Whatever has a list of containers is taken for a pod's spec: that is how operators' resources embed one. */
function podsByShape(object: KubernetesObject): Pod[] {
  const found: Pod[] = [];
  const look = (value: unknown, path: Path): void => {
    if (value === null || typeof value !== "object" || path.length > 12) return;
    if (isRecord(value) && items(value.containers).some(isRecord)) {
      const labels = path.at(-1) === "spec" ? at(object.body, ...path.slice(0, -1), "metadata", "labels") : undefined;
      found.push(podOf(object, path, value, { labels, completed: true }));
      return;
    }
    const list = Array.isArray(value);
    for (const key of Object.keys(value)) {
      if (path.length === 0 && key !== "spec" && key !== "template") continue;
      look((value as Record<string, unknown>)[key], [...path, list ? Number(key) : key]);
    }
  };
  look(object.body, []);
  return found;
}

function podOf(object: KubernetesObject, path: Path, spec: unknown, more: Partial<Pod>): Pod {
  const pod: Pod = {
    object,
    path,
    spec,
    labels: undefined,
    replicas: undefined,
    completed: object.patch,
    containers: [],
    componentType: undefined,
    service: undefined,
    ...more,
  };
  for (const list of ["containers", "initContainers"]) {
    items(at(spec, list)).forEach((body, index) => {
      if (!isRecord(body)) return;
      const inPod = [...path, list, index];
      pod.containers.push(containerOf(pod, inPod, body, [{ value: at(body, "env"), path: [...inPod, "env"] }], list));
    });
  }
  return pod;
}

function containerOf(
  pod: Pod,
  path: Path,
  body: unknown,
  lists: { value: unknown; path: Path }[],
  list = "containers",
): Container {
  const words = ["command", "args"].flatMap((part) =>
    items(at(body, part)).flatMap((word, index): Word[] => {
      const known = text(word);
      return known === undefined ? [] : [{ text: known, path: [...path, part, index] }];
    }),
  );
  const from = at(body, "envFrom");
  const elsewhere = pod.completed || isUnknown(from) || items(from).length > 0;
  // A restarting init container is a sidecar.
  const init = list === "initContainers" && at(body, "restartPolicy") !== "Always";
  return { pod, path, body, init, image: text(at(body, "image")), env: new Env(lists, elsewhere), words };
}

/** The value after a flag, as `--flag value` or `--flag=value`. */
export function flag({ words }: Container, ...names: string[]): Word | undefined {
  for (const [index, word] of words.entries()) {
    for (const name of names) {
      if (word.text === name) return words[index + 1];
      if (word.text.startsWith(`${name}=`)) return { ...word, text: word.text.slice(name.length + 1) };
    }
  }
  return undefined;
}

/** The script that a shell is asked to run, or nothing when the container runs no shell. */
export function shellScript({ words }: Container): Word | undefined {
  if (!/^(.*\/)?(ba|da|a|z|k)?sh$/.test(words[0]?.text ?? "")) return undefined;
  const option = words.findIndex(({ text }) => /^-[a-z]*c$/.test(text));
  return option > 0 ? words[option + 1] : undefined;
}
