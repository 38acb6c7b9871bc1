import assert from "node:assert/strict";
import fc from "fast-check";
import {
  memoryLabel,
  nodeLabels,
  type PoolInput,
  poolSpec,
  quotaSpec,
  resourceOf,
  roomOf,
} from "../../components/plan/gpu.ts";
import { type GpuVertex, gpuProblems, gpusOf, sharedPoolProblems, surgesOf } from "../../components/plan/gpu-room.ts";
import { InvalidSpec, parse } from "../../components/plan/problem.ts";

const H100 = "NVIDIA-H100-80GB-HBM3";
const pool = (change: Partial<PoolInput> = {}) => parse(poolSpec, { product: H100, ...change }, "h100");
const mig = (profile: string, strategy: "single" | "mixed" = "mixed", more: object = {}) => ({
  mig: { profile, strategy, ...more },
});

describe("a GPU pool", () => {
  const NAMES = /known here: product, nodes, gpusPerNode, memoryMiB, mig, timeSlicing, nodeSelector, tolerations, /;
  const alone = "expected the product alone; `mig` and `timeSlicing` say what the label adds to it";
  const mistakes: Array<[change: object, line: string | RegExp]> = [
    [{ product: "" }, "h100.product: found ''; expected a product as GPU feature discovery labels it"],
    [{ product: `${H100}-MIG-1g.10gb` }, `h100.product: found '${H100}-MIG-1g.10gb'; ${alone}`],
    [{ product: `${H100}-SHARED` }, `h100.product: found '${H100}-SHARED'; ${alone}`],
    [{ nodes: 0 }, "h100.nodes: found 0; expected a whole number, 1 or more"],
    [{ gpusPerNode: 1.5 }, "h100.gpusPerNode: found 1.5; expected a whole number, 1 or more"],
    [{ memory: 1 }, NAMES],
    [mig("1g.10gb", "both" as "mixed"), "h100.mig.strategy: found 'both'; expected 'single' or 'mixed'"],
    [
      mig("1g.5gb"),
      `h100.mig.profile: found '1g.5gb'; '${H100}' has 1g.10gb, 1g.10gb.me, 1g.20gb, 2g.20gb, 3g.40gb, 4g.40gb, 7g.80gb`,
    ],
    [mig("1g.10gb+me"), /found '1g.10gb\+me'; .* has 1g.10gb, 1g.10gb.me, /],
    [{ product: "NVIDIA-L40S", ...mig("1g.5gb") }, "h100.mig.profile: found '1g.5gb'; 'NVIDIA-L40S' has no MIG"],
    [mig("3g.40gb", "mixed", { perGpu: 3 }), "h100.mig.perGpu: found 3; one GPU holds at most 2 of 3g.40gb"],
    [{ timeSlicing: { replicas: 1 } }, "h100.timeSlicing.replicas: found 1; expected a whole number, 2 or more"],
    [{ priority: 2e9 }, /h100.priority: found 2000000000; expected at most 1000000000/],
    [{ priority: 1, priorityClass: "high" }, "h100.priority: found 1; expected none beside priorityClass 'high'"],
    [{ rollout: "recreate" }, "h100.rollout: found 'recreate'; expected 'surge' or 'replace'"],
    [{ tolerations: [{ key: "a", effect: "Never" }] }, /h100.tolerations\[0\].effect: found 'Never'; expected 'NoSch/],
  ];
  for (const [change, line] of mistakes)
    it(`is refused with ${JSON.stringify(change)}`, () => {
      assert.throws(
        () => pool(change),
        (error) => {
          assert(error instanceof InvalidSpec);
          if (typeof line === "string") assert.equal(error.message, line);
          else assert.match(error.message, line);
          return true;
        },
      );
    });

  it("may have a product that is not known here, cut as it says", () => {
    const next = pool({ product: "NVIDIA-Z900-NEXT", gpusPerNode: 8, ...mig("1g.99gb") });
    assert.equal(roomOf(next), undefined);
    assert.equal(
      roomOf(pool({ product: "NVIDIA-Z900-NEXT", gpusPerNode: 8, ...mig("1g.99gb", "mixed", { perGpu: 3 }) })),
      24,
    );
  });

  // As k8s-device-plugin v0.20.0 writes them (internal/lm/resource.go; README.md, "Shared Access to GPUs").
  const forms: Array<[what: string, cut: Partial<PoolInput>, resource: string, room: number, labels: object]> = [
    ["whole GPUs", {}, "nvidia.com/gpu", 8, { "nvidia.com/gpu.product": H100 }],
    [
      "slices of MIG's strategy single",
      mig("1g.10gb", "single"),
      "nvidia.com/gpu",
      56,
      { "nvidia.com/gpu.product": `${H100}-MIG-1g.10gb`, "nvidia.com/mig.strategy": "single" },
    ],
    [
      "slices of MIG's strategy mixed",
      mig("3g.40gb", "mixed", { perGpu: 1 }),
      "nvidia.com/mig-3g.40gb",
      8,
      { "nvidia.com/mig-3g.40gb.product": `${H100}-MIG-3g.40gb`, "nvidia.com/mig.strategy": "mixed" },
    ],
    [
      "shares of GPUs",
      { timeSlicing: { replicas: 4 } },
      "nvidia.com/gpu",
      32,
      { "nvidia.com/gpu.product": `${H100}-SHARED`, "nvidia.com/gpu.replicas": "4" },
    ],
    [
      "shares of GPUs under a name of their own",
      { timeSlicing: { replicas: 4, renamed: true } },
      "nvidia.com/gpu.shared",
      32,
      { "nvidia.com/gpu.product": H100, "nvidia.com/gpu.replicas": "4" },
    ],
    [
      "shares of slices",
      { ...mig("1g.10gb.me"), timeSlicing: { replicas: 2 } },
      "nvidia.com/mig-1g.10gb.me",
      16,
      {
        "nvidia.com/mig-1g.10gb.me.product": `${H100}-MIG-1g.10gb.me-SHARED`,
        "nvidia.com/mig-1g.10gb.me.replicas": "2",
        "nvidia.com/mig.strategy": "mixed",
      },
    ],
  ];
  for (const [what, cut, resource, room, labels] of forms)
    it(`of ${what} asks for its resource on its nodes`, () => {
      const spec = pool({ gpusPerNode: 8, ...cut });
      assert.equal(resourceOf(spec), resource);
      assert.equal(roomOf(spec), room);
      assert.deepEqual(nodeLabels(H100, spec), labels);
      assert.equal(memoryLabel(spec), `${resource.replace(".shared", "")}.memory`);
    });
});

describe("asking for GPUs", () => {
  const pools = { h100: pool({ nodes: 4, gpusPerNode: 8 }) };
  const worker = (replicas: number, gpus = 1, name = "h100"): GpuVertex => ({ replicas, gpus, pool: name });
  const said = (
    vertices: Record<string, GpuVertex>,
    all: Record<string, ReturnType<typeof pool>> = pools,
    quota?: object,
  ) =>
    gpuProblems(vertices, all, quota && parse(quotaSpec, quota, "quota")).map(
      ({ path, message }) => `${path.join(".")}: ${message}`,
    );

  it("is fine while the pool holds it, and a pod more for rolling updates", () => {
    assert.deepEqual(said({ prefill: worker(2), decode: worker(4), web: { replicas: 9, gpus: 0 } }), []);
    assert.deepEqual(said({ decode: worker(31) }), []);
    assert.deepEqual(said({ decode: worker(3, 8) }), []);
    assert.deepEqual(said({ decode: worker(0, 8), other: worker(3, 8) }), []);
  });

  it("is refused where no node holds one pod", () => {
    assert.deepEqual(said({ decode: worker(1, 9) }), [
      "vertices.decode.gpus: a node of pool 'h100' has 8 nvidia.com/gpu",
    ]);
    // The number of nodes is not needed for that.
    assert.equal(said({ decode: worker(1, 9) }, { h100: pool({ gpusPerNode: 8 }) }).length, 1);
    assert.deepEqual(said({ decode: worker(99, 9) }, { h100: pool({ nodes: 4 }) }), []);
  });

  it("is refused where the nodes do not hold all pods", () => {
    const needs = (nodes: number) => `with these, pool 'h100' needs ${nodes} nodes of 8 nvidia.com/gpu, and it has 4`;
    assert.deepEqual(said({ decode: worker(33) }), [`vertices.decode.replicas: ${needs(5)}`]);
    assert.deepEqual(said({ prefill: worker(30), decode: worker(3) }), [`vertices.decode.replicas: ${needs(5)}`]);
    // 25 GPUs, but a node holds only one pod of five.
    assert.deepEqual(said({ decode: worker(5, 5) }), [`vertices.decode.replicas: ${needs(5)}`]);
    assert.equal(said({ decode: worker(Number.MAX_SAFE_INTEGER) }).length, 1);
    assert.deepEqual(
      said({ decode: worker(9) }, { h100: pool({ nodes: 1, gpusPerNode: Number.MAX_SAFE_INTEGER }) }),
      [],
    );
  });

  it("is refused where a rolling update could never start its first pod", () => {
    const message = (gpus: number) =>
      `pool 'h100' holds these and not one pod more (${gpus} nvidia.com/gpu), as a rolling update needs; ` +
      "expected fewer, or rollout: 'replace' in the pool";
    const surge = { h100: pool({ nodes: 4, gpusPerNode: 8, rollout: "surge" }) };
    assert.deepEqual(said({ decode: worker(32) }, surge), [`vertices.decode.replicas: ${message(1)}`]);
    assert.deepEqual(said({ web: worker(1), decode: worker(3, 8) }, surge), [
      `vertices.decode.replicas: ${message(8)}`,
    ]);
    const replace = { h100: pool({ nodes: 4, gpusPerNode: 8, rollout: "replace" }) };
    assert.deepEqual(said({ decode: worker(32) }, replace), []);
    assert.equal(said({ decode: worker(33) }, replace).length, 1);
  });

  it("surges where there is room for a pod more, and nowhere else", () => {
    const surges = (vertices: Record<string, GpuVertex>, all = pools, gpus?: Record<string, number>) =>
      surgesOf(vertices, all, gpus && { gpus });
    assert.deepEqual(surges({ decode: worker(31), web: { replicas: 1, gpus: 0 } }), { decode: 1 });
    assert.deepEqual(surges({ decode: worker(32) }), { decode: 0 });
    assert.deepEqual(said({ decode: worker(32) }), []);
    // Each by its own size.
    assert.deepEqual(surges({ small: worker(1), large: worker(3, 8) }), { small: 1, large: 0 });
    assert.deepEqual(surges({ decode: worker(99) }, { h100: pool({ gpusPerNode: 8 }) }), { decode: 1 });
    // A quota counts the whole pipeline, whatever pools it uses.
    const two = { ...pools, more: pool() };
    const both = { a: worker(2, 2), b: worker(1, 1, "more") };
    assert.deepEqual(surges(both, two, { "nvidia.com/gpu": 6 }), { a: 0, b: 1 });
    assert.deepEqual(surges(both, two, { "nvidia.com/gpu": 7 }), { a: 1, b: 1 });
    assert.deepEqual(surges(both, two, { "nvidia.com/mig-1g.10gb": 0 }), { a: 1, b: 1 });
    // A pool that says it is taken at its word.
    const [yes, no] = (["surge", "replace"] as const).map((rollout) => ({
      h100: pool({ nodes: 4, gpusPerNode: 8, rollout }),
    }));
    assert.deepEqual(surges({ decode: worker(32) }, yes), { decode: 1 });
    assert.deepEqual(surges({ decode: worker(1) }, no), { decode: 0 });
  });

  it("never surges beyond a pool or a quota", () => {
    const vertex = fc.record({ replicas: fc.integer({ min: 1, max: 9 }), gpus: fc.integer({ min: 1, max: 8 }) });
    const vertices = fc.dictionary(fc.constantFrom("a", "b", "c"), vertex, { minKeys: 1 });
    const shape = fc.record({ nodes: fc.integer({ min: 1, max: 20 }), most: fc.nat(200) });
    fc.assert(
      fc.property(vertices, shape, (sizes, { nodes, most }) => {
        const all = { h100: pool({ nodes, gpusPerNode: 8 }) };
        const asked = Object.fromEntries(
          Object.entries(sizes).map(([name, size]): [string, GpuVertex] => [name, { ...size, pool: "h100" }]),
        );
        const gpus = { "nvidia.com/gpu": most };
        for (const [name, surge] of Object.entries(surgesOf(asked, all, { gpus }))) {
          const { replicas, gpus: each } = asked[name] as GpuVertex;
          const more = { ...asked, [name]: { replicas: replicas + 1, gpus: each, pool: "h100" } };
          const replace = { h100: pool({ nodes, gpusPerNode: 8, rollout: "replace" }) };
          assert.equal(surge, said(more, replace, { gpus }).length === 0 ? 1 : 0);
        }
      }),
    );
  });

  it("counts slices and shares as nodes offer them", () => {
    const slices = { h100: pool({ nodes: 1, gpusPerNode: 8, ...mig("1g.10gb"), rollout: "replace" }) };
    assert.deepEqual(said({ decode: worker(56) }, slices), []);
    assert.match(
      said({ decode: worker(57) }, slices).join(),
      /needs 2 nodes of 56 nvidia.com\/mig-1g.10gb, and it has 1/,
    );
    const shares = { h100: pool({ nodes: 1, gpusPerNode: 4, timeSlicing: { replicas: 4 }, rollout: "replace" }) };
    assert.deepEqual(said({ decode: worker(16) }, shares), []);
    assert.equal(said({ decode: worker(17) }, shares).length, 1);
    assert.deepEqual(said({ decode: worker(1, 2) }, shares), [
      "vertices.decode.gpus: expected 1, for pool 'h100' is time-sliced: a second share gives no more of the GPU",
    ]);
  });

  it("judges each pool by itself, and vertices without a known pool not at all", () => {
    const two = { ...pools, more: pool({ nodes: 1, gpusPerNode: 8 }) };
    assert.deepEqual(said({ a: worker(31), b: worker(7, 1, "more") }, two), []);
    assert.equal(said({ a: worker(33), b: worker(9, 1, "more") }, two).length, 2);
    assert.deepEqual(said({ a: worker(99, 1, "toString"), b: { replicas: 1, gpus: 1 } }), []);
  });

  it("is refused beyond the quota, with what a rolling update takes", () => {
    const quota = (gpus: number) => ({ gpus: { "nvidia.com/gpu": gpus } });
    assert.deepEqual(said({ decode: worker(4, 2) }, pools, quota(10)), []);
    const surge = { h100: pool({ rollout: "surge" }) };
    assert.deepEqual(said({ decode: worker(4, 2) }, pools, quota(9)), []);
    assert.deepEqual(said({ decode: worker(4, 2) }, surge, quota(9)), [
      "quota.gpus.nvidia.com/gpu: the vertices take 8 and a rolling update 2 more",
    ]);
    const replace = { h100: pool({ rollout: "replace" }) };
    assert.deepEqual(said({ decode: worker(4, 2) }, replace, quota(8)), []);
    assert.deepEqual(said({ decode: worker(4, 2) }, replace, quota(7)), [
      "quota.gpus.nvidia.com/gpu: the vertices take 8",
    ]);
    assert.deepEqual(said({ decode: worker(4, 2) }, pools, { gpus: { "nvidia.com/mig-1g.10gb": 0 } }), []);
  });

  it("takes by default what all vertices and their rolling updates take", () => {
    const mixed = { ...pools, small: pool({ ...mig("1g.10gb"), rollout: "replace" }) };
    const vertices = { a: worker(2, 4), b: worker(1, 2), c: worker(3, 1, "small"), d: worker(0, 8) };
    assert.deepEqual(gpusOf(vertices, mixed), { "nvidia.com/gpu": 16, "nvidia.com/mig-1g.10gb": 3 });
    assert.deepEqual(gpusOf({ web: { replicas: 3, gpus: 0 } }, pools), { "nvidia.com/gpu": 0 });
  });

  it("is never refused by the default quota, however the vertices look", () => {
    const vertex = fc.record({ replicas: fc.nat(9), gpus: fc.nat(8), pool: fc.constantFrom("h100", "small") });
    const all = { h100: pool(), small: pool({ ...mig("1g.10gb", "single"), rollout: "replace" }) };
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom("a", "b", "c"), vertex), (vertices) => {
        assert.deepEqual(said(vertices, all, { gpus: gpusOf(vertices, all) }), []);
      }),
    );
  });

  it("of several pipelines counts together, but for paused ones", () => {
    const pipeline = (replicas: number, desiredPhase = "Running") => ({
      vertices: { worker: worker(replicas) },
      lifecycle: { desiredPhase },
    });
    const shared = (pipelines: Record<string, ReturnType<typeof pipeline>>) =>
      sharedPoolProblems(pipelines, pools).map(({ path, message }) => `${path.join(".")}: ${message}`);
    assert.deepEqual(shared({ a: pipeline(16), b: pipeline(15) }), []);
    assert.deepEqual(shared({ a: pipeline(20), b: pipeline(20) }), [
      "pipelines.b.vertices.worker.replicas: with these, pool 'h100' needs 5 nodes of 8 nvidia.com/gpu, and it has 4",
    ]);
    assert.deepEqual(shared({ a: pipeline(20), b: pipeline(20, "Paused") }), []);
    assert.match(shared({ a: pipeline(16), b: pipeline(16) }).join(), /not one pod more/);
    // One that does not fit by itself has been told already.
    assert.deepEqual(shared({ a: pipeline(99), b: pipeline(1) }), []);
  });
});

describe("a quota", () => {
  for (const [written, line] of [
    [
      { gpus: { "amd.com/gpu": 1 } },
      /gpus\["amd.com\/gpu"\]: found the name 'amd.com\/gpu'; expected nvidia.com\/gpu, /,
    ],
    [{ gpus: { "nvidia.com/gpu": -1 } }, /found -1; expected a whole number, 0 or more/],
    [{ gpus: 3 }, /quota.gpus: found 3; expected an object/],
    [{ defaultRequests: { cpu: "much" } }, /quota.defaultRequests.cpu: found 'much'; expected a quantity such as/],
  ] as const)
    it(`is refused with ${JSON.stringify(written)}`, () =>
      assert.throws(() => parse(quotaSpec, written, "quota"), line));

  it("takes every resource of the device plugin", () => {
    const gpus = {
      "nvidia.com/gpu": 1,
      "nvidia.com/gpu.shared": 1,
      "nvidia.com/mig-1g.10gb.me": 1,
      "nvidia.com/mig-1g.24gb-me.shared": 1,
    };
    assert.deepEqual(parse(quotaSpec, { gpus }, "quota").gpus, gpus);
    assert.deepEqual(parse(quotaSpec, {}, "quota"), { gpus: {}, defaultRequests: { cpu: "100m", memory: "128Mi" } });
  });
});
