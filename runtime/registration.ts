/** How an instance makes itself known: one key below the tenant's prefix, whose value says where it listens. */
import { INSTANCES } from "../components/plan/figures.ts";
import { VisibleError } from "../components/plan/visible-error.ts";

/** What is written of an instance; it never changes while the instance lives. */
export interface Registration {
  id: string;
  /** The NATS subject on which it answers. */
  subject: string;
  /** Which rollout of the vertex it belongs to; the one whose first instance started last is the newest. */
  rollout: string;
  /** Milliseconds since 1970. */
  started: number;
  /** For people. */
  host: string;
}

/** A part of a NATS subject and of an etcd key, so it may hold neither's separators and wildcards. */
const ENDPOINT = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/;

/** @throws VisibleError */
export function requireEndpoint(endpoint: string): void {
  if (ENDPOINT.test(endpoint)) return;
  throw new VisibleError(
    `endpoint: found '${endpoint}'; expected up to 63 letters, digits, '-' and '_', the first a letter or digit: rename it`,
  );
}

/** The keys of an endpoint's instances. */
export const instancesOf = (prefix: string, endpoint: string): string => `${prefix}${INSTANCES}${endpoint}/`;

export const subjectOf = (endpoint: string, id: string): string => `ringfence.v1.${endpoint}.${id}`;

/** @returns undefined for what no instance of ours has written */
export function readRegistration(value: string): Registration | undefined {
  try {
    const found = JSON.parse(value) as Partial<Registration>;
    const { id, subject, rollout, started, host } = found;
    const texts = [id, subject, rollout, host].every((text) => typeof text === "string");
    return texts && typeof started === "number" ? (found as Registration) : undefined;
  } catch {
    return undefined;
  }
}
