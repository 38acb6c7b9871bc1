/**
 * What a person writes of a pipeline's topology: kinds, edges, buffers and limits. Words and defaults are NumaFlow's (63ba4e8c8:
 * pkg/apis/numaflow/v1alpha1, and the buffer configuration of its isbsvc).
 */
import { z } from "zod";
import { count, seconds, whole } from "./numbers.ts";

const KIND = "expected 'source', 'processor' or 'sink'";

const atLeastOne = (what: string) => whole(`expected a whole number of ${what}, 1 or more`, 1);

/** How many pods a vertex may have while it runs. */
export const scaleSpec = z
  .strictObject({ min: count.default(0), max: count.optional() })
  .refine(({ min, max }) => max === undefined || min <= max, { path: ["max"], error: "expected no fewer than 'min'" });

/** What a vertex says of its place in a topology; to be spread into the vertex' schema. */
export const topologyVertexShape = {
  kind: z.enum(["source", "processor", "sink"], KIND).optional(),
  partitions: atLeastOne("partitions").optional(),
  reduce: z.strictObject({ keyed: z.boolean("expected true or false").default(false) }).optional(),
  scale: scaleSpec.optional(),
};

/** @param from and `to` are names of vertices */
export const edgeSpec = z.strictObject({
  from: z.string("expected the name of a vertex"),
  to: z.string("expected the name of a vertex"),
  edge: z.enum(["stream", "request"], "expected 'stream' or 'request'"),
});

export const edgesSpec = z
  .array(edgeSpec, "expected a list of edges")
  .min(1, "expected at least one edge; leave 'edges' out of a pipeline without");

/** NumaFlow's default for the window in which a buffer knows an id again, seconds. */
const DEDUP_SECONDS = 60;

/**
 * NumaFlow's default, 60 s, is as long as its wait for an acknowledgement: what comes again after that wait is stored when its id
 * has just been forgotten (docs/topology.md). Twice the wait leaves its next reader as long again, within a message's life.
 */
function dedupWindow({ ackWaitSeconds, maxAgeSeconds }: { ackWaitSeconds: number; maxAgeSeconds: number }): number {
  const window = Math.max(DEDUP_SECONDS, 2 * ackWaitSeconds);
  return maxAgeSeconds > 0 ? Math.min(window, maxAgeSeconds) : window;
}

/** How every buffer of the pipeline is kept. */
export const buffersSpec = z
  .strictObject({
    retention: z
      .enum(["limits", "workqueue", "interest"], "expected 'limits', 'workqueue' or 'interest'")
      .default("limits"),
    maxMessages: atLeastOne("messages").default(100_000),
    maxAgeSeconds: seconds.default(72 * 3600),
    replicas: whole("expected 1 to 5", 1).max(5, "expected 1 to 5, JetStream's most").default(3),
    dedupWindowSeconds: atLeastOne("seconds").optional(),
    ackWaitSeconds: atLeastOne("seconds").default(60),
    maxAckPending: atLeastOne("messages").default(25_000),
    discard: z.boolean("expected true or false").default(false),
  })
  .refine(({ dedupWindowSeconds = 0, maxAgeSeconds }) => maxAgeSeconds === 0 || dedupWindowSeconds <= maxAgeSeconds, {
    path: ["dedupWindowSeconds"],
    error: "expected at most 'maxAgeSeconds', as JetStream demands",
  })
  .transform(({ dedupWindowSeconds, ...kept }) => ({
    ...kept,
    dedupWindowSeconds: dedupWindowSeconds ?? dedupWindow(kept),
  }));

const PERCENT = "expected a percentage from 1 to 100";

/** How much is read at once, and how full a buffer may be before its writers wait. */
export const limitsSpec = z.strictObject({
  readBatchSize: atLeastOne("messages").default(500),
  bufferMaxLength: atLeastOne("messages").default(30_000),
  bufferUsageLimit: whole(PERCENT, 1).max(100, PERCENT).default(80),
});

/** What a pipeline says of its topology; to be spread into the pipeline's schema. */
export const topologyShape = {
  edges: edgesSpec.optional(),
  buffers: buffersSpec.optional(),
  limits: limitsSpec.optional(),
};

export type EdgeSpec = z.output<typeof edgeSpec>;
export type BuffersInput = z.input<typeof buffersSpec>;
export type LimitsInput = z.input<typeof limitsSpec>;
export type LimitsSpec = z.output<typeof limitsSpec>;
export type ScaleInput = z.input<typeof scaleSpec>;
export type VertexKind = NonNullable<z.output<typeof topologyVertexShape.kind>>;

/** What of a vertex' spec decides its place in a topology. */
export interface TopologyVertex {
  kind?: VertexKind | undefined;
  partitions?: number | undefined;
  reduce?: { keyed?: boolean | undefined } | undefined;
}

/** What of a pipeline's spec decides its topology, as written. */
export interface TopologySpec {
  vertices: Record<string, TopologyVertex>;
  edges?: EdgeSpec[] | undefined;
  buffers?: BuffersInput | undefined;
  limits?: LimitsInput | undefined;
}
