/**
 * What is wrong with a topology: NumaFlow's own validations (63ba4e8c8: pkg/reconciler/validator/pipeline_validate.go), and what
 * JetStream or the tenant's share of it would refuse in the middle of an `up`.
 */
import { z } from "zod";
import type { Planes } from "./planes.ts";
import { sizeOf } from "./topology.ts";
import { buffersSpec, type EdgeSpec, limitsSpec, type TopologySpec, type TopologyVertex } from "./topology-spec.ts";

/** A mistake, as zod's `addIssue` takes it. */
export interface TopologyProblem {
  path: Array<string | number>;
  /** What is allowed; what was found stands before it. */
  message: string;
}

/** What a topology is judged by, beside itself. */
export interface TopologyContext extends TopologySpec {
  /** The pipeline's. */
  name: string;
  planes: Planes;
  /** The share of JetStream that the tenant's account has; undefined when that is not known. */
  jetStream: { streams: number; consumers: number } | undefined;
  lifecycle: { pauseGracePeriodSeconds?: number | undefined; deletionGracePeriodSeconds?: number | undefined };
}

/** @returns nothing when the topology is right, or when there is none and nothing speaks of one */
export function topologyProblems(pipeline: TopologyContext): TopologyProblem[] {
  const { edges } = pipeline;
  if (edges === undefined) return withoutEdges(pipeline);
  // The schema says that these are too few.
  if (edges.length === 0 || Object.keys(pipeline.vertices).length === 0) return [];
  const misplaced = [...vertexProblems(pipeline), ...edgeProblems(pipeline, edges)];
  // What follows is about the graph as a whole, which there is not yet.
  if (misplaced.length > 0) return misplaced;
  return [...shapeProblems(pipeline, edges), ...roomProblems(pipeline, edges)];
}

/** Judges nothing but the topology, of a pipeline whose other parts may not be known yet. */
export const topologyAlone = z.custom<TopologyContext>().superRefine((pipeline, context) => {
  for (const { path, message } of topologyProblems(pipeline)) context.addIssue({ code: "custom", path, message });
});

const EDGELESS = "expected none, for the pipeline has no 'edges'";

/** What would be of no effect. */
function withoutEdges({ vertices, buffers, limits, lifecycle }: TopologyContext): TopologyProblem[] {
  const found: TopologyProblem[] = [];
  const refuse = (path: string[], given: unknown) => {
    if (given !== undefined) found.push({ path, message: EDGELESS });
  };
  for (const [name, { kind, partitions, reduce }] of Object.entries(vertices)) {
    for (const [property, given] of Object.entries({ kind, partitions, reduce }))
      refuse(["vertices", name, property], given);
  }
  refuse(["buffers"], buffers);
  refuse(["limits"], limits);
  const { pauseGracePeriodSeconds, deletionGracePeriodSeconds } = lifecycle;
  for (const [property, given] of Object.entries({ pauseGracePeriodSeconds, deletionGracePeriodSeconds }))
    refuse(["lifecycle", property], given);
  return found;
}

/** A label of DNS is at most this long; NumaFlow names a Service `<pipeline>-<vertex>-headless`. */
const MAX_LABEL = 63;

function vertexProblems({ name: pipeline, vertices, edges }: TopologyContext): TopologyProblem[] {
  const found: TopologyProblem[] = [];
  const streamed = new Set(edges?.filter(({ edge }) => edge === "stream").map(({ to }) => to));
  if (!/^[a-z]/.test(pipeline))
    found.push({ path: ["edges"], message: `expected a pipeline whose name begins with a letter, not '${pipeline}'` });
  for (const [name, vertex] of Object.entries(vertices)) {
    const issue = (property: keyof TopologyVertex, message: string) =>
      found.push({ path: ["vertices", name, property], message });
    const { kind, partitions = 1, reduce } = vertex;
    if (kind === undefined)
      issue("kind", "expected 'source', 'processor' or 'sink', as every vertex of a pipeline with edges has");
    if (reduce && kind !== "processor") issue("reduce", "expected none, for only a processor reduces");
    if (partitions > 1 && kind === "source") issue("partitions", "expected 1, for a source has no buffer");
    else if (partitions > 1 && reduce && !reduce.keyed)
      issue("partitions", "expected 1, for a reduce that is not keyed needs all messages in one place");
    else if (partitions > 1 && !streamed.has(name))
      issue("partitions", "expected 1, for no edge of the kind 'stream' leads to the vertex");
    const service = `${pipeline}-${name}-headless`;
    if (service.length > MAX_LABEL) {
      const most = `at most ${MAX_LABEL} characters, found ${service.length}`;
      found.push({ path: ["vertices", name], message: `as in NumaFlow, expected '${service}' to be ${most}` });
    }
  }
  for (const kind of ["source", "sink"]) {
    const some = Object.values(vertices).some((vertex) => vertex.kind === kind || vertex.kind === undefined);
    if (!some) found.push({ path: ["vertices"], message: `expected at least one vertex of the kind '${kind}'` });
  }
  return found;
}

function edgeProblems({ vertices }: TopologyContext, edges: readonly EdgeSpec[]): TopologyProblem[] {
  const found: TopologyProblem[] = [];
  const seen = new Map<string, number>();
  for (const [index, { from, to }] of edges.entries()) {
    const issue = (end: "from" | "to", message: string) => found.push({ path: ["edges", index, end], message });
    for (const [end, vertex] of [
      ["from", from],
      ["to", to],
    ] as const) {
      if (!Object.hasOwn(vertices, vertex)) issue(end, `expected one of ${Object.keys(vertices).join(", ")}`);
    }
    if (Object.hasOwn(vertices, to) && vertices[to]?.kind === "source")
      issue("to", "expected a processor or a sink, for nothing leads to a source");
    if (Object.hasOwn(vertices, from) && vertices[from]?.kind === "sink")
      issue("from", "expected a source or a processor, for nothing leads from a sink");
    const before = seen.get(`${from} ${to}`);
    if (before === undefined) seen.set(`${from} ${to}`, index);
    else issue("to", `expected each edge once, and '${from}' to '${to}' is edges[${before}] already`);
  }
  const [sending, receiving] = [new Set(edges.map(({ from }) => from)), new Set(edges.map(({ to }) => to))];
  for (const [vertex, { kind }] of Object.entries(vertices)) {
    if (kind === undefined) continue;
    const issue = (message: string) => found.push({ path: ["vertices", vertex, "kind"], message });
    if (kind !== "sink" && !sending.has(vertex)) issue(`expected an edge that leads from '${vertex}'`);
    if (kind !== "source" && !receiving.has(vertex)) issue(`expected an edge that leads to '${vertex}'`);
  }
  return found;
}

function shapeProblems({ vertices }: TopologyContext, edges: readonly EdgeSpec[]): TopologyProblem[] {
  const found: TopologyProblem[] = [];
  const apart = unconnected(Object.keys(vertices), edges);
  if (apart.length > 0) {
    const path = ["vertices", apart[0] as string];
    found.push({ path, message: `expected one connected graph; no way leads from the others to ${apart.join(", ")}` });
  }
  for (const vertex of onOrAfterCycle(Object.keys(vertices), edges)) {
    if (!vertices[vertex]?.reduce) continue;
    const message = "expected none on or after a cycle of edges, where it never knows that a window is complete";
    found.push({ path: ["vertices", vertex, "reduce"], message });
  }
  return found;
}

const DEFAULTS = { ...buffersSpec.parse({}), ...limitsSpec.parse({}) };

/** What of the buffers cannot be kept. */
function roomProblems(pipeline: TopologyContext, edges: readonly EdgeSpec[]): TopologyProblem[] {
  const found: TopologyProblem[] = [];
  const { planes, jetStream } = pipeline;
  const { maxMessages = DEFAULTS.maxMessages } = pipeline.buffers ?? {};
  const { bufferMaxLength = DEFAULTS.bufferMaxLength } = pipeline.limits ?? {};
  if (bufferMaxLength > maxMessages) {
    const message = `expected at most buffers.maxMessages (${maxMessages}), or the oldest unread message would be dropped`;
    found.push({ path: ["limits", "bufferMaxLength"], message });
  }
  const brokered = planes.discovery === "etcd" && (planes.requests === "nats" || planes.events === "nats");
  if (!brokered) {
    const message = "expected none, for vertices get no way to both etcd and NATS; expected planes 'brokered'";
    found.push({ path: ["edges"], message });
  }
  const needs = (of: "streams" | "consumers", least: number, what: string) => {
    if (jetStream && jetStream[of] < least)
      found.push({ path: ["jetStream", of], message: `expected at least ${least}, for ${what}` });
  };
  const { buffers: streams, buckets: stores } = sizeOf(pipeline.vertices, edges);
  needs("streams", streams + stores, `the topology has ${streams} buffers and ${stores} buckets`);
  needs("consumers", streams, `the topology has ${streams} buffers`);
  return found;
}

/** The vertices that cannot be reached from the first one, whichever way the edges point. */
function unconnected(vertices: readonly string[], edges: readonly EdgeSpec[]): string[] {
  const beside = new Map(vertices.map((vertex): [string, string[]] => [vertex, []]));
  for (const { from, to } of edges) {
    beside.get(from)?.push(to);
    beside.get(to)?.push(from);
  }
  const reached = new Set(vertices.slice(0, 1));
  // A set goes on to what is added while it is walked.
  for (const vertex of reached) for (const next of beside.get(vertex) ?? []) reached.add(next);
  return vertices.filter((vertex) => !reached.has(vertex));
}

/** What remains when every vertex that nothing leads to is taken away, again and again: cycles, and what comes after them. */
function onOrAfterCycle(vertices: readonly string[], edges: readonly EdgeSpec[]): string[] {
  const leading = new Map<string, number>();
  for (const { to } of edges) leading.set(to, (leading.get(to) ?? 0) + 1);
  const after = Map.groupBy(edges, ({ from }) => from);
  const gone = new Set(vertices.filter((vertex) => !leading.has(vertex)));
  for (const vertex of gone) {
    for (const { to } of after.get(vertex) ?? []) {
      const left = (leading.get(to) as number) - 1;
      leading.set(to, left);
      if (left === 0) gone.add(to);
    }
  }
  return vertices.filter((vertex) => !gone.has(vertex));
}
