import assert from "node:assert/strict";
import { nodeLabels, type PoolInput, resourceOf } from "../../components/plan/gpu.ts";
import { gpuScheduling as policy } from "../../policy/gpu-scheduling.ts";
import { deployment, graph, namespace, quota, worker } from "./sketches.ts";
import { type Props, told, UNKNOWN } from "./stack.ts";

const H100 = "NVIDIA-H100-80GB-HBM3";
const limited = (limits: Props, product: string = H100, more: Props = {}) =>
  worker({
    container: { resources: { limits, ...more } },
    pod: { nodeSelector: { "nvidia.com/gpu.product": product } },
  });

describe("policy gpu-scheduling", () => {
  it("lets limit, toleration and selector be that agree", () => assert.deepEqual(told(policy, [worker()]), []));

  it("refuses a limit without a toleration", () => {
    const tolerating = (tolerations: unknown) => told(policy, [worker({ pod: { tolerations } })]);
    assert.match(tolerating([]).join(), /asks for 1 GPUs and does not tolerate the taint 'nvidia.com\/gpu'/);
    assert.equal(tolerating([{ key: "nvidia.com/gpu", operator: "Exists", effect: "NoExecute" }]).length, 1);
    for (const fine of [
      [{ operator: "Exists" }],
      [{ key: "nvidia.com/gpu", operator: "Equal", value: "present" }],
      UNKNOWN,
      [UNKNOWN],
    ])
      assert.deepEqual(tolerating(fine), []);
  });

  it("refuses a selector or a toleration without a limit, but not of agents on every node", () => {
    const none = { container: { resources: {} } };
    assert.match(told(policy, [worker(none)]).join(), /selects nodes with 'NVIDIA-H100-80GB-HBM3' and asks for no GPU/);
    assert.match(
      told(policy, [worker({ ...none, pod: { nodeSelector: {} } })]).join(),
      /lets a pod without GPUs onto GPU nodes/,
    );
    assert.deepEqual(told(policy, [worker({ ...none, kind: "DaemonSet" })]), []);
    assert.deepEqual(told(policy, [worker({ ...none, pod: { resourceClaims: [{ name: "gpu" }] } })]), []);
    assert.deepEqual(told(policy, [worker({ container: { resources: UNKNOWN } })]), []);
  });

  it("refuses a request that is not the limit", () => {
    const found = told(policy, [limited({ "nvidia.com/gpu": "2" }, H100, { requests: { "nvidia.com/gpu": 1 } })]);
    assert.match(found.join(), /the limit of 2 and the request of 1 nvidia.com\/gpu differ/);
  });

  for (const [product, profile, exists] of [
    [H100, "1g.10gb", true],
    [H100, "1g.5gb", false],
    ["NVIDIA-A100-SXM4-40GB", "1g.5gb", true],
    ["NVIDIA-A100-SXM4-80GB", "1g.5gb", false],
    ["NVIDIA-A30", "2g.12gb", true],
    ["NVIDIA-H200", "1g.18gb.me", true],
    ["NVIDIA-H200", "1g.10gb", false],
    ["NVIDIA-H100-NVL", "1g.12gb", true],
    ["NVIDIA-B200", "1g.23gb", true],
    ["NVIDIA-H800-SHARED", "1g.5gb", false],
    ["NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "1g.24gb-me", true],
    ["NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "1g.24gb.me.all", true],
    ["NVIDIA-L40S", "1g.5gb", false],
    ["Tesla-T4", "1g.5gb", false],
    ["NVIDIA-Z900-NEXT", "1g.99gb", true],
  ] as const)
    it(`${exists ? "lets" : "refuses"} the MIG profile ${profile} on ${product}`, () => {
      const found = told(policy, [limited({ [`nvidia.com/mig-${profile}`]: "1" }, product)]);
      assert.equal(found.length, exists ? 0 : 1, `${found}`);
    });

  it("reads the profile from the product's label where MIG is single", () => {
    assert.deepEqual(told(policy, [limited({ "nvidia.com/gpu": "1" }, `${H100}-MIG-1g.10gb`)]), []);
    assert.equal(told(policy, [limited({ "nvidia.com/gpu": "1" }, `${H100}-MIG-1g.5gb`)]).length, 1);
  });

  for (const [what, cut] of Object.entries<Partial<PoolInput>>({
    "whole GPUs": {},
    "slices with MIG single": { mig: { profile: "1g.10gb.me", strategy: "single" } },
    "slices with MIG mixed": { mig: { profile: "3g.40gb", strategy: "mixed" } },
    "shares of GPUs": { timeSlicing: { replicas: 4 } },
    "shares of GPUs by another name": { timeSlicing: { replicas: 4, renamed: true } },
    "shares of slices": { mig: { profile: "1g.10gb", strategy: "mixed" }, timeSlicing: { replicas: 2 } },
  }))
    it(`lets what a GpuPool makes of ${what} be`, () => {
      const limits = { [resourceOf(cut)]: "1" };
      const pod = worker({ container: { resources: { limits } }, pod: { nodeSelector: nodeLabels(H100, cut) } });
      const limit = quota({ [`requests.${resourceOf(cut)}`]: "2" });
      assert.deepEqual(told(policy, [namespace("chat"), pod, limit]), []);
      assert.equal(told(policy, [namespace("chat"), pod]).length, 1, "it wants the quota");
    });

  it("reads it from the profile's own label where MIG is mixed", () => {
    const selecting = (profile: string) =>
      told(policy, [
        worker({
          container: { resources: { limits: { [`nvidia.com/mig-${profile}`]: "1" } } },
          pod: { nodeSelector: { [`nvidia.com/mig-${profile}.product`]: `${H100}-MIG-${profile}` } },
        }),
      ]);
    assert.deepEqual(selecting("3g.40gb"), []);
    assert.match(selecting("3g.20gb").join(), /the MIG profile '3g.20gb' does not exist on/);
  });

  it("holds requests against the pools of its config", () => {
    const pools = { [H100]: { perNode: 8, total: 16 } };
    assert.deepEqual(told(policy, [limited({ "nvidia.com/gpu": "8" })], { pools }), []);
    assert.match(
      told(policy, [limited({ "nvidia.com/gpu": "9" })], { pools }).join(),
      /asks for 9 GPUs in one pod, and a node of .* has 8/,
    );
    const many = [worker({ replicas: 12 }), worker({ name: "more", replicas: 5 })];
    assert.match(told(policy, many, { pools }).join(), /the stack asks for 17 GPUs of .*, and its pool has 16/);
    assert.deepEqual(told(policy, many), []);
  });

  it("wants a quota in a namespace that the stack makes", () => {
    assert.match(
      told(policy, [namespace("chat"), worker()]).join(),
      /runs in namespace 'chat', whose GPUs no ResourceQuota limits/,
    );
    assert.deepEqual(told(policy, [namespace("chat"), worker(), quota()]), []);
    assert.equal(told(policy, [namespace("chat"), worker(), quota({ "limits.cpu": "8" })]).length, 1);
    assert.equal(told(policy, [namespace("chat"), worker(), quota(undefined, { namespace: "other" })]).length, 1);
    assert.deepEqual(told(policy, [namespace("chat"), worker(), quota(undefined, { namespace: UNKNOWN })]), []);
    assert.deepEqual(told(policy, [namespace("other"), worker()]), []);
    assert.deepEqual(told(policy, [namespace("chat"), deployment()]), []);
  });

  it("reads a Dynamo graph's own way to ask for GPUs", () => {
    const one = graph({
      services: {
        Worker: {
          resources: { limits: { gpu: "16" } },
          extraPodSpec: { nodeSelector: { "nvidia.com/gpu.product": H100 } },
        },
      },
    });
    assert.equal(told(policy, [one], { pools: { [H100]: { perNode: 8 } } }).length, 1);
  });
});
