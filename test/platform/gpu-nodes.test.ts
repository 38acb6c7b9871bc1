/** What plans say of GPUs, against a real scheduler and real admission. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  AppsV1Api,
  CoreV1Api,
  KubeConfig,
  SchedulingV1Api,
  type V1LimitRange,
  type V1Pod,
  type V1PodSpec,
  type V1ResourceQuota,
} from "@kubernetes/client-node";
import * as pulumi from "@pulumi/pulumi";
import { GpuPool, type GpuPoolArgs } from "../../components/gpu-pool.ts";
import { poolSpec } from "../../components/plan/gpu.ts";
import { gpuProblems, gpusOf, surgesOf } from "../../components/plan/gpu-room.ts";
import { parse } from "../../components/plan/problem.ts";
import { limitNamespace } from "../../components/quota.ts";
import { simulatedNodes } from "../../dev/platform/nodes.ts";
import { until } from "../../dev/platform/wait.ts";
import { run } from "../components/engine.ts";

/** Args that a test writes out in full. */
type Args = Parameters<typeof planned>[0];
const planned = (
  args: { product: string } & Omit<GpuPoolArgs, "product" | "nodes" | "gpusPerNode" | "memoryMiB" | "nodeSelector"> & {
      nodes?: number;
      gpusPerNode?: number;
      memoryMiB?: number;
    },
) => parse(poolSpec, args, "pool");

/** Most pods of so many GPUs that the simulated nodes of each kind hold. */
const pools: Record<string, { args: Args; gpus: number; pods: number; nodes: RegExp }> = {
  "whole GPUs, a node each": {
    // Nodes with MIG have the same product, and no whole GPU.
    args: { product: "NVIDIA-H100-80GB-HBM3", nodes: 4, gpusPerNode: 8 },
    gpus: 8,
    pods: 4,
    nodes: /^gpu-[0-3]$/,
  },
  "whole GPUs, some of each node left": {
    args: { product: "NVIDIA-L40S", nodes: 2, gpusPerNode: 4 },
    gpus: 3,
    pods: 2,
    nodes: /^l40s-[01]$/,
  },
  "slices with MIG mixed": {
    args: {
      product: "NVIDIA-H100-80GB-HBM3",
      nodes: 2,
      gpusPerNode: 8,
      mig: { profile: "1g.10gb", strategy: "mixed", perGpu: 2 },
    },
    gpus: 4,
    pods: 8,
    nodes: /^mig-mixed-[01]$/,
  },
  "slices with MIG single": {
    args: {
      product: "NVIDIA-A100-SXM4-40GB",
      nodes: 1,
      gpusPerNode: 8,
      mig: { profile: "1g.5gb", strategy: "single" },
    },
    gpus: 8,
    pods: 7,
    nodes: /^mig-single-0$/,
  },
  "shares of GPUs": {
    args: { product: "NVIDIA-L4", nodes: 1, gpusPerNode: 4, timeSlicing: { replicas: 4 } },
    gpus: 1,
    pods: 16,
    nodes: /^shared-0$/,
  },
};

describe("GPU nodes", () => {
  const config = new KubeConfig();
  config.loadFromDefault();
  const core = config.makeApiClient(CoreV1Api);
  const apps = config.makeApiClient(AppsV1Api);
  const scheduling = config.makeApiClient(SchedulingV1Api);
  const namespace = `gpus-${randomBytes(4).toString("hex")}`;
  const all = { namespace };
  const named = (name: string) => ({ namespace, name });

  before(() => core.createNamespace({ body: { metadata: { name: namespace } } }));

  // Pods of an earlier test would be in the way.
  afterEach(async () => {
    await apps.deleteCollectionNamespacedDeployment(all);
    await core.deleteCollectionNamespacedPod(all);
    await core.deleteCollectionNamespacedResourceQuota(all);
    await core.deleteCollectionNamespacedLimitRange(all);
    await until({
      what: "the pods to be gone",
      within: 120,
      attempt: async () => assert.deepEqual((await core.listNamespacedPod(all)).items, []),
    });
  });
  after(async () => {
    await scheduling.deleteCollectionPriorityClass({ labelSelector: `suite=${namespace}` });
    await core.deleteNamespace({ name: namespace });
    await until({
      what: "the namespace to be gone",
      within: 120,
      attempt: () => assert.rejects(core.readNamespace({ name: namespace }), /404/),
    });
  });

  /** A Deployment as a vertex makes it of its pool. */
  async function deployed(name: string, args: GpuPoolArgs, pods: { replicas: number; gpus: number }): Promise<void> {
    const matchLabels = { app: name };
    const rendered = Promise.withResolvers<V1PodSpec>();
    let pool: GpuPool | undefined;
    await run(() => {
      pool = new GpuPool("pool", args);
      pulumi.output(pool.scheduling(matchLabels)).apply((spec) => rendered.resolve(spec as unknown as V1PodSpec));
      return rendered.promise;
    });
    const { resource, rollingUpdate } = pool ?? assert.fail("no pool");
    const { replicas, gpus } = pods;
    const containers = [{ name: "main", image: "none", resources: { limits: { [resource]: String(gpus) } } }];
    await apps.createNamespacedDeployment({
      namespace,
      body: {
        metadata: { name },
        spec: {
          replicas,
          selector: { matchLabels },
          strategy: { rollingUpdate },
          template: { metadata: { labels: matchLabels }, spec: { ...(await rendered.promise), containers } },
        },
      },
    });
  }

  const roll = (name: string) =>
    apps.patchNamespacedDeployment({
      ...named(name),
      body: [{ op: "add", path: "/spec/template/metadata/annotations", value: { rolled: "yes" } }],
    });

  const podsOf = async (name: string) =>
    (await core.listNamespacedPod({ namespace, labelSelector: `app=${name}` })).items;
  const unschedulable = ({ status }: V1Pod) =>
    status?.conditions?.find(({ reason }) => reason === "Unschedulable")?.message;

  /** Waits until the scheduler has had a say in every pod. */
  const settled = (name: string, running: number, waiting: number) =>
    until({
      what: `${running} pods of ${name} to run and ${waiting} to wait`,
      within: 120,
      attempt: async () => {
        const pods = await podsOf(name);
        const ran = pods.filter(({ status }) => status?.phase === "Running");
        const messages = pods.flatMap((pod) => unschedulable(pod) ?? []);
        assert.deepEqual([ran.length, messages.length], [running, waiting]);
        return { nodes: ran.map(({ spec }) => spec?.nodeName ?? ""), messages };
      },
    });

  for (const [what, { args, gpus, pods, nodes }] of Object.entries(pools)) {
    it(`hold as many ${what}, as a plan says`, async () => {
      const judged = (replicas: number) =>
        gpuProblems({ fill: { replicas, gpus, pool: "pool" } }, { pool: planned({ ...args, rollout: "replace" }) });
      assert.deepEqual(judged(pods), []);
      assert.equal(judged(pods + 1).length, 1);

      await deployed("fill", args, { replicas: pods + 1, gpus });
      const { nodes: used, messages } = await settled("fill", pods, 1);
      for (const node of used) assert.match(node, nodes);
      assert.match(messages.join(), /Insufficient nvidia\.com\//);
    });
  }

  it("let a pod wait that asks for more than any has, as a plan says", async () => {
    const product = "NVIDIA-A100-SXM4-80GB";
    assert.equal(
      gpuProblems({ large: { replicas: 1, gpus: 9, pool: "pool" } }, { pool: planned({ product, gpusPerNode: 8 }) })
        .length,
      1,
    );
    await deployed("large", { product }, { replicas: 1, gpus: 9 });
    assert.match((await settled("large", 0, 1)).messages.join(), /1 Insufficient nvidia.com\/gpu/);
  });

  it("are told by memory, replicas of time-slicing, and profile", async () => {
    const cases: Array<[name: string, args: GpuPoolArgs, runs: boolean]> = [
      ["memory", { product: "NVIDIA-L40S", memoryMiB: 46_068 }, true],
      ["more-memory", { product: "NVIDIA-L40S", memoryMiB: 46_069 }, false],
      [
        "slice-memory",
        { product: "NVIDIA-H100-80GB-HBM3", memoryMiB: 20_000, mig: { profile: "2g.20gb", strategy: "mixed" } },
        true,
      ],
      ["shares", { product: "NVIDIA-L4", timeSlicing: { replicas: 4 } }, true],
      ["finer-shares", { product: "NVIDIA-L4", timeSlicing: { replicas: 8 } }, false],
      ["not-shared", { product: "NVIDIA-L4" }, false],
      ["cut", { product: "NVIDIA-H100-80GB-HBM3", mig: { profile: "3g.40gb", strategy: "mixed" } }, true],
      ["not-cut-so", { product: "NVIDIA-H100-80GB-HBM3", mig: { profile: "4g.40gb", strategy: "mixed" } }, false],
      ["not-single", { product: "NVIDIA-H100-80GB-HBM3", mig: { profile: "3g.40gb", strategy: "single" } }, false],
      ["whole", { product: "NVIDIA-A100-SXM4-40GB" }, false],
    ];
    for (const [name, args] of cases) await deployed(name, args, { replicas: 1, gpus: 1 });
    for (const [name, , runs] of cases) {
      const { messages } = await settled(name, runs ? 1 : 0, runs ? 0 : 1);
      if (!runs) assert.match(messages.join(), /didn't match Pod's node affinity\/selector/, name);
    }
  });

  it("get the pods of a vertex evenly, through a rolling update", async () => {
    await deployed("even", { product: "NVIDIA-L40S", spread: { required: true } }, { replicas: 4, gpus: 1 });
    const even = ["l40s-0", "l40s-0", "l40s-1", "l40s-1"];
    assert.deepEqual((await settled("even", 4, 0)).nodes.sort(), even);
    await roll("even");
    await until({
      what: "the update to be through",
      within: 120,
      attempt: async () => {
        const pods = await podsOf("even");
        assert.equal(pods.length, 4);
        for (const { metadata, status } of pods)
          assert.deepEqual([metadata?.annotations?.rolled, status?.phase], ["yes", "Running"]);
        assert.deepEqual(pods.map(({ spec }) => spec?.nodeName).sort(), even);
      },
    });
  });

  it("are cleared for pods of a pool with a higher priority", async () => {
    const product = "NVIDIA-L40S";
    await deployed("batch", { product }, { replicas: 2, gpus: 4 });
    await settled("batch", 2, 0);
    const registered = await run(() => new GpuPool("urgent", { product, priority: 1000 }));
    const { value } = registered.get("PriorityClass urgent-priority")?.inputs ?? assert.fail("none");
    await scheduling.createPriorityClass({
      body: { metadata: { name: namespace, labels: { suite: namespace } }, value },
    });
    await deployed("urgent", { product, priorityClass: namespace }, { replicas: 1, gpus: 4 });
    await settled("urgent", 1, 0);
    await settled("batch", 1, 1);
  });

  describe("behind a quota", () => {
    const product = "NVIDIA-A100-SXM4-80GB";
    const vertices = { decode: { replicas: 3, gpus: 2, pool: "pool" } };
    const specs = { pool: planned({ product }) };

    /** Gives the namespace its limits, as a tenant has them. */
    async function limit(gpus: Record<string, number>): Promise<void> {
      const registered = await run(() => limitNamespace("chat", { quota: { gpus }, metadata: named }, {}));
      const inputs = (key: string) => registered.get(key)?.inputs ?? assert.fail(`no ${key}`);
      const body = inputs("ResourceQuota chat-quota") as V1ResourceQuota;
      await core.createNamespacedLimitRange({
        namespace,
        body: inputs("LimitRange chat-limits") as V1LimitRange,
      });
      await core.createNamespacedResourceQuota({ namespace, body });
      await until({
        what: "the quota to hold",
        within: 120,
        attempt: async () => {
          const { status } = await core.readNamespacedResourceQuota(named("gpus"));
          assert.deepEqual(status?.hard, body.spec?.hard);
        },
      });
    }

    const rolled = async () => {
      const { metadata, status } = await apps.readNamespacedDeployment(named("decode"));
      const { observedGeneration, updatedReplicas, readyReplicas, replicas } = status ?? {};
      assert.equal(observedGeneration, metadata?.generation);
      assert.deepEqual([updatedReplicas, readyReplicas, replicas], [3, 3, 3]);
    };

    it("that a plan makes, rolling updates get through, and nobody takes more", async () => {
      const gpus = gpusOf(vertices, specs);
      assert.deepEqual(gpus, { "nvidia.com/gpu": 8 });
      await limit(gpus);
      await deployed("decode", { product }, vertices.decode);
      await settled("decode", 3, 0);
      await roll("decode");
      await until({ what: "the update to be through", within: 120, attempt: rolled });
      const more = { name: "more", image: "none", resources: { limits: { "nvidia.com/gpu": "3" } } };
      const body = { metadata: { name: "more" }, spec: { containers: [more] } };
      const taken = "used: requests.nvidia.com/gpu=6, limited: requests.nvidia.com/gpu=8";
      await until({
        what: "the quota to see that the replaced pods are gone, and to refuse a pod",
        within: 120,
        attempt: () => assert.rejects(core.createNamespacedPod({ namespace, body }), new RegExp(taken)),
      });
    });

    it("that a plan refuses, a rolling update never starts", async () => {
      const gpus = { "nvidia.com/gpu": 6 };
      const quota = { gpus, defaultRequests: { cpu: "100m", memory: "128Mi" } };
      const surging = { pool: planned({ product, rollout: "surge" }) };
      assert.equal(gpuProblems(vertices, surging, quota).length, 1);
      await limit(gpus);
      await deployed("decode", { product }, vertices.decode);
      await settled("decode", 3, 0);
      await roll("decode");
      await until({
        what: "the update to be refused",
        within: 120,
        attempt: async () => {
          const { status } = await apps.readNamespacedDeployment(named("decode"));
          const failure = status?.conditions?.find(({ type }) => type === "ReplicaFailure");
          assert.match(failure?.message ?? "", /exceeded quota: gpus/);
        },
      });
    });

    it("that holds no pod more, rolling updates get through without one", async () => {
      const gpus = { "nvidia.com/gpu": 6 };
      assert.deepEqual(surgesOf(vertices, specs, { gpus }), { decode: 0 });
      await limit(gpus);
      await deployed("decode", { product, rollout: "replace" }, vertices.decode);
      await settled("decode", 3, 0);
      await roll("decode");
      await until({ what: "the update to be through", within: 120, attempt: rolled });
    });

    it("containers that say nothing request a little, and no GPU", async () => {
      await limit({ "nvidia.com/gpu": 0 });
      const { spec, status } = await core.createNamespacedPod({
        namespace,
        body: { metadata: { name: "plain" }, spec: { containers: [{ name: "main", image: "none" }] } },
      });
      const { requests, limits } = spec?.containers[0]?.resources ?? {};
      assert.deepEqual([requests, limits], [{ cpu: "100m", memory: "128Mi" }, undefined]);
      // Not BestEffort, which is what is ended first.
      assert.equal(status?.qosClass, "Burstable");
    });
  });

  it("are those that the platform simulates", async () => {
    const { items } = await core.listNode();
    const found = new Map(
      items.map(({ metadata, status }) => [metadata?.name, { labels: metadata?.labels, ...status }]),
    );
    for (const { metadata, status } of simulatedNodes()) {
      const { labels, capacity, allocatable } = found.get(metadata.name) ?? assert.fail(`no node ${metadata.name}`);
      assert.deepEqual({ ...labels, ...metadata.labels }, labels);
      assert.deepEqual([capacity, allocatable], [status.capacity, status.capacity]);
    }
  });
});
