import assert from "node:assert/strict";
import { slicesOf } from "../../components/plan/mig.ts";

const H100 = "NVIDIA-H100-80GB-HBM3";

describe("MIG's profiles", () => {
  // How many instances NVIDIA's tables allow on one GPU (MIG user guide, "Supported MIG Profiles"; mig-parted's configurations).
  for (const [product, profile, count] of [
    ["NVIDIA-A30", "2g.12gb", 2],
    ["NVIDIA-A30", "7g.24gb", undefined],
    ["NVIDIA-A100-SXM4-40GB", "1g.5gb", 7],
    ["NVIDIA-A100-SXM4-40GB", "1g.10gb", 4],
    ["NVIDIA-A100-80GB-PCIe", "1g.10gb", 7],
    ["NVIDIA-A100-SXM4-80GB", "1g.5gb", undefined],
    ["NVIDIA-H100-PCIe", "2g.20gb", 3],
    [H100, "4g.40gb", 1],
    ["NVIDIA-H100-NVL", "3g.47gb", 2],
    ["NVIDIA-H100-NVL", "1g.10gb", undefined],
    ["NVIDIA-GH200-480GB", "7g.96gb", 1],
    ["NVIDIA-GH200-144G-HBM3e", "2g.36gb", 3],
    ["NVIDIA-H200", "1g.18gb.me", 1],
    ["NVIDIA-H200-NVL", "1g.35gb", 4],
    ["NVIDIA-B200", "1g.23gb", 7],
    ["NVIDIA-GB200", "3g.93gb", 2],
    ["NVIDIA-B300-SXM6-AC", "7g.269gb", 1],
    ["NVIDIA-GB300", "1g.35gb", 7],
    ["NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "1g.24gb", 4],
  ] as const)
    it(`have ${count ?? "no"} ${profile} on ${product}`, () => assert.equal(slicesOf(product)?.[profile], count));

  it("never have more memory than their GPU", () => {
    const memory = {
      "NVIDIA-A30": 24,
      "NVIDIA-A100-SXM4-40GB": 40,
      [H100]: 80,
      "NVIDIA-H200": 141,
      "NVIDIA-B200": 180,
    };
    for (const [product, gigabytes] of Object.entries(memory))
      for (const [profile, count] of Object.entries(slicesOf(product) ?? {})) {
        const each = Number(/g\.(\d+)gb/.exec(profile)?.[1]);
        // Sizes are rounded up to whole gigabytes.
        assert(count * (each - 1) <= gigabytes, `${count} × ${profile} on ${product}`);
      }
  });

  it("are none on products without MIG, and not known on others", () => {
    assert.deepEqual(slicesOf("NVIDIA-L40S"), {});
    assert.equal(slicesOf("NVIDIA-Z900-NEXT"), undefined);
  });
});
