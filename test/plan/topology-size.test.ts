import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { compile } from "../../components/plan/compile.ts";
import type { PipelineInput } from "../../components/plan/spec.ts";
import { packed, unpacked } from "../../components/plan/topology-size.ts";

const KINDS = { first: "source", last: "sink" } as const;

/** A chain of so many vertices, each with two partitions, named so. */
function chain(vertices: number, name: (index: number) => string): PipelineInput {
  const indexes = Array.from({ length: vertices }, (_, index) => index);
  return {
    ...{ name: "flow", realm: "dev", jetStream: { streams: 10 * vertices, consumers: 2 * vertices } },
    vertices: Object.fromEntries(
      indexes.map((index) => {
        const kind = index === 0 ? KINDS.first : index === vertices - 1 ? KINDS.last : "processor";
        return [name(index), { image: "i", kind, ...(kind !== "source" && { partitions: 2 }) }];
      }),
    ),
    edges: indexes.slice(1).map((index) => ({ from: name(index - 1), to: name(index), edge: "stream" })),
  };
}

/** Names that no other one resembles. */
const unlike = (index: number) => `v${createHash("sha256").update(String(index)).digest("hex").slice(0, 43)}`;

/** A source that sends to so many sinks. */
function star(sinks: number): PipelineInput {
  const names = Array.from({ length: sinks }, (_, index) => `out-${index}`);
  return {
    ...{ name: "flow", realm: "dev", jetStream: { streams: 10 * sinks, consumers: 2 * sinks } },
    vertices: {
      in: { image: "i", kind: "source" },
      ...Object.fromEntries(names.map((name) => [name, { image: "i", kind: "sink" as const }])),
    },
    edges: names.map((to) => ({ from: "in", to, edge: "stream" })),
  };
}

const topologyOf = (input: PipelineInput) => compile(input).topology ?? assert.fail("no topology");

describe("the size of a topology", () => {
  it("is no matter for a thousand vertices of two partitions, whose plan is kept compressed", () => {
    const plan = topologyOf(chain(1_000, unlike));
    const kept = packed(plan);
    assert(JSON.stringify(plan).length > 1.5 * 2 ** 20, "etcd would take it as it is");
    assert(kept.length < 2 ** 19, String(kept.length));
    assert.deepEqual(unpacked(kept), plan);
  });

  it("leaves the plans of most pipelines readable", () => {
    const plan = topologyOf(chain(10, unlike));
    assert.equal(packed(plan), JSON.stringify(plan));
    assert.deepEqual(unpacked(packed(plan)), plan);
  });

  it("is refused beyond what etcd takes in one request, with what it is and what to do", () => {
    assert.throws(() => compile(chain(3_000, unlike), "flow"), {
      message:
        /^flow\.edges: found 3000 vertices, 5998 buffers and 3001 buckets, \d+ bytes in a change of them; expected at most 1556480, for etcd takes no larger request by default: make several pipelines of it, .*$/,
    });
  });

  it("is refused where a vertex cannot be told all that it sends to", () => {
    topologyOf(star(1_000));
    assert.throws(() => compile(star(2_000), "flow"), {
      message:
        /^flow\.vertices\.in: found edges and partitions that take \d+ bytes of its pods' variable RINGFENCE_FLOW; expected at most 131072, for Linux takes no longer one: let fewer edges lead .*$/,
    });
  });
});
