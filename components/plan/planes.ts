/** The three planes of NVIDIA Dynamo: how its parts find each other, send each other requests, and tell of events. */
import { z } from "zod";
import { dynamoNamespaceProblem } from "./dynamo-keys.ts";

/** What carries each plane. Dynamo takes any mixture: each plane is a setting of its own. */
export interface Planes {
  /** `etcd` is the tenant's prefix; `kubernetes` needs the DynamoWorkerMetadata CRD in the cluster. */
  discovery: "etcd" | "kubernetes";
  /** `nats` is the tenant's account; `tcp` goes from pod to pod. Responses go from pod to pod in any case. */
  requests: "nats" | "tcp";
  /** `nats` is the tenant's account; `zmq` goes from pod to pod. */
  events: "nats" | "zmq";
}

/** How a person writes planes: by the name of a mixture, or each. */
export type PlanesInput = "brokered" | "native" | Planes;

/** `brokered` goes through the tenant's boundary, `native` is what Dynamo's operator sets. */
const MIXTURES: Record<string, Planes> = {
  brokered: { discovery: "etcd", requests: "nats", events: "nats" },
  native: { discovery: "kubernetes", requests: "tcp", events: "zmq" },
};

const planes = z.strictObject(
  {
    discovery: z.enum(["etcd", "kubernetes"], "expected 'etcd' or 'kubernetes'"),
    requests: z.enum(["nats", "tcp"], "expected 'nats' or 'tcp'"),
    events: z.enum(["nats", "zmq"], "expected 'nats' or 'zmq'"),
  },
  {
    error: ({ code }) =>
      code === "invalid_type" ? "expected 'brokered', 'native' or { discovery, requests, events }" : undefined,
  },
);

/** Takes a name or an object, gives the object. */
export const planesSpec = z
  .preprocess(
    (given) => (typeof given === "string" && Object.hasOwn(MIXTURES, given) ? MIXTURES[given] : given),
    planes,
  )
  .default(MIXTURES.brokered as Planes) as unknown as z.ZodDefault<z.ZodType<Planes, PlanesInput>>;

/** The planes behind a name; the object itself when each is written. */
export const planesOf = (given: PlanesInput): Planes =>
  typeof given === "string" ? (MIXTURES[given] as Planes) : given;

/** What Dynamo reads of its planes. Each is set: the defaults differ between versions, and between runtime and operator. */
const planeEnv = ({ discovery, requests, events }: Planes): Record<string, string> => ({
  DYN_DISCOVERY_BACKEND: discovery,
  DYN_REQUEST_PLANE: requests,
  DYN_EVENT_PLANE: events,
});

/** What makes a vertex one component of the pipeline's Dynamo, and of no other. */
export const componentEnv = (component: string, namespace: string, given: Planes): Record<string, string> => ({
  DYN_NAMESPACE: namespace,
  DYN_COMPONENT: component,
  ...planeEnv(given),
});

/**
 * Ports that a Dynamo component accepts connections on from the pipeline's other pods; undefined for any port.
 * @param ports those that the vertex declares: `responses` and `requests` are pinned by the graphs for this
 */
export function planePorts(
  component: string,
  { requests, events }: Planes,
  ports: Record<string, number>,
): number[] | undefined {
  const named = (name: string) => ports[name] ?? "unpinned";
  const accepts: Array<number | "unpinned"> = [];
  // Whoever sends a request opens a port for the response, whatever carried the request.
  if (component === FRONTEND) accepts.push(named("responses"));
  else if (requests === "tcp") accepts.push(named("requests"));
  // Publishers bind a port of the system's choice, and no setting pins it; frontends publish for their replicas.
  if (events === "zmq") return undefined;
  const pinned = accepts.filter((port) => port !== "unpinned");
  return pinned.length === accepts.length ? pinned : undefined;
}

/** The component that serves HTTP and routes; all others are workers. */
export const FRONTEND = "frontend";

/**
 * Says why a pipeline cannot have a Dynamo namespace, or nothing. Stricter than `dynamoNamespaceProblem`, which also judges the
 * namespaces of deployments that were there before.
 */
export function ownNamespaceProblem(namespace: string): string | undefined {
  if (namespace === "dynamo") return "means every namespace in Dynamo: its frontends would serve all pipelines' models";
  if (namespace.includes("_"))
    return "has a '_', with which Dynamo joins namespace and component on NATS: 'a_b' + 'c' is 'a' + 'b_c'";
  return dynamoNamespaceProblem(namespace);
}

/** Says why two pipelines' namespaces cannot stand beside each other, or nothing. */
export function namespacePairProblem(namespace: string, other: string): string | undefined {
  if (namespace === other) return "is the same, and so would be their models and workers";
  if (!namespace.startsWith(other) && !other.startsWith(namespace)) return undefined;
  return "begins like it: what looks for the shorter one by DYN_NAMESPACE_PREFIX, a raw prefix, also finds the longer one's workers";
}
