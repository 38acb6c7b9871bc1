/** What a vertex is told of its place in the pipeline, and the proof that the pipeline is as it was told. */
import type { VertexFlow } from "../components/plan/topology.ts";
import { VisibleError } from "../components/plan/visible-error.ts";
import { until } from "../components/stores/errors.ts";
import type { BufferState, FlowBus } from "../components/stores/flow-bus.ts";
import type { Connection } from "./connection.ts";

export type { VertexFlow } from "../components/plan/topology.ts";

/** A vertex, and its place. */
export interface Place {
  vertex: string;
  flow: VertexFlow;
}

/** The tenant's copy of its topology record (docs/protocol.md). */
interface TopologyRecord {
  generation: number;
  state: "applying" | "committed";
  /** Of each vertex' place. */
  vertices: Record<string, string>;
  /** While it is applied: the places before, whose vertices go on until theirs has come. */
  before?: Record<string, string>;
}

const DIGEST = "ringfence.dev/digest";

/** @throws VisibleError */
export function readPlace(env: Readonly<Record<string, string | undefined>>): Place {
  const { RINGFENCE_VERTEX: vertex, RINGFENCE_FLOW: text } = env;
  if (!vertex || !text) {
    const name = vertex ? "RINGFENCE_FLOW" : "RINGFENCE_VERTEX";
    throw new VisibleError(
      `${name}: not set; expected what Ringfence gives every vertex of a pipeline with edges: run it as a vertex with a 'kind'`,
    );
  }
  try {
    return { vertex, flow: JSON.parse(text) as VertexFlow };
  } catch (cause) {
    throw new VisibleError("RINGFENCE_FLOW: found what is no JSON; expected it as Ringfence wrote it: do not set it", {
      cause,
    });
  }
}

/** What was found of the buffers that a vertex reads. */
export type Inlets = Map<string, BufferState>;

/**
 * Waits until the topology record has this vertex as it was told, and its buffers are there and are those of its plan.
 * @throws VisibleError that says what is not so; StoreError when a store does not answer
 */
export async function verified(
  { etcd, prefix }: Connection,
  bus: FlowBus,
  { vertex, flow }: Place,
  withinMs: number,
): Promise<Inlets> {
  let last: Error = new Error("not looked");
  return until(
    async () => {
      try {
        const key = `${prefix}ringfence/topology`;
        const { entries } = await etcd.list(key);
        const found = entries.find((entry) => entry.key === key);
        const missing = recordProblem(vertex, flow.digest, found?.value);
        if (missing) throw new VisibleError(missing);
        const inlets: Inlets = new Map();
        for (const { buffer, digest: wanted } of flow.in) {
          const state = await bus.buffer(buffer);
          const has = state?.metadata[DIGEST];
          if (!state) throw absent(bus, vertex, buffer, "in");
          if (has !== wanted) {
            throw new VisibleError(
              `${vertex}: its buffer '${buffer}' has digest '${has ?? "none"}', expected '${wanted}': run 'pulumi up'`,
            );
          }
          inlets.set(buffer, state);
        }
        for (const buffer of flow.out.flatMap(({ buffers }) => buffers)) {
          if (!(await bus.buffer(buffer))) throw absent(bus, vertex, buffer, "out");
        }
        return inlets;
      } catch (error) {
        last = error as Error;
        return undefined;
      }
    },
    {
      deadlineMs: withinMs,
      everyMs: 250,
      late: () => new VisibleError(`${last.message} (waited for ${Math.round(withinMs / 1000)} s)`, { cause: last }),
    },
  );
}

const absent = (bus: FlowBus, vertex: string, buffer: string, way: "in" | "out") =>
  new VisibleError(
    `${vertex}: ${bus.label} has no buffer '${buffer}', which it ${way === "in" ? "reads" : "writes"}: run 'pulumi up'`,
  );

function recordProblem(vertex: string, digest: string, text: string | undefined): string | undefined {
  if (text === undefined) return `${vertex}: etcd has no topology of this pipeline: run 'pulumi up'`;
  const { generation, state, vertices, before } = JSON.parse(text) as TopologyRecord;
  if (vertices[vertex] === digest || (state === "applying" && before?.[vertex] === digest)) return undefined;
  const found = vertices[vertex] === undefined ? "without it" : `with digest '${vertices[vertex]}'`;
  return `${vertex}: topology generation ${generation} (${state}) is ${found}, but this pod was made for '${digest}': another 'pulumi up' has changed it; its pods will come, or run it again`;
}
