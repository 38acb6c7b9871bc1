/**
 * A real node for the embedded platform (docs/real-node.md): containerd and a kubelet in a machine of their own (machine.ts). It is there
 * from `up --real-node` until `down`.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, rmdirSync, rmSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { read, write } from "../files.ts";
import { ApiError, apiEndpoint, call } from "../kubernetes.ts";
import type { Ports } from "../ports.ts";
import { findProcess, findProcesses, isAlive, send } from "../processes.ts";
import type { Server } from "../server.ts";
import { until } from "../wait.ts";
import { WEBHOOK_PATH } from "./admission.ts";
import { missingControllers, removeCgroups } from "./cgroups.ts";
import { NODE, nodeLayout, nodeTools } from "./config.ts";
import { ensureImage } from "./image.ts";
import { PRIVATE } from "./machine.ts";

export { NODE } from "./config.ts";

const NAME = "real-node";

/** The programs of the system that it takes, and whose package has them. */
const PROGRAMS = { unshare: "util-linux", nsenter: "util-linux", mount: "mount", tar: "tar", ldd: "libc-bin" };

/**
 * Asks whether this machine can have a real node.
 * @throws one line with what is missing and what to do
 */
export function assertPossible(home: string): void {
  const refuse = (found: string, expected: string): never => {
    throw new Error(`--real-node: found ${found}; expected ${expected}, or run without it: docs/process-pods.md`);
  };
  if (process.platform !== "linux") refuse(process.platform, "Linux, which containers are made of");
  if (process.getuid?.() !== 0)
    refuse(`uid ${process.getuid?.()}`, "root, as containerd and the kubelet need: use sudo");
  const hidden = PRIVATE.find((directory) => `${home}/`.startsWith(`${directory}/`));
  if (hidden) refuse(`the home ${home}`, `one outside of ${hidden}, which the node has for itself (RINGFENCE_HOME)`);
  for (const [program, owner] of Object.entries(PROGRAMS))
    if (!succeeds("sh", ["-c", `command -v ${program}`])) refuse(`no ${program} on PATH`, `the package ${owner}`);
  const missing = missingControllers();
  if (missing.length > 0)
    refuse(`no control group controllers ${missing.join(", ")}`, "them mounted below /sys/fs/cgroup and writable");
  const own = ["--pid", "--mount", "--net", "--ipc", "--fork", "--kill-child=SIGKILL", "sh", "-c"];
  if (!succeeds("unshare", [...own, "mount -t proc proc /proc"]))
    refuse("no right to make namespaces", "a machine or a privileged container");
  const overlay =
    "mount -t tmpfs tmpfs /run && mkdir /run/l /run/u /run/w /run/m && mount -t overlay -o lowerdir=/run/l,upperdir=/run/u,workdir=/run/w overlay /run/m";
  if (!succeeds("unshare", [...own, overlay])) refuse("no overlay file system", "a kernel with it: modprobe overlay");
}

function succeeds(program: string, args: string[]): boolean {
  try {
    execFileSync(program, args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** Notes that a node was asked for. It is brought by every `up` until it is asked for no more. */
export function ask(home: string, tools: Record<string, string>): void {
  const { asked, left } = nodeLayout(home);
  write(left, "");
  write(asked, JSON.stringify(nodeTools(tools)));
}

export const isAsked = (home: string): boolean => existsSync(nodeLayout(home).asked);

export function askNoMore(home: string): void {
  const { asked, data } = nodeLayout(home);
  rmSync(asked, { force: true });
  rmSync(data, { recursive: true, force: true });
}

/** The node as a server of the platform; none unless it was asked for. */
export function realNode(home: string, ports: Ports): Server[] {
  const { asked, containerd, kubelet, image, ready, data } = nodeLayout(home);
  const tools = read(asked);
  if (tools === undefined) return [];
  const host = fileURLToPath(new URL(`./host${extname(import.meta.url)}`, import.meta.url));
  return [
    {
      name: NAME,
      tool: "node",
      ports: [],
      endpoint: `node/${NODE}`,
      args: [host, home, tools],
      prepare: async () => {
        // In the cluster it stays: like one that lost power, the node finds the pods that it shall run.
        await clear(home);
        await ensureImage(image);
        for (const directory of [containerd, kubelet]) rmSync(directory, { recursive: true, force: true });
        rmSync(ready, { force: true });
        // Mounted over in the machine: it must be there.
        if (!existsSync(PLUGINS_CACHE)) {
          write(join(data, "made-plugins-cache"), "");
          mkdirSync(PLUGINS_CACHE, { recursive: true });
        }
      },
      patience: 180,
      ready: async () => {
        if (read(ready) !== String(findProcess(home, NAME))) throw new Error(`node ${NODE} is not ready yet`);
      },
      stopped: async () => {
        await clear(home);
        // With the API server away, the next `up` does that.
        await forget(home, ports).catch(() => {});
      },
    },
  ];
}

const PLUGINS_CACHE = "/var/lib/cni";

/** Takes away what a node that does not run has left on this machine. */
async function clear(home: string): Promise<void> {
  for (const { pid } of findProcesses(home, `${NAME}/`)) send(pid, "SIGKILL");
  await until({
    what: "the end of the node's processes",
    within: 30,
    attempt: async () => {
      const left = findProcesses(home, `${NAME}/`).filter(({ pid }) => isAlive(pid));
      if (left.length > 0) throw new Error(`pid ${left.map(({ pid }) => pid).join(", ")} still there`);
    },
  });
  await removeCgroups(home);
  const made = join(nodeLayout(home).data, "made-plugins-cache");
  if (existsSync(made)) {
    if (existsSync(PLUGINS_CACHE)) rmdirSync(PLUGINS_CACHE);
    rmSync(made);
  }
}

/** Tidies the cluster up after a node of an earlier run, if there was one. */
export async function forgetLeft(home: string, ports: Ports): Promise<void> {
  const { left } = nodeLayout(home);
  if (!existsSync(left)) return;
  await forget(home, ports);
  rmSync(left);
}

/** Removes the node and its pods from the cluster, where a killed platform has left them. */
async function forget(home: string, ports: Ports): Promise<void> {
  const api = <T>(method: string, path: string, body?: object) =>
    call<T>({ home, endpoint: apiEndpoint(ports), method, path, body });
  const remove = (path: string) =>
    api("DELETE", path, { gracePeriodSeconds: 0 }).catch((error) => {
      if (!(error instanceof ApiError && error.status === 404)) throw error;
    });
  await remove(WEBHOOK_PATH);
  await remove(`/api/v1/nodes/${NODE}`);
  const { items } = await api<{ items: { metadata: { namespace: string; name: string } }[] }>(
    "GET",
    `/api/v1/pods?fieldSelector=spec.nodeName=${NODE}`,
  );
  for (const { metadata } of items) await remove(`/api/v1/namespaces/${metadata.namespace}/pods/${metadata.name}`);
}
