import assert from "node:assert/strict";
import { NeighbourlyPace } from "../../components/tenancy/pace.ts";

describe("the pace of a purge", () => {
  const clock = performance.now;
  let passed = 0;
  /** How long a neighbour's read takes: when nothing is removed, and beside a removal of so many keys. */
  let idleMs = 1;
  let busyMs = (_keys: number) => 1;
  let removing = false;
  let pace: NeighbourlyPace;

  beforeEach(() => {
    performance.now = () => passed;
    pace = new NeighbourlyPace(async () => {
      passed += removing ? busyMs(pace.size) : idleMs;
      await new Promise(setImmediate);
    });
  });
  afterEach(() => {
    performance.now = clock;
    [idleMs, busyMs] = [1, () => 1];
  });

  async function sizesOf(removals: number): Promise<number[]> {
    const sizes: number[] = [];
    for (let i = 0; i < removals; i++) {
      await pace.removing(async () => {
        removing = true;
        sizes.push(pace.size);
        await new Promise((resolve) => setTimeout(resolve, 1));
        removing = false;
      });
    }
    return sizes;
  }

  it("removes more at once while nobody notices, within bounds", async () => {
    const sizes = await sizesOf(110);
    assert.deepEqual(sizes.slice(0, 5), [300, 300, 350, 400, 450]);
    assert.equal(sizes.at(-1), 5_000);
  });

  it("removes less at once when a neighbour has to wait, within bounds", async () => {
    busyMs = () => 9;
    assert.deepEqual(await sizesOf(6), [300, 300, 150, 100, 100, 100]);
  });

  it("stays near the size that neighbours do not notice", async () => {
    busyMs = (keys) => keys / 100;
    const sizes = (await sizesOf(60)).slice(20);
    assert(Math.max(...sizes) <= 450 && Math.min(...sizes) >= 200, String(sizes));
  });

  it("takes a slow etcd for what it is", async () => {
    [idleMs, busyMs] = [20, () => 30];
    assert.equal((await sizesOf(4)).at(-1), 400);
  });
});
