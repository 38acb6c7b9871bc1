/**
 * From a spec to a pipeline's topology: its buffers, its buckets, and what each vertex reads and writes. A buffer belongs to a
 * partition of the vertex that reads it, a bucket to an edge, as in NumaFlow. All names are those inside the tenant's own NATS
 * account; no vertex' name holds a '_' or a capital, so names of different things differ for any vertices.
 */
import { digestOf } from "./digest.ts";
import { mapValues } from "./records.ts";
import {
  buffersSpec,
  type EdgeSpec,
  type LimitsSpec,
  limitsSpec,
  type TopologySpec,
  type VertexKind,
} from "./topology-spec.ts";

/** Messages on their way to one partition of a vertex: a JetStream stream, its subject and its durable consumer, all of one name. */
export interface BufferPlan {
  name: string;
  /** Who reads it. */
  vertex: string;
  partition: number;
  config: {
    retention: "limits" | "workqueue" | "interest";
    maxMessages: number;
    /** 0 for no limit. */
    maxAgeSeconds: number;
    replicas: number;
    /** A message whose id came within it already is dropped. */
    dedupWindowSeconds: number;
    /** A message that nobody acknowledges for so long is delivered again. */
    ackWaitSeconds: number;
    maxAckPending: number;
  };
  /** Of `config`. */
  digest: string;
}

/** How far an edge, a source or a sink has come: the key-value store `<name>_OT`, as NumaFlow names it. */
export interface BucketPlan {
  name: string;
  replicas: number;
  /** Of `replicas`. */
  digest: string;
}

/** In the environment of a vertex' pods: its VertexFlow, as JSON. */
export const FLOW_VARIABLE = "RINGFENCE_FLOW";

/** What one vertex reads and writes. */
export interface VertexFlow {
  kind: VertexKind;
  /** Its buffers, one for each partition, in the partitions' order; none when no stream leads to it. */
  in: Array<{ buffer: string; digest: string }>;
  out: Array<{
    to: string;
    edge: "stream" | "request";
    /** Of `to`, in its partitions' order; none for requests, whose subject is the vertex' name. */
    buffers: string[];
    /** Set when `to` reduces by key: all messages of one key have to go to one buffer. */
    keyed?: true;
  }>;
  /** Set when requests lead to it. */
  serves?: true;
  /** Buckets of its edges, and of itself when it is a source or a sink. */
  bucketNames: string[];
  limits: LimitsSpec;
  /** Of all of the above; what concerns other vertices only does not change it, so their changes restart none of its pods. */
  digest: string;
}

/** The complete desired topology of a pipeline. */
export interface TopologyPlan {
  edges: EdgeSpec[];
  /** By name. */
  buffers: Record<string, BufferPlan>;
  /** By name. */
  buckets: Record<string, BucketPlan>;
  /** By the vertex' name. */
  vertices: Record<string, VertexFlow>;
  /** Of all of the above. */
  digest: string;
}

/** Stream, subject and durable consumer of one partition of a vertex. */
export const bufferName = (vertex: string, partition: number): string => `${vertex}_${partition}`;
export const edgeBucket = (from: string, to: string): string => `${from}_${to}`;
export const sourceBucket = (source: string): string => `${source}_SOURCE`;
export const sinkBucket = (sink: string): string => `${sink}_SINK`;

/** The vertices that a bucket's name tells of; `SOURCE` and `SINK` are none. */
export const verticesOfBucket = (name: string): string[] => name.split("_").filter((part) => /^[a-z]/.test(part));

/**
 * Compiles the topology of a spec that `topologyProblems` finds nothing wrong with.
 * @returns undefined for a pipeline without edges
 */
export function topologyOf({ vertices, edges, buffers, limits }: TopologySpec): TopologyPlan | undefined {
  if (edges === undefined) return undefined;
  const { discard: _, ...config } = buffersSpec.parse(buffers ?? {});
  const limited = limitsSpec.parse(limits ?? {});
  const sorted = edges
    .map(({ from, to, edge }) => ({ name: edgeBucket(from, to), edge: { from, to, edge } }))
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    .map(({ edge }) => edge);
  const leading = { from: Map.groupBy(sorted, ({ from }) => from), to: Map.groupBy(sorted, ({ to }) => to) };
  const streams = sorted.filter(({ edge }) => edge === "stream");
  const streamed = new Set(streams.flatMap(({ from, to }) => [from, to]));
  const receiving = new Set(streams.map(({ to }) => to));

  // All buffers of a pipeline are kept alike, and so are its buckets.
  const [bufferDigest, bucketDigest] = [digestOf(config), digestOf({ replicas: config.replicas })];
  const names = mapValues(vertices, ({ partitions = 1 }, vertex) =>
    receiving.has(vertex) ? Array.from({ length: partitions }, (_, partition) => bufferName(vertex, partition)) : [],
  );
  const bucketsOf = (vertex: string, kind: VertexKind): string[] => {
    if (!streamed.has(vertex)) return [];
    const own = [...(leading.to.get(vertex) ?? []), ...(leading.from.get(vertex) ?? [])]
      .filter(({ edge }) => edge === "stream")
      .map(({ from, to }) => edgeBucket(from, to));
    if (kind === "source") own.push(sourceBucket(vertex));
    if (kind === "sink") own.push(sinkBucket(vertex));
    // An edge from a vertex to itself leads both ways.
    return [...new Set(own)].sort();
  };

  const flows = mapValues(vertices, ({ kind }, vertex): VertexFlow => {
    const flow = {
      bucketNames: bucketsOf(vertex, kind as VertexKind),
      in: (names[vertex] ?? []).map((buffer) => ({ buffer, digest: bufferDigest })),
      kind: kind as VertexKind,
      limits: limited,
      out: (leading.from.get(vertex) ?? []).map(({ to, edge }) => ({
        buffers: edge === "stream" ? (names[to] ?? []) : [],
        edge,
        ...(edge === "stream" && vertices[to]?.reduce?.keyed && { keyed: true as const }),
        to,
      })),
      ...(leading.to.get(vertex)?.some(({ edge }) => edge === "request") && { serves: true as const }),
    };
    return { ...flow, digest: digestOf(flow) };
  });
  const kept = Object.keys(vertices).flatMap((vertex) =>
    (names[vertex] ?? []).map((name, partition): [string, BufferPlan] => [
      name,
      { name, vertex, partition, config, digest: bufferDigest },
    ]),
  );
  const bucketNames = new Set(Object.values(flows).flatMap((flow) => flow.bucketNames));
  return {
    edges: sorted,
    buffers: Object.fromEntries(kept),
    buckets: Object.fromEntries(
      [...bucketNames].map((name) => [name, { name, replicas: config.replicas, digest: bucketDigest }]),
    ),
    vertices: flows,
    // The flows name every buffer and bucket.
    digest: digestOf({ edges: sorted, config, flows: mapValues(flows, ({ digest }) => digest) }),
  };
}

/** Says what a window means that is no longer than the wait for an acknowledgement, or nothing. */
export function dedupWarning({ buffers, vertices }: TopologyPlan): string | undefined {
  const forwards = Object.values(vertices).some(({ in: inlets, out }) => inlets.length > 0 && out.length > 0);
  // All buffers of a pipeline are kept alike.
  const { dedupWindowSeconds: window, ackWaitSeconds: wait } = Object.values(buffers)[0]?.config ?? {};
  if (!forwards || window === undefined || wait === undefined || window > wait) return undefined;
  return `found ${window}; what a processor stored before it was killed comes again after ackWaitSeconds (${wait}), when its id is forgotten, and is stored twice: use more than ${wait}, better ${2 * wait}`;
}

/** How many buffers and buckets the topology of a spec has. */
export function sizeOf(
  vertices: TopologySpec["vertices"],
  edges: readonly EdgeSpec[],
): { buffers: number; buckets: number } {
  const streams = edges.filter(({ edge }) => edge === "stream");
  const receiving = new Set(streams.map(({ to }) => to));
  const ends = [...new Set(streams.flatMap(({ from, to }) => [from, to]))].filter(
    (vertex) => vertices[vertex]?.kind !== "processor",
  );
  const buffers = [...receiving].reduce((sum, vertex) => sum + (vertices[vertex]?.partitions ?? 1), 0);
  return { buffers, buckets: streams.length + ends.length };
}

/** What of a vertex' spec decides how many pods it has. */
export interface Scaled {
  replicas: number;
  scale?: { min: number; max?: number | undefined } | undefined;
}

/**
 * Pods that a vertex shall have: none while paused, else its replicas, at least `scale.min` and at most `scale.max`. Its own spec and
 * the phase decide, nothing that is alive (numaproj/numaflow#2419).
 */
export function replicasOf({ replicas, scale }: Scaled, phase: "Running" | "Paused"): number {
  if (phase === "Paused") return 0;
  return Math.min(Math.max(replicas, scale?.min ?? 0), scale?.max ?? Number.POSITIVE_INFINITY);
}
