/** Beyond this many parts of a node, rounding tells next to nothing. */
const FINEST = 128;

/**
 * The fewest nodes that hold pods of these sizes: a lower bound, so that what it refuses never fits, however cleverly the
 * scheduler packs. It is exact where sizes divide one another, as 1, 2, 4 and 8 do. The bound is the greatest of those
 * that rounding each size to parts of a node gives (Fekete and Schepers, "New classes of fast lower bounds for bin packing
 * problems", 2001, function u(k)), and of the plain sum.
 * @param pods size, a whole number from 1 to `room`, and how many there are
 * @param room of one node
 */
export function nodesNeeded(pods: ReadonlyArray<readonly [size: number, count: number]>, room: number): number {
  const bound = (weightOf: (size: number) => number, full: number) =>
    Math.ceil(pods.reduce((sum, [size, count]) => sum + weightOf(size) * count, 0) / full);
  let most = bound((size) => size, room);
  for (let k = 1; k <= Math.min(room, FINEST); k++) {
    // In units of one (k × room)th of a node, so that nothing is rounded but what the bound rounds.
    const rounded = (size: number) => {
      const parts = (k + 1) * size;
      return parts % room === 0 ? size * k : Math.floor(parts / room) * room;
    };
    most = Math.max(most, bound(rounded, k * room));
  }
  return most;
}
