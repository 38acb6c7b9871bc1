/** What the processes of a pipeline tell of themselves when they are asked, and how it is added up over them. */

/** A process that serves, asks or is part of a flow answers here with its `Figures`, JSON. No endpoint's name begins like that. */
export const FIGURES_SUBJECT = "ringfence.v1._figures";

/** Below a tenant's prefix: `<endpoint>/<instance>`, each key under its instance's lease. */
export const INSTANCES = "runtime/v1/instances/";

/** Of one process; what it does not do is left out. */
export interface Figures {
  vertex: string;
  host: string;
  serves?: Served;
  asks?: Asked[];
  flows?: Flowing;
}

/** What became of requests or messages since the process began, and how those of the last seconds went. */
export interface Done {
  inFlight: number;
  /** Outcome → requests or messages. */
  outcomes: Record<string, number>;
  /** Times that one was sent, or came, again. */
  retries: number;
  recent: Recently;
}

/** Of an endpoint's requests. */
export interface Handled extends Done {
  endpoint: string;
}

export interface Recently {
  /** The seconds that are told of: at most the last ten. */
  seconds: number;
  times: Times;
}

/** A worker. */
export interface Served extends Handled {
  instance: string;
  rollout: string;
  state: "starting" | "ready" | "draining";
}

/** A client of one endpoint. */
export interface Asked extends Handled {
  /** Instances that it may choose. */
  instances: number;
}

/** A source, a processor or a sink: `recent` has the messages that it said or handled, until all of them was stored. */
export interface Flowing extends Done {
  kind: (typeof FLOW_KINDS)[number];
  state: Served["state"];
  /** Messages that the next vertices have got. */
  sent: Recently;
}

export const FLOW_KINDS = ["source", "processor", "sink"] as const;

/** How many took how long: step of the scale → requests. */
export type Times = Record<number, number>;

/** Each step is a tenth above the one before, so that a percentile is right to 5 %. */
const RATIO = Math.log(1.1);

/** Of step 0, milliseconds. */
const LEAST_MS = 0.01;

/** Up to half an hour. */
export const STEPS = 200;

export const stepOf = (ms: number): number =>
  ms <= LEAST_MS ? 0 : Math.min(STEPS - 1, Math.round(Math.log(ms / LEAST_MS) / RATIO));

const countOf = (times: Times): number => Object.values(times).reduce((sum, count) => sum + count, 0);

/** The times of several processes in one. */
export function addedTimes(all: readonly Times[]): Times {
  const sum: Times = {};
  for (const times of all)
    for (const [step, count] of Object.entries(times)) sum[Number(step)] = (sum[Number(step)] ?? 0) + count;
  return sum;
}

/**
 * @param share 0 to 1
 * @returns milliseconds; undefined when nothing was counted
 */
export function percentileOf(times: Times, share: number): number | undefined {
  const wanted = Math.max(1, Math.ceil(countOf(times) * share));
  let seen = 0;
  for (const [step, count] of Object.entries(times)) {
    seen += count;
    if (seen >= wanted) return LEAST_MS * Math.exp(Number(step) * RATIO);
  }
  return undefined;
}

/** Requests a second, of all together. */
export const rateOf = (recent: readonly Recently[]): number =>
  recent.reduce((sum, { seconds, times }) => sum + (seconds > 0 ? countOf(times) / seconds : 0), 0);
