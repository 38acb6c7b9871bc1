/**
 * What a vertex promises while its pods are exchanged: what a person writes of it, and what follows for its pods and for the
 * programs in them, ours and Dynamo's. A vertex' own word goes before the pipeline's, that before the defaults.
 */
import { z } from "zod";
import { whole } from "./numbers.ts";
import { FRONTEND, type Planes } from "./planes.ts";
import { mapValues } from "./records.ts";

const within = (unit: string, least: number, most: number) => {
  const allowed = `expected a whole number of ${unit} from ${least} to ${most}`;
  return whole(allowed, least).max(most, allowed).optional();
};

/** The bounds keep milliseconds out, and what no request can want. */
export const availabilitySpec = z.strictObject({
  // etcd's shortest lease; Dynamo refuses 0, too (1.3.0 and newer).
  leaseTtlSeconds: within("seconds", 1, 3600),
  propagationSeconds: within("seconds", 0, 300),
  shutdownGraceSeconds: within("seconds", 0, 3600),
  migrationLimit: within("times", 0, 100),
});

/** How a vertex' pods end, and what its clients may count on meanwhile. Each field says what a restart costs without it. */
export interface AvailabilityInput {
  /**
   * Seconds after which a pod that died is no longer found in etcd, 1 to 3600: for so long requests may still be sent to it. A
   * worker that pauses longer loses its registration; Dynamo's ends then, so less than 5 or more than 30, the span that Dynamo's
   * documentation suggests, is warned of. @default 10, Dynamo's own
   */
  leaseTtlSeconds?: number | undefined;
  /**
   * Seconds until everybody has heard that a pod ends, 0 to 300: so long it goes on serving. Also the sleep before SIGTERM of a
   * vertex with ports, for Kubernetes takes addresses away as it ends pods, not before. @default 5, the shorter end of what
   * Dynamo's documentation suggests for frontends
   */
  propagationSeconds?: number | undefined;
  /**
   * Seconds in which requests that a pod has may finish, 0 to 3600: the longest generation. Dynamo sends those that take longer on
   * to another worker. @default 30, Kubernetes' own patience with a pod
   */
  shutdownGraceSeconds?: number | undefined;
  /**
   * How often Dynamo's frontend sends a request on to another worker when its worker fails, 0 to 100; 0 lets requests fail with
   * their workers. @default 3, as Dynamo's operator
   */
  migrationLimit?: number | undefined;
}

/** All of it said. */
export type Availability = { [field in keyof AvailabilityInput]-?: number };

const DEFAULTS: Availability = {
  leaseTtlSeconds: 10,
  propagationSeconds: 5,
  shutdownGraceSeconds: 30,
  migrationLimit: 3,
};

/** What of a vertex decides how its pods end. */
export interface Ending {
  /** Of Dynamo; undefined for other software. */
  component?: string | undefined;
  ports?: Record<string, number> | undefined;
  preStopSleepSeconds?: number | undefined;
  availability?: AvailabilityInput | undefined;
}

/** How a vertex' pods end. */
export interface Restart {
  availability: Availability;
  /** Until SIGTERM. */
  preStopSleepSeconds: number;
  /** The shortest time until SIGKILL that leaves room for all of it. */
  leastGraceSeconds: number;
  /** What that time is made of, in words. */
  why: string;
}

/** Beyond its grace a worker of ours gives its lease back and leaves NATS; a store that is away costs it so long at most. */
const MARGIN_SECONDS = 10;
/** Beyond its grace a pod of Dynamo's drains and cleans up, up to 30 s each, and gives its lease back; policies ask for as much. */
const DYNAMO_MARGIN_SECONDS = 90;

/** @param pipeline what the pipeline says for all of its vertices */
export function restartOf(vertex: Ending, pipeline: AvailabilityInput = {}): Restart {
  const { component, ports = {}, availability: own = {} } = vertex;
  const availability = mapValues<number, number>(
    DEFAULTS,
    (usual, field) => own[field as keyof Availability] ?? pipeline[field as keyof Availability] ?? usual,
  ) as Availability;
  const { propagationSeconds: propagation, shutdownGraceSeconds: grace } = availability;
  // Dynamo's workers leave discovery at SIGTERM and serve on, so nothing has to wait before.
  const slept = (component === undefined || component === FRONTEND) && Object.keys(ports).length > 0;
  const sleep = vertex.preStopSleepSeconds ?? (slept ? propagation : 0);
  const parts: Array<[what: string, seconds: number]> = [
    ["sleep before SIGTERM", sleep],
    ...(component === undefined ? [["propagation", propagation] satisfies [string, number]] : []),
    ["shutdown grace", grace],
    ["margin", component === undefined ? MARGIN_SECONDS : DYNAMO_MARGIN_SECONDS],
  ];
  return {
    availability,
    preStopSleepSeconds: sleep,
    leastGraceSeconds: parts.reduce((sum, [, seconds]) => sum + seconds, 0),
    why: parts.map(([what, seconds]) => `${what} ${seconds}`).join(" + "),
  };
}

/** Says why a pod cannot be killed after so many seconds, or nothing. */
export function graceProblem(
  given: number | undefined,
  { leastGraceSeconds: least, why }: Restart,
): string | undefined {
  // What is no number of seconds at all is told already.
  if (given === undefined || given < 0 || given >= least) return undefined;
  return `expected ${least} or more (${why}), or a smaller availability.shutdownGraceSeconds`;
}

/** Says why a lease is short or long for a registration that has to hold, or nothing. */
export function leaseWarning({ leaseTtlSeconds: ttl }: Availability): string | undefined {
  if (ttl < 5)
    return `found ${ttl}; a pause of the worker or of etcd that long takes its registration away: use 5 to 30`;
  if (ttl > 30) return `found ${ttl}; a pod that is killed is sent requests for so many seconds: use 5 to 30`;
  return undefined;
}

/** What `ringfence/runtime` reads. */
export const runtimeEnv = (given: Availability): Record<string, string> => ({
  RINGFENCE_LEASE_TTL: String(given.leaseTtlSeconds),
  RINGFENCE_PROPAGATION_SECONDS: String(given.propagationSeconds),
  RINGFENCE_GRACE_SECONDS: String(given.shutdownGraceSeconds),
});

/** What a component of Dynamo's reads. */
export function dynamoEnv(component: string, { discovery }: Planes, given: Availability): Record<string, string> {
  const grace = String(given.shutdownGraceSeconds);
  return {
    ...(discovery === "etcd" && { ETCD_LEASE_TTL: String(given.leaseTtlSeconds) }),
    ...(component === FRONTEND
      ? { DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS: grace, DYN_MIGRATION_LIMIT: String(given.migrationLimit) }
      : { DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS: grace }),
  };
}

/** Whose values come from here; a second word on one would contradict the pods' own times. */
const RUNTIME_VARIABLES = new Map<string, keyof Availability>([
  ["RINGFENCE_LEASE_TTL", "leaseTtlSeconds"],
  ["RINGFENCE_PROPAGATION_SECONDS", "propagationSeconds"],
  ["RINGFENCE_GRACE_SECONDS", "shutdownGraceSeconds"],
]);
const DYNAMO_VARIABLES = new Map<string, keyof Availability>([
  ["ETCD_LEASE_TTL", "leaseTtlSeconds"],
  ["DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS", "shutdownGraceSeconds"],
  ["DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS", "shutdownGraceSeconds"],
  ["DYN_MIGRATION_LIMIT", "migrationLimit"],
]);

/** Says why a vertex cannot set a variable itself, or nothing. */
export function saidByAvailability(variable: string, component: string | undefined): string | undefined {
  const field =
    RUNTIME_VARIABLES.get(variable) ?? (component === undefined ? undefined : DYNAMO_VARIABLES.get(variable));
  return field && `expected none, for 'availability.${field}' of the vertex or the pipeline says it`;
}
