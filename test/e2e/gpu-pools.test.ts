import assert from "node:assert/strict";
import type { Snapshot } from "../../components/tenancy/outside.ts";
import { until } from "../../dev/platform/wait.ts";
import { assertUntouched, Project, snapshot } from "./scene.ts";

const H100 = "NVIDIA-H100-80GB-HBM3";

/** Of the simulated nodes: slices of two kinds, and shares that one vertex takes to the last. */
const pools = {
  slices: {
    product: H100,
    nodes: 2,
    gpusPerNode: 8,
    mig: { profile: "1g.10gb", strategy: "mixed", perGpu: 2 },
    priority: 1000,
  },
  cut: { product: "NVIDIA-A100-SXM4-40GB", nodes: 1, gpusPerNode: 8, mig: { profile: "1g.5gb", strategy: "single" } },
  shared: { product: "NVIDIA-L4", nodes: 1, gpusPerNode: 4, timeSlicing: { replicas: 4 } },
};

const image = (tag: number) => `registry.example.com/worker:${tag}`;
const chat = (tag: number, change: { decode?: object; quota?: object } = {}) => ({
  vertices: {
    prefill: { image: image(tag), replicas: 2, gpus: 2, pool: "slices" },
    decode: { image: image(tag), replicas: 3, gpus: 4, pool: "cut", ...change.decode },
    embed: { image: image(tag), replicas: 16, gpus: 1, pool: "shared" },
  },
  ...(change.quota && { quota: change.quota }),
});

interface Pod {
  metadata: { labels: Record<string, string> };
  spec: { nodeName: string; priority: number; containers: { image: string }[] };
}

describe("a pipeline on pools of slices and shares", () => {
  const { env } = process;
  let outside: Snapshot;
  let project: Project;

  const kubectl = async <T>(...args: string[]): Promise<T> => {
    const { code, output, stdout } = await project.run("kubectl", ...args, "-o", "json");
    assert.equal(code, 0, output);
    return JSON.parse(stdout);
  };
  let namespace = "";

  before(async () => {
    outside = await snapshot(env);
    project = new Project(env, { pools, pipelines: { chat: chat(1) } });
    await project.pulumi("stack", "init");
  });
  after(() => project.close());

  it("goes up, each vertex on its nodes, behind a quota of what they take", async () => {
    await project.pulumi("up", "--yes", "--skip-preview");
    namespace = JSON.parse((await project.pulumi("stack", "output", "--json")).stdout).pipelines.chat.namespace;
    const { items } = await kubectl<{ items: Pod[] }>("get", "pods", "-n", namespace);
    const nodes = Map.groupBy(items, ({ metadata }) => metadata.labels["ringfence.dev/vertex"]);
    for (const [vertex, node, pods, priority] of [
      ["prefill", /^mig-mixed-[01]$/, 2, 1000],
      ["decode", /^mig-single-0$/, 3, 0],
      ["embed", /^shared-0$/, 16, 0],
    ] as const) {
      const found = nodes.get(vertex) ?? [];
      assert.equal(found.length, pods);
      for (const { spec } of found) {
        assert.match(spec.nodeName, node);
        assert.equal(spec.priority, priority);
      }
    }
    await until({
      what: "the quota",
      within: 120,
      attempt: async () => {
        const { spec, status } = await kubectl<{ spec: { hard: object }; status: { used: object } }>(
          ...["get", "resourcequota", "gpus", "-n", namespace],
        );
        // A pod more of each vertex that there is room for: the shared pool has none.
        assert.deepEqual(spec.hard, { "requests.nvidia.com/gpu": "32", "requests.nvidia.com/mig-1g.10gb": "6" });
        assert.deepEqual(status.used, { "requests.nvidia.com/gpu": "28", "requests.nvidia.com/mig-1g.10gb": "4" });
      },
    });
  });

  it("is refused by the preview when it asks for more than its pool and its quota hold", async () => {
    const change = { decode: { replicas: 15 }, quota: { gpus: { "nvidia.com/gpu": 30 } } };
    project.configure({ pools, pipelines: { chat: chat(1, change) } });
    const output = await project.refused("preview");
    const summary = output.slice(output.indexOf("Diagnostics:"));
    for (const told of [
      "decode.replicas: found 15; with these, pool 'cut' needs 2 nodes of 56 nvidia.com/gpu, and it has 1",
      'chat.quota.gpus["nvidia.com/gpu"]: found 30; the vertices take 76',
    ])
      assert.equal(summary.split(told).length, 2, output);
  });

  it("exchanges its pods by an update, within the quota and with no share to spare", async () => {
    project.configure({ pools, pipelines: { chat: chat(2) } });
    await project.pulumi("up", "--yes", "--skip-preview");
    // Pulumi may be done before the cluster is (pulumi-kubernetes#3980).
    await until({
      what: "the update to be through",
      within: 120,
      attempt: async () => {
        const { items } = await kubectl<{ items: Pod[] }>("get", "pods", "-n", namespace);
        assert.equal(items.length, 21);
        for (const { spec } of items) assert.equal(spec.containers[0]?.image, image(2));
      },
    });
  });

  it("leaves nothing behind, its priority class neither", async () => {
    await project.pulumi("destroy", "--yes", "--skip-preview");
    await assertUntouched(env, outside);
  });
});
