import assert from "node:assert/strict";
import fc from "fast-check";
import { nodesNeeded } from "../../components/plan/packing.ts";

describe("the fewest nodes", () => {
  const room = 8;
  /** By trying: each pod on each node that has room for it. */
  function exact(sizes: number[]): number {
    const place = (rest: number[], nodes: number[]): boolean => {
      const [size, ...others] = rest;
      if (size === undefined) return true;
      return [...new Set(nodes)].some((free) => {
        if (free < size) return false;
        const at = nodes.indexOf(free);
        return place(others, nodes.with(at, free - size));
      });
    };
    let nodes = 0;
    while (!place(sizes, Array(nodes).fill(room))) nodes++;
    return nodes;
  }

  const fewest = (sizes: number[]) =>
    nodesNeeded(
      sizes.map((size) => [size, 1] as const),
      room,
    );

  it("are never more than some packing takes", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: room }), { maxLength: 7 }), (sizes) => {
        const sorted = sizes.sort((a, b) => b - a);
        assert(fewest(sorted) <= exact(sorted), `${sizes}`);
      }),
      { numRuns: 300 },
    );
  });

  it("are exact where sizes divide one another, and for pods of one size", () => {
    const pods = fc.oneof(
      fc.array(fc.constantFrom(1, 2, 4, 8), { maxLength: 7 }),
      fc
        .tuple(fc.integer({ min: 1, max: room }), fc.integer({ min: 0, max: 6 }))
        .map(([size, n]) => Array<number>(n).fill(size)),
    );
    fc.assert(
      fc.property(pods, (sizes) => assert.equal(fewest(sizes), exact(sizes.sort((a, b) => b - a)))),
      { numRuns: 300 },
    );
  });
});
