import assert from "node:assert/strict";
import * as pulumi from "@pulumi/pulumi";
import { Pipeline, type PipelineArgs } from "../../components/index.ts";
import { type Registered, run, warningsOf } from "./engine.ts";
import { envOf, platformNamed } from "./scene.ts";

const edge = (from: string, to: string) => ({ from, to, edge: "stream" as const });

/** Two sources, one processor, one sink. */
const flow = (change: Partial<PipelineArgs> = {}): Pipeline =>
  new Pipeline("flow", {
    platform: platformNamed("platform"),
    vertices: {
      in: { image: "i", kind: "source", replicas: 2 },
      tap: { image: "i", kind: "source" },
      cat: { image: "i", kind: "processor", partitions: 2, scale: { min: 1, max: 3 }, replicas: 5 },
      out: { image: "i", kind: "sink" },
    },
    edges: [edge("in", "cat"), edge("tap", "cat"), edge("cat", "out")],
    buffers: { replicas: 1 },
    ...change,
  });
const paused = { lifecycle: { desiredPhase: "Paused", pauseGracePeriodSeconds: 5 } } as const;

const SOURCES = ["flow.in-deployment", "flow.tap-deployment"];
const REST = ["flow.cat-deployment", "flow.out-deployment"];
const BUFFERS = ["flow.cat_0-stream", "flow.cat_1-stream", "flow.out_0-stream"];
const BUCKETS = ["cat_out", "in_SOURCE", "in_cat", "out_SINK", "tap_SOURCE", "tap_cat"].map(
  (bucket) => `flow.${bucket}-bucket`,
);
const STORES = [...BUFFERS, ...BUCKETS];
const GATE = "flow-drain";
const [TOPOLOGY, COMMIT] = ["flow-topology", "flow-topology-commit"];

/** Whether one resource waits for another, by itself or through others. */
function waits(all: Map<string, Registered>, one: string, other: string): boolean {
  const byName = new Map([...all.values()].map((resource) => [resource.name, resource]));
  const seen = new Set([one]);
  for (const name of seen) for (const next of byName.get(name)?.dependencies ?? []) seen.add(next);
  seen.delete(one);
  return seen.has(other);
}

/** Asserts that of each two neighbours all of the second wait for all of the first, and none of the first for one of the second. */
function inOrder(all: Map<string, Registered>, ...stages: string[][]): void {
  for (const [index, stage] of stages.entries()) {
    for (const earlier of stages.slice(0, index).flat()) {
      for (const name of stage) {
        assert.ok(waits(all, name, earlier), `${name} does not wait for ${earlier}`);
        assert.ok(!waits(all, earlier, name), `${earlier} waits for ${name}`);
      }
    }
  }
}

const inputs = (all: Map<string, Registered>, key: string) => all.get(key)?.inputs ?? assert.fail(`no ${key}`);
const environment = (all: Map<string, Registered>, vertex: string): Record<string, string> =>
  envOf(inputs(all, `Deployment flow.${vertex}-deployment`).spec.template.spec.containers[0]);

describe("a pipeline with edges", () => {
  let running: Map<string, Registered>;
  let atRest: Map<string, Registered>;
  before(async () => {
    running = await run(() => flow());
    atRest = await run(() => flow(paused));
  });

  it("starts its sources last, so that a destroy stops them first", () => {
    inOrder(running, [TOPOLOGY], STORES, REST, [GATE], SOURCES, [COMMIT]);
  });

  it("stops them first when it is paused, and touches the others only when what they sent is drained", () => {
    inOrder(atRest, [TOPOLOGY], SOURCES, [GATE], STORES, REST, [COMMIT]);
  });

  it("has the same resources in every phase", () => {
    assert.deepEqual([...atRest.keys()].sort(), [...running.keys()].sort());
    const made = [...running.values()].map(({ name }) => name);
    for (const name of [...STORES, ...SOURCES, ...REST, GATE, TOPOLOGY, COMMIT]) assert.ok(made.includes(name), name);
    assert.equal(made.filter((name) => /-(stream|bucket)$/.test(name)).length, STORES.length);
  });

  it("gives every vertex the pipeline's phase and replicas by its own spec", () => {
    const wanted = { in: 2, tap: 1, cat: 3, out: 1 };
    for (const [vertex, replicas] of Object.entries(wanted)) {
      const [up, down] = [running, atRest].map((all) => inputs(all, `Deployment flow.${vertex}-deployment`));
      assert.deepEqual([up?.spec.replicas, down?.spec.replicas], [replicas, 0], vertex);
      assert.equal(up?.metadata.annotations["ringfence.dev/phase"], "Running");
      assert.equal(down?.metadata.annotations["ringfence.dev/phase"], "Paused");
    }
  });

  it("tells each vertex its place, and live objects of which topology they are", () => {
    const { plan } = inputs(running, `Topology ${TOPOLOGY}`);
    for (const vertex of ["in", "tap", "cat", "out"]) {
      assert.deepEqual(JSON.parse(environment(running, vertex).RINGFENCE_FLOW ?? ""), plan.vertices[vertex]);
      const { annotations } = inputs(running, `Deployment flow.${vertex}-deployment`).metadata;
      assert.equal(annotations["ringfence.dev/topology-generation"], "7");
      assert.equal(annotations["ringfence.dev/topology-digest"], plan.digest);
    }
    const template = inputs(running, "Deployment flow.cat-deployment").spec.template.metadata;
    assert.equal(JSON.stringify(template).includes("topology"), false, "a new generation alone rolls no pods");
  });

  it("rolls only the pods of vertices that a change concerns", async () => {
    const other = await run(() =>
      flow({ edges: [edge("in", "cat"), edge("tap", "cat"), edge("cat", "out"), edge("in", "out")] }),
    );
    const rolled = ["in", "tap", "cat", "out"].filter((vertex) => {
      const key = `Deployment flow.${vertex}-deployment`;
      return JSON.stringify(inputs(other, key).spec) !== JSON.stringify(inputs(running, key).spec);
    });
    assert.deepEqual(rolled, ["in", "out"]);
  });

  it("asks for its buffers, its buckets and its gate as the plan has them, in its tenant's account", () => {
    const part = { platform: "platform", owner: "platform-ledger-id", logicalName: "default/flow" };
    const { __provider: _, ...stream } = inputs(running, "Stream flow.cat_1-stream");
    const { plan, discard } = inputs(running, `Topology ${TOPOLOGY}`);
    assert.equal(discard, false);
    const inAccount = { ...part, generation: "gen-of-default/flow", account: "A", topologyGeneration: 7 };
    const { config, digest } = plan.buffers.cat_1;
    assert.deepEqual(stream, { ...inAccount, name: "cat_1", config, digest });
    const { __provider: __, ...bucket } = inputs(running, "Bucket flow.in_cat-bucket");
    assert.deepEqual(bucket, { ...inAccount, name: "in_cat", replicas: 1, digest: plan.buckets.in_cat.digest });
    const gates = [running, atRest].map((all) => {
      const { phase, sources, buffers, graceSeconds, deletionGraceSeconds } = inputs(all, `Drain ${GATE}`);
      return { phase, sources, buffers, graceSeconds, deletionGraceSeconds };
    });
    const all = { sources: ["in", "tap"], buffers: ["cat_0", "cat_1", "out_0"], deletionGraceSeconds: 30 };
    assert.deepEqual(gates, [
      { ...all, phase: "Running", graceSeconds: 30 },
      { ...all, phase: "Paused", graceSeconds: 5 },
    ]);
  });

  it("says what became of the pause", () => {
    assert.equal(running.get("Pipeline flow")?.outputs?.drain, "running");
    assert.equal(atRest.get("Pipeline flow")?.outputs?.drain, "drained");
  });

  it("takes `discard` to its topology, and shows it to no vertex", async () => {
    const other = await run(() => flow({ buffers: { replicas: 1, discard: true } }));
    assert.equal(inputs(other, `Topology ${TOPOLOGY}`).discard, true);
    for (const vertex of ["in", "cat"]) {
      assert.equal(environment(other, vertex).RINGFENCE_FLOW, environment(running, vertex).RINGFENCE_FLOW);
    }
  });

  it("ends credentials of before a rotation after every vertex, in every phase", async () => {
    for (const lifecycle of [{}, paused.lifecycle]) {
      const all = await run(() => flow({ lifecycle, rotation: "2026-11" }));
      for (const vertex of [...SOURCES, ...REST]) assert.ok(waits(all, "flow-retired", vertex), vertex);
    }
  });
});

describe("what would override a pipeline's phase", () => {
  const refusals: Record<string, [() => unknown, RegExp]> = {
    "is no property of a vertex": [
      () => {
        const own = { image: "i", kind: "source", lifecycle: { desiredPhase: "Running" } };
        return flow({ ...paused, vertices: { in: own } as unknown as PipelineArgs["vertices"] });
      },
      /^flow\.vertices\.in\.lifecycle: found an unknown property; /,
    ],
    "cannot come later, for it decides the order": [
      () => flow({ lifecycle: { desiredPhase: pulumi.output("Paused" as const) } }),
      /^flow\.lifecycle\.desiredPhase: found a value that is known later; expected 'Running' or 'Paused' as it is/,
    ],
  };
  for (const [what, [program, message]] of Object.entries(refusals)) {
    it(what, async () => {
      await assert.rejects(run(program), { message });
    });
  }

  it("has no effect on replicas: a scale's minimum does not hold a paused vertex up", async () => {
    const all = await run(() => flow({ ...paused }));
    assert.equal(inputs(all, "Deployment flow.cat-deployment").spec.replicas, 0);
  });
});

describe("a window of ids that is no longer than the wait for an acknowledgement", () => {
  const told = (buffers: PipelineArgs["buffers"], change: Partial<PipelineArgs> = {}) =>
    warningsOf(() => flow({ buffers, ...change }));

  it("is warned of where a processor sends on, with the window that does", async () => {
    const [line, ...others] = await told({ dedupWindowSeconds: 30, ackWaitSeconds: 30 });
    assert.deepEqual(others, []);
    assert.match(line ?? "", /flow\.buffers\.dedupWindowSeconds: found 30; .* use more than 30, better 60$/);
  });

  it("is nobody's by default, nor any matter where nothing is sent on", async () => {
    for (const buffers of [undefined, { ackWaitSeconds: 5 }, { ackWaitSeconds: 600 }, { dedupWindowSeconds: 61 }])
      assert.deepEqual(await told(buffers), []);
    const ends = { in: { image: "i", kind: "source" }, out: { image: "i", kind: "sink" } } as const;
    assert.deepEqual(await told({ dedupWindowSeconds: 1 }, { vertices: ends, edges: [edge("in", "out")] }), []);
  });

  it("is left where messages do not live longer", async () => {
    assert.equal((await told({ maxAgeSeconds: 60 })).length, 1);
  });
});

describe("a mistake in edges", () => {
  it("ends the program before anything is made, also beside inputs that are not known yet", async () => {
    const image = pulumi.output(Promise.resolve("i"));
    const vertices = { in: { image, kind: "source" }, out: { image, kind: "sink" } } as const;
    await run(() => {
      assert.throws(() => flow({ vertices, edges: [edge("in", "dog")] }), {
        message: [
          "flow.edges[0].to: found 'dog'; expected one of in, out",
          "flow.vertices.out.kind: found 'sink'; expected an edge that leads to 'out'",
        ].join("\n"),
      });
    }).catch(() => undefined);
  });
});
