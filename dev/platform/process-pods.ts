/**
 * Process pods: a pod whose first image is `ringfence.dev/…` is not simulated. An agent of the platform (pods/agent.ts) runs
 * each of its containers as a process, with the command and the environment of the real spec, and plays the kubelet for it.
 */
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { read } from "./files.ts";
import { layout } from "./layout.ts";
import { findProcess, findProcesses, isAlive, send } from "./processes.ts";
import type { Server } from "./server.ts";
import { until } from "./wait.ts";

export { localAddress } from "./pods/address.ts";

const NAME = "process-pods";

/** What the names of the pods' processes begin with. */
export const POD_PROCESS = "pod:";

/** The file in which the agent notes its pid once it watches. */
export const watchingFile = (home: string): string => join(layout(home).dataOf(NAME), "watching");

/** Where a pod has its volumes. */
export const podDirectory = (home: string, uid: string): string => join(layout(home).dataOf(NAME), uid);

/** The agent. Stopped like a kubelet it leaves its pods running, and its successor finds them. */
export function processPods(home: string): Server {
  const agent = new URL(`./pods/agent${extname(import.meta.url)}`, import.meta.url);
  return {
    name: NAME,
    tool: "node",
    ports: [],
    args: [fileURLToPath(agent), home],
    ready: async () => {
      if (read(watchingFile(home)) !== String(findProcess(home, NAME))) throw new Error("does not watch pods yet");
    },
    stopped: () => endPods(home),
  };
}

/** Their stores go with them: nobody is left to say goodbye to. */
async function endPods(home: string): Promise<void> {
  const killed = findProcesses(home, POD_PROCESS).map(({ pid }) => pid);
  for (const pid of killed) send(pid, "SIGKILL");
  await until({
    what: "the end of the pods' processes",
    within: 15,
    attempt: async () => {
      const left = killed.filter(isAlive);
      if (left.length > 0) throw new Error(`pid ${left.join(", ")} still there`);
    },
  });
}
