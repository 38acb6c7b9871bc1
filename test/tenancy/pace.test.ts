import assert from "node:assert/strict";
import { NeighbourlyPace } from "../../components/tenancy/pace.ts";

describe("the pace of a purge", () => {
  const clock = performance.now;
  let passed = 0;
  /** How long etcd takes: for a read, and for a removal of so many keys. */
  let idleMs = 1;
  let removalMs = (_keys: number) => 1;
  let pace: NeighbourlyPace;

  beforeEach(() => {
    performance.now = () => passed;
    pace = new NeighbourlyPace(async () => {
      passed += idleMs;
    });
  });
  afterEach(() => {
    performance.now = clock;
    [idleMs, removalMs] = [1, () => 1];
  });

  async function sizesOf(removals: number): Promise<number[]> {
    const sizes: number[] = [];
    for (let i = 0; i < removals; i++) {
      await pace.removing(async () => {
        sizes.push(pace.size);
        passed += removalMs(pace.size);
      });
    }
    return sizes;
  }

  it("removes more at once while etcd is as fast as ever, within bounds", async () => {
    const sizes = await sizesOf(300);
    assert.deepEqual(sizes.slice(0, 5), [300, 300, 320, 340, 360]);
    assert.equal(sizes.at(-1), 5_000);
  });

  it("removes less at once when a neighbour would have to wait, within bounds", async () => {
    removalMs = () => 9;
    assert.deepEqual(await sizesOf(7), [300, 300, 210, 147, 102, 100, 100]);
  });

  it("stays near the size that neighbours do not notice", async () => {
    removalMs = (keys) => keys / 100;
    const sizes = (await sizesOf(60)).slice(20);
    assert(Math.max(...sizes) <= 420 && Math.min(...sizes) >= 280, String(sizes));
  });

  it("takes a slow etcd for what it is", async () => {
    [idleMs, removalMs] = [20, () => 30];
    assert.equal((await sizesOf(4)).at(-1), 340);
  });
});
