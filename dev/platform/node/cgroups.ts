/** The control groups of a home's node: one group of its name in each hierarchy, under which the kubelet makes the pods'. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "../wait.ts";

const NEEDED = ["cpu", "cpuset", "memory", "pids"];

/** What follows from the mounted hierarchies: one of version 2, or one for each controller of version 1. */
function hierarchies(): { paths: string[]; controllers: string[] } {
  const mounts = readFileSync("/proc/mounts", "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split(" "))
    .map(([, path = "", type, options = ""]) => ({ path, type, options: options.split(",") }));
  const unified = mounts.find(({ path, type }) => path === "/sys/fs/cgroup" && type === "cgroup2");
  if (unified) {
    const controllers = readFileSync(join(unified.path, "cgroup.controllers"), "utf8").trim().split(" ");
    return { paths: [unified.path], controllers };
  }
  const each = mounts.filter(({ path, type = "" }) => type.startsWith("cgroup") && path.startsWith("/sys/fs/cgroup/"));
  return { paths: each.map(({ path }) => path), controllers: each.flatMap(({ options }) => options) };
}

/** The controllers that a kubelet needs and this machine lacks. */
export function missingControllers(): string[] {
  const { controllers } = hierarchies();
  return NEEDED.filter((name) => !controllers.includes(name));
}

/** The group's path, as a kubelet names it. */
export const cgroupOf = (home: string): string =>
  `/ringfence-${createHash("sha256").update(home).digest("hex").slice(0, 12)}`;

/** @throws when this process may not */
export function makeCgroups(home: string): void {
  for (const hierarchy of hierarchies().paths) {
    const group = join(hierarchy, cgroupOf(home));
    mkdirSync(group, { recursive: true });
    // Of version 1: a group without processors or memory takes no process.
    for (const file of ["cpuset.cpus", "cpuset.mems"])
      if (existsSync(join(hierarchy, file)))
        writeFileSync(join(group, file), readFileSync(join(hierarchy, file), "utf8"));
  }
}

/** @throws when processes of the node are still there after a while */
export function removeCgroups(home: string): Promise<void> {
  return until({
    what: `removing the control groups ${cgroupOf(home)}`,
    within: 15,
    attempt: async () => {
      for (const hierarchy of hierarchies().paths) removeTree(join(hierarchy, cgroupOf(home)));
    },
  });
}

/** The kernel's own files in them cannot be removed, nor need be. */
function removeTree(group: string): void {
  if (!existsSync(group)) return;
  for (const entry of readdirSync(group, { withFileTypes: true }))
    if (entry.isDirectory()) removeTree(join(group, entry.name));
  rmdirSync(group);
}
