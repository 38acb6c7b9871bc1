/**
 * What a pipeline with edges has beyond its vertices: its topology in the registry, buffers, buckets, and a gate between its
 * sources and the rest.
 */
import * as pulumi from "@pulumi/pulumi";
import type { Lifecycle } from "./plan/compile.ts";
import { canonical } from "./plan/digest.ts";
import { TOPOLOGY_DIGEST_ANNOTATION, TOPOLOGY_GENERATION_ANNOTATION } from "./plan/labels.ts";
import { dedupWarning, FLOW_VARIABLE, type TopologyPlan, type VertexFlow } from "./plan/topology.ts";
import { Bucket } from "./resources/bucket.ts";
import { Drain } from "./resources/drain.ts";
import { Stream } from "./resources/stream.ts";
import { Topology } from "./resources/topology.ts";
import { TopologyCommit } from "./resources/topology-commit.ts";
import type { Tenant } from "./tenant.ts";
import type { Vertex } from "./vertex.ts";

/** What a vertex is told of its place, and what has to be settled before its pods are changed. */
export interface Place {
  /** Environment variables. */
  env: Record<string, string>;
  /** Of its live objects. */
  annotations: Record<string, pulumi.Input<string>>;
  after: pulumi.Resource[];
}

/** The place of a vertex in a pipeline without edges: none. */
export const NOWHERE: Place = { env: {}, annotations: {}, after: [] };

export interface ArrangedArgs {
  tenant: Tenant;
  plan: TopologyPlan;
  lifecycle: Lifecycle;
  /** Let what leaves the topology take its unread messages with it. */
  discard: boolean;
  /** Makes a vertex at its place. */
  vertex: (name: string, place: Place) => Vertex;
}

export interface Arranged {
  vertices: Record<string, Vertex>;
  /** What became of the last pause: `running`, `drained`, or `timed out, …` with what was left. */
  drain: pulumi.Output<string>;
}

/**
 * Makes the vertices of a pipeline with edges, and what is between them. Pulumi changes things in the order of their dependencies and
 * deletes in reverse, so the order is the lifecycle:
 * - Running: buffers → rest → gate → sources. Sources start last; a destroy stops them first, and drains what they sent.
 * - Paused: sources → gate → buffers → rest. Sources stop first, and what they sent is drained through the buffers and by the vertices
 *   as they were, also when the same `up` changes those.
 */
export function arrange(name: string, args: ArrangedArgs, options: pulumi.CustomResourceOptions): Arranged {
  const { tenant, plan, lifecycle } = args;
  const duplicates = dedupWarning(plan);
  if (duplicates) pulumi.log.warn(`${name}.buffers.dedupWindowSeconds: ${duplicates}`, options.parent);
  const { topologyGeneration } = new Topology(
    `${name}-topology`,
    { ...tenant.part, plan, discard: args.discard },
    options,
  );
  const inside = { ...tenant.part, account: tenant.nats.account };
  const vertices: Record<string, Vertex> = {};
  const settle = (names: string[], after: pulumi.Resource[]): Vertex[] =>
    names.map((vertex) => {
      const made = args.vertex(vertex, {
        env: { [FLOW_VARIABLE]: canonical(plan.vertices[vertex]) },
        annotations: {
          [TOPOLOGY_GENERATION_ANNOTATION]: topologyGeneration.apply(String),
          [TOPOLOGY_DIGEST_ANNOTATION]: plan.digest,
        },
        after,
      });
      vertices[vertex] = made;
      return made;
    });
  const keep = (after: pulumi.Resource[]): pulumi.Resource[] => {
    const behind = { ...options, dependsOn: after };
    return [
      ...Object.values(plan.buffers).map(
        ({ name: buffer, config, digest }) =>
          new Stream(
            `${name}.${buffer}-stream`,
            { ...inside, name: buffer, config, digest, topologyGeneration },
            behind,
          ),
      ),
      ...Object.values(plan.buckets).map(
        ({ name: bucket, replicas, digest }) =>
          new Bucket(
            `${name}.${bucket}-bucket`,
            { ...inside, name: bucket, replicas, digest, topologyGeneration },
            behind,
          ),
      ),
    ];
  };
  const kindOf = (vertex: string) => (plan.vertices[vertex] as VertexFlow).kind;
  const [sources, rest] = [true, false].map((sends) =>
    Object.keys(plan.vertices).filter((vertex) => (kindOf(vertex) === "source") === sends),
  ) as [string[], string[]];
  const { desiredPhase: phase, pauseGracePeriodSeconds: graceSeconds } = lifecycle;
  const gate = (after: pulumi.Resource[]): Drain =>
    new Drain(
      `${name}-drain`,
      {
        ...inside,
        namespace: tenant.namespace,
        phase,
        sources,
        buffers: Object.keys(plan.buffers),
        graceSeconds,
        deletionGraceSeconds: lifecycle.deletionGracePeriodSeconds,
      },
      { ...options, dependsOn: after },
    );

  let drain: Drain;
  let stores: pulumi.Resource[];
  if (phase === "Running") {
    stores = keep([]);
    drain = gate([...stores, ...settle(rest, stores)]);
    settle(sources, [drain]);
  } else {
    drain = gate(settle(sources, []));
    stores = keep([drain]);
    settle(rest, [drain, ...stores]);
  }
  new TopologyCommit(
    `${name}-topology-commit`,
    { ...inside, topologyGeneration, namespace: tenant.namespace, phase, graceSeconds },
    { ...options, dependsOn: [...stores, drain, ...Object.values(vertices)] },
  );
  return { vertices, drain: drain.outcome };
}
