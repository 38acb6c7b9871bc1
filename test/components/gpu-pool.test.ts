import assert from "node:assert/strict";
import * as pulumi from "@pulumi/pulumi";
import { GpuPool, type GpuPoolArgs, Pipeline } from "../../components/index.ts";
import { limitNamespace, type QuotaArgs } from "../../components/quota.ts";
import { type Fields, failureOf, run } from "./engine.ts";
import { platformNamed } from "./scene.ts";

const H100 = "NVIDIA-H100-80GB-HBM3";
const labels = { app: "decode" };

/** What a pool puts into a pod's spec. */
async function scheduled(change: Partial<GpuPoolArgs>): Promise<Fields> {
  const known = Promise.withResolvers<Fields>();
  await run(() => {
    const pool = new GpuPool("h100", { product: H100, ...change });
    pulumi.output(pool.scheduling(labels)).apply(known.resolve);
    return known.promise;
  });
  return known.promise;
}

describe("a GPU pool's pods", () => {
  it("go to nodes of its product, tolerate their taint, and spread over them", async () => {
    assert.deepEqual(await scheduled({}), {
      nodeSelector: { "nvidia.com/gpu.product": H100 },
      tolerations: [{ key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" }],
      topologySpreadConstraints: [
        {
          topologyKey: "kubernetes.io/hostname",
          maxSkew: 1,
          whenUnsatisfiable: "ScheduleAnyway",
          labelSelector: { matchLabels: labels },
          matchLabelKeys: ["pod-template-hash"],
          nodeTaintsPolicy: "Honor",
        },
      ],
    });
  });

  it("go to nodes with further labels and taints, and enough memory", async () => {
    const spec = await scheduled({
      nodeSelector: { "cloud.google.com/gke-nodepool": pulumi.output("inference") },
      tolerations: [{ key: "team", operator: "Equal", value: "chat" }, { key: "spot" }],
      memoryMiB: pulumi.output(80_000),
      mig: { profile: "7g.80gb", strategy: "mixed" },
    });
    assert.deepEqual(spec.nodeSelector, {
      "cloud.google.com/gke-nodepool": "inference",
      "nvidia.com/mig-7g.80gb.product": `${H100}-MIG-7g.80gb`,
      "nvidia.com/mig.strategy": "mixed",
    });
    assert.deepEqual(spec.tolerations.slice(1), [
      { key: "team", operator: "Equal", value: "chat" },
      { key: "spot", operator: "Exists" },
    ]);
    const [term] = spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms;
    assert.deepEqual(term.matchExpressions, [
      { key: "nvidia.com/mig-7g.80gb.memory", operator: "Gt", values: ["79999"] },
    ]);
  });

  it("rather wait than crowd one zone, if it says so", async () => {
    const { topologySpreadConstraints } = await scheduled({
      spread: { topologyKey: "topology.kubernetes.io/zone", maxSkew: 2, required: true },
    });
    const { topologyKey, maxSkew, whenUnsatisfiable } = topologySpreadConstraints[0];
    assert.deepEqual([topologyKey, maxSkew, whenUnsatisfiable], ["topology.kubernetes.io/zone", 2, "DoNotSchedule"]);
  });

  it("have the priority class that is there, or one of the pool's own", async () => {
    assert.equal((await scheduled({ priorityClass: "production" })).priorityClassName, "production");
    assert.equal((await scheduled({})).priorityClassName, undefined);
    const registered = await run(() => {
      const platform = platformNamed("platform");
      new GpuPool("h100", { product: H100, priority: 1000 }, { provider: platform.kubernetes });
    });
    const { inputs, parent, provider } = registered.get("PriorityClass h100-priority") ?? assert.fail("none");
    assert.deepEqual([inputs.value, parent, provider], [1000, "h100", "platform-kubernetes"]);
    assert.match(inputs.description, /GPU pool 'h100' of proj\/test/);
    // Named by Pulumi: two stacks with such a pool must not meet in one name.
    assert.equal(inputs.metadata?.name, undefined);
  });
});

describe("a GPU pool", () => {
  it("says of itself what is wrong with what is plain", async () => {
    await run(() => {
      const wrong = (args: Partial<GpuPoolArgs>) => () => new GpuPool("h100", { product: H100, ...args });
      const mig = { profile: "1g.5gb", strategy: "mixed" } as const;
      assert.throws(wrong({ mig }), /^Error: h100.mig.profile: found '1g.5gb'; 'NVIDIA-H100-80GB-HBM3' has 1g.10gb, /);
      assert.throws(wrong({ nodes: 0 }), /^Error: h100.nodes: found 0; expected a whole number, 1 or more$/);
      wrong({ product: pulumi.output("NVIDIA-A100-SXM4-40GB"), mig })();
      wrong({ nodes: pulumi.output(0) })();
    });
  });

  it("tells when pipelines of one program do not fit it together", async () => {
    await run(() => {
      const spec = { product: H100, nodes: 1, gpusPerNode: 8 };
      const pool = new GpuPool("h100", spec);
      const book = (pipeline: string, replicas: number) =>
        pool.book(pipeline, { worker: { replicas, gpus: 1, pool: "h100" } }, spec);
      assert.deepEqual(book("chat", 4), []);
      assert.deepEqual(book("paused", 0), []);
      assert.deepEqual(book("more", 5), [
        {
          path: "more.vertices.worker.replicas",
          reason: "found 5; with these, pool 'h100' needs 2 nodes of 8 nvidia.com/gpu, and it has 1",
        },
      ]);
      assert.deepEqual(book("more", 3), []);
    });
  });

  it("exchanges pods as it was told", async () => {
    await run(() => {
      const exchange = (rollout?: "surge" | "replace") =>
        new GpuPool(`h100-${rollout}`, { product: H100, ...(rollout && { rollout }) }).rollingUpdate;
      assert.deepEqual(exchange(), { maxSurge: 1, maxUnavailable: 0 });
      assert.deepEqual(exchange("surge"), { maxSurge: 1, maxUnavailable: 0 });
      assert.deepEqual(exchange("replace"), { maxSurge: 0, maxUnavailable: 1 });
    });
  });
});

describe("a namespace's limits", () => {
  const limited = async (quota?: QuotaArgs) => {
    const metadata = (name: string) => ({ name, namespace: "chat" });
    const registered = await run(() => limitNamespace("chat", { quota, metadata }, {}));
    return [registered.get("ResourceQuota chat-quota")?.inputs, registered.get("LimitRange chat-limits")?.inputs];
  };

  it("are a quota of the GPUs' requests, and requests for containers that make none", async () => {
    const gpus = { "nvidia.com/gpu": pulumi.output(9), "nvidia.com/mig-1g.10gb": 0 };
    const [quota, limits] = await limited({ gpus });
    assert.deepEqual(quota?.spec.hard, { "requests.nvidia.com/gpu": "9", "requests.nvidia.com/mig-1g.10gb": "0" });
    assert.deepEqual(quota?.metadata, { name: "gpus", namespace: "chat" });
    assert.deepEqual(limits?.spec.limits, [{ type: "Container", defaultRequest: { cpu: "100m", memory: "128Mi" } }]);
  });

  it("are what was asked for", async () => {
    const [quota, limits] = await limited({ defaultRequests: { memory: "2Gi" } });
    assert.equal(quota, undefined);
    assert.deepEqual(limits?.spec.limits[0].defaultRequest, { cpu: "100m", memory: "2Gi" });
  });
});

describe("two pipelines of a program on one pool", () => {
  const replicas = (each: number) => () => {
    const platform = platformNamed("platform");
    const pool = new GpuPool("h100", { product: H100, nodes: 1, gpusPerNode: 8 });
    for (const name of ["chat", "more"])
      new Pipeline(name, { platform, vertices: { worker: { image: "w", gpus: 1, pool, replicas: each } } });
  };

  it("are let be when it holds them together", () => run(replicas(3)));

  it("are refused when it does not, though it holds each alone", async () => {
    const { message } = await failureOf(replicas(5));
    assert.match(
      message,
      /more\.vertices\.worker\.replicas: found 5; with these, pool 'h100' needs 2 nodes of 8 nvidia\.com\/gpu, and it has 1/,
    );
  });
});
