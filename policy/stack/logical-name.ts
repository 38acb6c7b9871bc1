/** The parts of a logical name, as components/plan/names.ts puts them together. */
export function logicalNameParts(logicalName: string): { realm: string; pipeline: string } {
  const slash = logicalName.lastIndexOf("/");
  return { realm: logicalName.slice(0, Math.max(slash, 0)), pipeline: logicalName.slice(slash + 1) };
}
