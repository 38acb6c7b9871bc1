import assert from "node:assert/strict";
import fc from "fast-check";
import { compile } from "../../components/plan/compile.ts";
import { parse } from "../../components/plan/problem.ts";
import { environmentSpec, type PipelineInput } from "../../components/plan/spec.ts";
import { edgeBucket, replicasOf, sizeOf, type TopologyPlan, topologyOf } from "../../components/plan/topology.ts";
import { label } from "./arbitraries.ts";

type Vertices = PipelineInput["vertices"];
type Edges = NonNullable<PipelineInput["edges"]>;

const vertex = (kind: "source" | "processor" | "sink", more: Partial<Vertices[string]> = {}): Vertices[string] => ({
  image: "i",
  kind,
  ...more,
});
const stream = (from: string, to: string): Edges[number] => ({ from, to, edge: "stream" });

/** in → cat → out, as in article 003. */
const whole = {
  name: "flow",
  realm: "dev",
  vertices: { in: vertex("source"), cat: vertex("processor"), out: vertex("sink") },
  edges: [stream("in", "cat"), stream("cat", "out")],
} satisfies PipelineInput;

const planOf = (change: Partial<PipelineInput> = {}): TopologyPlan => {
  const { topology } = compile({ ...whole, ...change });
  assert.ok(topology);
  return topology;
};
const withCat = (more: Partial<Vertices[string]>): Vertices => ({ ...whole.vertices, cat: vertex("processor", more) });

describe("the topology of a plan", () => {
  it("has a buffer for each partition of a vertex that streams lead to, a bucket for each edge, source and sink", () => {
    const { buffers, buckets } = planOf({ vertices: withCat({ partitions: 2 }) });
    assert.deepEqual(
      Object.values(buffers).map(({ name, vertex, partition }) => [name, vertex, partition]),
      [
        ["cat_0", "cat", 0],
        ["cat_1", "cat", 1],
        ["out_0", "out", 0],
      ],
    );
    assert.deepEqual(Object.keys(buckets).sort(), ["cat_out", "in_SOURCE", "in_cat", "out_SINK"]);
  });

  it("keeps buffers and reads them as NumaFlow does, unless told otherwise", () => {
    const kept = {
      retention: "limits",
      maxMessages: 100_000,
      maxAgeSeconds: 72 * 3600,
      replicas: 3,
      dedupWindowSeconds: 120,
      ackWaitSeconds: 60,
      maxAckPending: 25_000,
    };
    const { buffers, buckets, vertices } = planOf();
    assert.deepEqual(buffers.cat_0?.config, kept);
    assert.equal(buckets.in_cat?.replicas, 3);
    assert.deepEqual(vertices.cat?.limits, { readBatchSize: 500, bufferMaxLength: 30_000, bufferUsageLimit: 80 });
    const { lifecycle } = compile(whole);
    assert.deepEqual(lifecycle, {
      desiredPhase: "Running",
      pauseGracePeriodSeconds: 30,
      deletionGracePeriodSeconds: 30,
    });
    const other = planOf({ buffers: { replicas: 1, maxAgeSeconds: 0 }, limits: { readBatchSize: 7 } });
    assert.deepEqual(other.buffers.cat_0?.config, { ...kept, replicas: 1, maxAgeSeconds: 0 });
    assert.equal(other.buckets.in_cat?.replicas, 1);
    assert.equal(other.vertices.cat?.limits.readBatchSize, 7);
  });

  it("knows an id for twice as long as a message is waited for, at least for a minute, at most for a message's life", () => {
    const windows = [{ ackWaitSeconds: 300 }, { ackWaitSeconds: 5 }, { maxAgeSeconds: 90 }, { maxAgeSeconds: 0 }].map(
      (buffers) => planOf({ buffers }).buffers.cat_0?.config.dedupWindowSeconds,
    );
    assert.deepEqual(windows, [600, 60, 90, 120]);
  });

  it("tells each vertex what it reads and writes", () => {
    const { vertices, buffers } = planOf({
      vertices: { ...withCat({ partitions: 2, reduce: { keyed: true } }), ask: vertex("sink") },
      edges: [...whole.edges, { from: "cat", to: "ask", edge: "request" }],
    });
    const { digest } = buffers.cat_0 ?? {};
    const { digest: _, limits: __, ...cat } = vertices.cat ?? assert.fail("no flow");
    assert.deepEqual(cat, {
      kind: "processor",
      in: ["cat_0", "cat_1"].map((buffer) => ({ buffer, digest })),
      out: [
        { to: "ask", edge: "request", buffers: [] },
        { to: "out", edge: "stream", buffers: ["out_0"] },
      ],
      bucketNames: ["cat_out", "in_cat"],
    });
    assert.deepEqual(vertices.in?.out, [{ to: "cat", edge: "stream", buffers: ["cat_0", "cat_1"], keyed: true }]);
    assert.deepEqual([vertices.in?.in, vertices.in?.bucketNames], [[], ["in_SOURCE", "in_cat"]]);
    assert.deepEqual([vertices.ask?.in, vertices.ask?.bucketNames], [[], []], "requests need neither");
  });

  it("is not there without edges, and the plan says nothing of it", () => {
    const plan = compile({ name: "chat", realm: "dev", vertices: { web: { image: "i" } } });
    assert.equal("topology" in plan || "lifecycle" in plan, false);
  });

  it("has names that differ for different things, whatever the vertices are called", () => {
    const name = label(12).filter((one) => /^[a-z]/.test(one));
    const names = fc.uniqueArray(
      fc.oneof(fc.constantFrom("a", "b", "c", "a-b", "b-c", "a-b-c", "a-0", "b-source"), name),
      {
        minLength: 2,
        maxLength: 8,
      },
    );
    fc.assert(
      fc.property(names, fc.nat(3), (names, partitions) => {
        // Every pair, so that every name that two of them could share is there.
        const edges = names.flatMap((from) => names.map((to) => stream(from, to)));
        const vertices = Object.fromEntries(
          names.map((one, index) => [
            one,
            { kind: (["source", "processor", "sink"] as const)[index % 3], partitions: partitions + 1 },
          ]),
        );
        const { buffers, buckets } = topologyOf({ vertices, edges }) ?? assert.fail("no topology");
        const ends = names.filter((one) => vertices[one]?.kind !== "processor").length;
        assert.equal(Object.keys(buffers).length, names.length * (partitions + 1));
        assert.equal(Object.keys(buckets).length, edges.length + ends);
        // A key-value store is a stream, too: KV_<name>_OT.
        const streams = [...Object.keys(buffers), ...Object.keys(buckets).map((bucket) => `KV_${bucket}_OT`)];
        assert.equal(new Set(streams).size, streams.length);
        for (const one of streams) assert.match(one, /^[A-Za-z0-9_-]+$/, "JetStream takes it");
        assert.deepEqual(sizeOf(vertices, edges), {
          buffers: Object.keys(buffers).length,
          buckets: Object.keys(buckets).length,
        });
      }),
    );
    assert.notEqual(edgeBucket("a-b", "c"), edgeBucket("a", "b-c"), "NumaFlow's hyphens made these one");
  });
});

/** Graphs in layers: sources, processors that send to later ones, sinks. */
const graph: fc.Arbitrary<PipelineInput> = fc
  .tuple(fc.integer({ min: 1, max: 4 }), fc.infiniteStream(fc.nat()))
  .map(([processors, random]) => {
    const names = ["in", ...Array.from({ length: processors }, (_, index) => `p${index}`), "out"];
    const next = (below: number) => (random.next().value as number) % below;
    const vertices: Vertices = {};
    const edges: Edges = [];
    names.forEach((name, index) => {
      const kind = index === 0 ? "source" : index === names.length - 1 ? "sink" : "processor";
      vertices[name] = vertex(kind, kind === "source" ? {} : { partitions: 1 + next(3) });
      if (index === 0) return;
      edges.push(stream(names[next(index)] as string, name));
    });
    for (const name of names.slice(0, -1)) {
      if (!edges.some(({ from }) => from === name)) edges.push(stream(name, "out"));
    }
    return { ...whole, vertices, edges };
  });

describe("a change of a topology", () => {
  it("is none when only the order of what was written is another", () => {
    fc.assert(
      fc.property(graph, (one) => {
        const { vertices, edges = [] } = one;
        const turned = {
          ...one,
          vertices: Object.fromEntries(Object.entries(vertices).reverse()),
          edges: edges.toReversed(),
        };
        assert.deepEqual(compile(turned).topology, compile(one).topology);
        assert.equal(compile(turned).digest, compile(one).digest);
      }),
    );
  });

  it("gives another digest to the plan, and to those vertices only that read or write what changed", () => {
    fc.assert(
      fc.property(graph, fc.nat(), (one, choice) => {
        const names = Object.keys(one.vertices).filter((name) => name !== "in");
        const changed = names[choice % names.length] as string;
        const before = compile(one).topology ?? assert.fail("no topology");
        const { partitions = 1 } = one.vertices[changed] as Vertices[string];
        const grown = { ...(one.vertices[changed] as Vertices[string]), partitions: partitions + 1 };
        const after = compile({ ...one, vertices: { ...one.vertices, [changed]: grown } }).topology;
        assert.notEqual(after?.digest, before.digest);
        const concerned = [changed, ...(one.edges ?? []).filter(({ to }) => to === changed).map(({ from }) => from)];
        for (const name of Object.keys(one.vertices)) {
          const same = before.vertices[name]?.digest === after?.vertices[name]?.digest;
          assert.equal(same, !concerned.includes(name), name);
        }
      }),
    );
  });

  it("concerns nobody when it is of pods alone: image, replicas, phase, grace", () => {
    const { digest } = planOf();
    assert.equal(planOf({ vertices: withCat({ image: "j", replicas: 3, scale: { max: 4 } }) }).digest, digest);
    assert.equal(planOf({ lifecycle: { desiredPhase: "Paused", pauseGracePeriodSeconds: 1 } }).digest, digest);
    assert.equal(planOf({ buffers: { discard: true } }).digest, digest, "a permission, not a state");
  });

  it("shows in the plan's digest whatever it is", () => {
    const changes: Array<Partial<PipelineInput>> = [
      {},
      { edges: [...whole.edges, stream("in", "out")] },
      { edges: [stream("in", "cat"), { from: "cat", to: "out", edge: "request" }] },
      { vertices: withCat({ partitions: 2 }) },
      { vertices: withCat({ reduce: {} }) },
      { vertices: withCat({ scale: { min: 1 } }) },
      { buffers: { retention: "workqueue" } },
      { buffers: { maxMessages: 99_999 } },
      { buffers: { maxAgeSeconds: 99 } },
      { buffers: { replicas: 1 } },
      { buffers: { dedupWindowSeconds: 1 } },
      { buffers: { ackWaitSeconds: 1 } },
      { buffers: { maxAckPending: 1 } },
      { limits: { readBatchSize: 1 } },
      { limits: { bufferMaxLength: 1 } },
      { limits: { bufferUsageLimit: 1 } },
      { lifecycle: { pauseGracePeriodSeconds: 1 } },
      { lifecycle: { deletionGracePeriodSeconds: 1 } },
      { lifecycle: { desiredPhase: "Paused" } },
    ];
    const digests = changes.map((change) => compile({ ...whole, ...change }).digest);
    assert.deepEqual(
      digests.filter((one, index) => digests.indexOf(one) !== index),
      [],
    );
  });
});

describe("the replicas of a vertex", () => {
  it("are its own within its scale while it runs, and none while it is paused: its spec alone decides", () => {
    const scale = fc.tuple(fc.nat(9), fc.nat(9)).map(([min, more]) => ({ min, max: min + more }));
    fc.assert(
      fc.property(fc.nat(9), fc.option(scale, { nil: undefined }), (replicas, scale) => {
        const vertices = withCat({ replicas, ...(scale && { scale }) });
        const running = compile({ ...whole, vertices }).vertices.cat;
        const paused = compile({ ...whole, vertices, lifecycle: { desiredPhase: "Paused" } }).vertices.cat;
        assert.equal(running?.replicas, Math.min(Math.max(replicas, scale?.min ?? 0), scale?.max ?? replicas));
        assert.equal(paused?.replicas, 0);
        // What a pause took to zero comes back: the spec has it still.
        assert.equal(replicasOf({ replicas, scale }, "Running"), running?.replicas);
      }),
    );
  });

  it("count for the GPUs of a pool as they are clamped", () => {
    const pools = { h100: { product: "H100" } };
    const vertices = withCat({ gpus: 1, pool: "h100", scale: { min: 3 } });
    const plan = compile({ ...whole, pools, vertices });
    assert.equal(plan.gpus, 3);
    assert.equal(plan.quota.gpus["nvidia.com/gpu"], 4);
  });

  it("follow the pipeline's phase, whose copy every vertex has and none can change", () => {
    const lifecycle = { desiredPhase: "Paused", pauseGracePeriodSeconds: 5, deletionGracePeriodSeconds: 6 } as const;
    for (const vertex of Object.values(compile({ ...whole, lifecycle }).vertices)) {
      assert.deepEqual(vertex.lifecycle, lifecycle);
    }
    const own = withCat({ lifecycle: { desiredPhase: "Running" } } as object);
    assert.throws(() => compile({ ...whole, lifecycle, vertices: own }, "flow"), {
      message: /^flow\.vertices\.cat\.lifecycle: found an unknown property/,
    });
  });
});

describe("a mistake in a topology is one line", () => {
  const { in: source, cat, out } = whole.vertices;
  const mistakes: Record<string, [Partial<PipelineInput> | object, ...string[]]> = {
    "no edges in the list": [
      { edges: [] },
      "edges: found a list; expected at least one edge; leave 'edges' out of a pipeline without",
    ],
    "no vertices": [{ vertices: {} }, "vertices: found an object; expected at least one vertex"],
    "a pipeline's name that begins with a digit": [
      { name: "3d" },
      "edges: found a list; expected a pipeline whose name begins with a letter, not '3d'",
    ],
    "a vertex' name that begins with a digit": [
      { vertices: { ...whole.vertices, "1st": source } },
      "vertices.1st: found the name '1st'; it does not begin with a letter (RFC 1035)",
    ],
    "a vertex without a kind": [
      { vertices: { ...whole.vertices, cat: { image: "i" } } },
      "vertices.cat.kind: found nothing; expected 'source', 'processor' or 'sink', as every vertex of a pipeline with edges has",
    ],
    "a vertex of another kind": [
      { vertices: { ...whole.vertices, cat: { image: "i", kind: "map" } } },
      "vertices.cat.kind: found 'map'; expected 'source', 'processor' or 'sink'",
    ],
    "an edge to a source": [
      { edges: [...whole.edges, stream("cat", "in")] },
      "edges[2].to: found 'in'; expected a processor or a sink, for nothing leads to a source",
    ],
    "an edge from a sink": [
      { edges: [...whole.edges, stream("out", "cat")] },
      "edges[2].from: found 'out'; expected a source or a processor, for nothing leads from a sink",
    ],
    "a source without an edge": [
      { vertices: { ...whole.vertices, tap: source } },
      "vertices.tap.kind: found 'source'; expected an edge that leads from 'tap'",
    ],
    "a sink without an edge": [
      { vertices: { ...whole.vertices, log: out } },
      "vertices.log.kind: found 'sink'; expected an edge that leads to 'log'",
    ],
    "a processor without an edge": [
      { vertices: { ...whole.vertices, dog: cat } },
      "vertices.dog.kind: found 'processor'; expected an edge that leads from 'dog'",
      "vertices.dog.kind: found 'processor'; expected an edge that leads to 'dog'",
    ],
    "no source": [
      { vertices: { cat, out }, edges: [stream("cat", "cat"), stream("cat", "out")] },
      "vertices: found an object; expected at least one vertex of the kind 'source'",
    ],
    "no sink": [
      { vertices: { in: source, cat }, edges: [stream("in", "cat"), stream("cat", "cat")] },
      "vertices: found an object; expected at least one vertex of the kind 'sink'",
    ],
    "an edge to nobody": [
      { edges: [...whole.edges, stream("cat", "dog")] },
      "edges[2].to: found 'dog'; expected one of in, cat, out",
    ],
    "an edge of another kind": [
      { edges: [...whole.edges, { from: "in", to: "out", edge: "queue" }] },
      "edges[2].edge: found 'queue'; expected 'stream' or 'request'",
    ],
    "an edge that comes twice": [
      { edges: [...whole.edges, { ...stream("in", "cat"), edge: "request" }] },
      "edges[2].to: found 'cat'; expected each edge once, and 'in' to 'cat' is edges[0] already",
    ],
    "two graphs": [
      {
        vertices: { ...whole.vertices, tap: source, log: out },
        edges: [...whole.edges, stream("tap", "log")],
      },
      "vertices.tap: found an object; expected one connected graph; no way leads from the others to tap, log",
    ],
    "a reduce on a cycle": [
      { vertices: withCat({ reduce: {} }), edges: [...whole.edges, stream("cat", "cat")] },
      "vertices.cat.reduce: found an object; expected none on or after a cycle of edges, where it never knows that a window is complete",
    ],
    "a reduce after a cycle": [
      {
        vertices: { ...whole.vertices, sum: vertex("processor", { reduce: {} }) },
        edges: [stream("in", "cat"), stream("cat", "cat"), stream("cat", "sum"), stream("sum", "out")],
      },
      "vertices.sum.reduce: found an object; expected none on or after a cycle of edges, where it never knows that a window is complete",
    ],
    "a reduce that is no processor": [
      { vertices: { ...whole.vertices, out: vertex("sink", { reduce: {} }) } },
      "vertices.out.reduce: found an object; expected none, for only a processor reduces",
    ],
    "partitions of a source": [
      { vertices: { ...whole.vertices, in: vertex("source", { partitions: 2 }) } },
      "vertices.in.partitions: found 2; expected 1, for a source has no buffer",
    ],
    "partitions of a reduce without keys": [
      { vertices: withCat({ partitions: 2, reduce: {} }) },
      "vertices.cat.partitions: found 2; expected 1, for a reduce that is not keyed needs all messages in one place",
    ],
    "partitions that nothing is streamed to": [
      {
        vertices: withCat({ partitions: 2 }),
        edges: [{ ...stream("in", "cat"), edge: "request" }, stream("cat", "out")],
      },
      "vertices.cat.partitions: found 2; expected 1, for no edge of the kind 'stream' leads to the vertex",
    ],
    "no partitions": [
      { vertices: withCat({ partitions: 0 }) },
      "vertices.cat.partitions: found 0; expected a whole number of partitions, 1 or more",
    ],
    "a scale below zero": [
      { vertices: withCat({ scale: { min: -1 } }) },
      "vertices.cat.scale.min: found -1; expected a whole number, 0 or more",
    ],
    "a scale upside down": [
      { vertices: withCat({ scale: { min: 3, max: 2 } }) },
      "vertices.cat.scale.max: found 2; expected no fewer than 'min'",
    ],
    "names that are too long together": [
      { name: `f${"x".repeat(50)}` },
      `vertices.cat: found an object; as in NumaFlow, expected 'f${"x".repeat(50)}-cat-headless' to be at most 63 characters, found 64`,
      `vertices.out: found an object; as in NumaFlow, expected 'f${"x".repeat(50)}-out-headless' to be at most 63 characters, found 64`,
    ],
    "a usage limit above 100": [
      { limits: { bufferUsageLimit: 101 } },
      "limits.bufferUsageLimit: found 101; expected a percentage from 1 to 100",
    ],
    "more unread messages than a buffer holds": [
      { limits: { bufferMaxLength: 11 }, buffers: { maxMessages: 10 } },
      "limits.bufferMaxLength: found 11; expected at most buffers.maxMessages (10), or the oldest unread message would be dropped",
    ],
    "a window longer than a message's life": [
      { buffers: { dedupWindowSeconds: 61, maxAgeSeconds: 60 } },
      "buffers.dedupWindowSeconds: found 61; expected at most 'maxAgeSeconds', as JetStream demands",
    ],
    "another retention": [
      { buffers: { retention: "forever" } },
      "buffers.retention: found 'forever'; expected 'limits', 'workqueue' or 'interest'",
    ],
    "more replicas than JetStream has": [
      { buffers: { replicas: 6 } },
      "buffers.replicas: found 6; expected 1 to 5, JetStream's most",
    ],
    "more streams and consumers than the account may have": [
      { jetStream: { streams: 5, consumers: 1 } },
      "jetStream.streams: found 5; expected at least 6, for the topology has 2 buffers and 4 buckets",
      "jetStream.consumers: found 1; expected at least 2, for the topology has 2 buffers",
    ],
    "planes without etcd and NATS": [
      { planes: "native" },
      "edges: found a list; expected none, for vertices get no way to both etcd and NATS; expected planes 'brokered'",
    ],
    "a place of its own choice": [
      { vertices: withCat({ env: { RINGFENCE_FLOW: "{}" } }) },
      "vertices.cat.env.RINGFENCE_FLOW: found a string; expected none, for the pipeline's 'edges' say it",
    ],
    "a grace that is no number": [
      { lifecycle: { pauseGracePeriodSeconds: "30s" } },
      "lifecycle.pauseGracePeriodSeconds: found '30s'; expected a whole number of seconds, 0 or more",
    ],
    "what only edges give a meaning": [
      {
        edges: undefined,
        vertices: { cat: vertex("processor", { partitions: 2, reduce: {} }) },
        buffers: {},
        limits: {},
        lifecycle: { pauseGracePeriodSeconds: 1, deletionGracePeriodSeconds: 1 },
      },
      "vertices.cat.kind: found 'processor'; expected none, for the pipeline has no 'edges'",
      "vertices.cat.partitions: found 2; expected none, for the pipeline has no 'edges'",
      "vertices.cat.reduce: found an object; expected none, for the pipeline has no 'edges'",
      "buffers: found an object; expected none, for the pipeline has no 'edges'",
      "limits: found an object; expected none, for the pipeline has no 'edges'",
      "lifecycle.pauseGracePeriodSeconds: found 1; expected none, for the pipeline has no 'edges'",
      "lifecycle.deletionGracePeriodSeconds: found 1; expected none, for the pipeline has no 'edges'",
    ],
  };
  for (const [what, [change, ...lines]] of Object.entries(mistakes)) {
    it(what, () => {
      const given = Object.fromEntries(
        Object.entries({ ...whole, ...change }).filter(([, value]) => value !== undefined),
      );
      assert.throws(
        () => compile(given as PipelineInput),
        (error: Error) => {
          assert.deepEqual(error.message.split("\n"), lines);
          return true;
        },
      );
    });
  }

  it("also in a stack's config, where a ready graph has no edges", () => {
    const { name, realm: _, ...flow } = whole;
    assert.doesNotThrow(() => parse(environmentSpec, { pipelines: { [name]: flow } }, "ringfence:"));
    const graph = { graph: "aggregated", engine: { model: "m" }, worker: { pool: "h100" } };
    const pipelines = {
      flow: { ...flow, edges: [...flow.edges, stream("cat", "dog")] },
      chat: { dynamo: graph, edges: flow.edges },
    };
    const config = { pools: { h100: { product: "H100" } }, pipelines };
    assert.throws(() => parse(environmentSpec, config, "ringfence:"), {
      message: [
        "ringfence:pipelines.flow.edges[2].to: found 'dog'; expected one of in, cat, out",
        "ringfence:pipelines.chat.edges: found a list; expected none beside 'dynamo'",
      ].join("\n"),
    });
  });
});

describe("a cycle", () => {
  const cycles: Record<string, Edges> = {
    "of one vertex": [...whole.edges, stream("cat", "cat")],
    "of two": [stream("in", "cat"), stream("cat", "dog"), stream("dog", "cat"), stream("cat", "out")],
  };
  for (const [what, edges] of Object.entries(cycles)) {
    it(`${what} is as good as in NumaFlow, also before it a reduce`, () => {
      const dog = edges.some(({ to }) => to === "dog") && { dog: vertex("processor") };
      const vertices = { ...whole.vertices, ...dog, sum: vertex("processor", { reduce: {} }) };
      const all = [stream("in", "sum"), stream("sum", "out"), ...edges];
      assert.ok(compile({ ...whole, vertices, edges: all }).topology?.buffers.cat_0);
    });
  }
});
