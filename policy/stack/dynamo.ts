/** NVIDIA Dynamo in a stack: which containers run it, as what, and over which planes. */

import type { PolicyResource } from "@pulumi/policy";
import { annotation } from "./objects.ts";
import { type Place, placeOf } from "./places.ts";
import { type Container, flag, type Pod, podsOf } from "./pods.ts";

export interface DynamoContainer {
  container: Container;
  pod: Pod;
  place: Place;
  role: "frontend" | "worker" | "other";
  /** Whether instances are found through etcd; undefined when that is not known. */
  brokered: boolean | undefined;
}

const WORKERS = /^(vllm|sglang|trtllm|tensorrt_llm|llama_cpp|mistralrs|mocker)$/;
const MODULE = /(?:^|[\s'"])-m\s+dynamo\.([a-z_]+)/;

export function dynamoContainers(resources: readonly PolicyResource[]): DynamoContainer[] {
  return podsOf(resources).flatMap((pod) => {
    const place = placeOf(pod.object);
    return pod.containers.flatMap((container): DynamoContainer[] => {
      const role = roleOf(container);
      return role && !container.init ? [{ container, pod, place, role, brokered: brokered(container) }] : [];
    });
  });
}

/** What a container runs of Dynamo, or nothing: told by its command, by its image, by its variables. */
function roleOf(container: Container): DynamoContainer["role"] | undefined {
  const { pod, words, image, env } = container;
  const module = MODULE.exec(words.map(({ text }) => text).join(" "))?.[1];
  const main = pod.service !== undefined && container === pod.containers[0];
  const settings = env.variables.some(({ name }) =>
    /^DYN_(NAMESPACE|COMPONENT|DISCOVERY_BACKEND|REQUEST_PLANE)/.test(name),
  );
  if (!module && !main && !settings && !/\/dynamo-frontend\b/.test(image ?? "")) return undefined;
  const part = env.value("DYN_COMPONENT")?.toLowerCase();
  const type = pod.componentType?.toLowerCase();
  if (module === "frontend" || /\/dynamo-frontend\b/.test(image ?? "")) return "frontend";
  if (module) return WORKERS.test(module) ? "worker" : "other";
  if ([type, part].includes("frontend")) return "frontend";
  return /^(worker|prefill|decode|backend)$/.test(type ?? part ?? "") ? "worker" : "other";
}

/** The runtime finds instances through etcd unless told otherwise; Dynamo's operator tells it otherwise. */
function brokered({ env, pod }: Container): boolean | undefined {
  const backend = env.get("DYN_DISCOVERY_BACKEND");
  if (backend) return backend.value === undefined ? undefined : backend.value.toLowerCase() === "etcd";
  if (pod.service) return annotation(pod.object, "nvidia.com/dynamo-discovery-backend") === "etcd";
  if (!env.lacks("DYN_DISCOVERY_BACKEND")) return undefined;
  return env.get("ETCD_ENDPOINTS") ? true : undefined;
}

/** The script or the words of a container, as one text. */
export const commandText = ({ words }: Container): string => words.map(({ text }) => text).join(" ");

/** The Dynamo namespace that a command's own arguments say. */
export const namespaceFlag = (container: Container) => flag(container, "--namespace");
