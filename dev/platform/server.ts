import { layout } from "./layout.ts";
import { assertFree, type PortName, type Ports } from "./ports.ts";
import { deathOf, findProcess, runsAs, startProcess, stopProcess } from "./processes.ts";
import { until } from "./wait.ts";

/** Seconds from a server's start to ready; a fresh boot takes a few, a busy two-core machine several times that. */
const startDeadline = 60;

export interface Place {
  /** The directory that holds the platform. */
  home: string;
}

export interface Options extends Place {
  /** Called with one line for each thing that happens. @default silence */
  progress?: (line: string) => void;
}

export interface ToolOptions extends Options {
  /** The binary's path for each of etcd, nats-server, kube-apiserver, kube-controller-manager, kube-scheduler, kwok. */
  tools: Record<string, string>;
}

/** A server of the platform: how it is started, and when it is ready. */
export interface Server {
  name: string;
  /** The tool that runs it; `node` is the Node.js at work. */
  tool: string;
  args: string[];
  /** The ports that it listens on. */
  ports: PortName[];
  /** How clients reach it, if they do. */
  endpoint?: string;
  /** What must be there before it starts; called only while it does not run. */
  prepare?: () => Promise<void>;
  /** What of it is left to end once it does not run. */
  stopped?: () => Promise<void>;
  /** Seconds from its start to ready. @default 60 */
  patience?: number;
  /** Brings it to where its users can rely on it; idempotent; throws for as long as it is not ready. */
  ready: () => Promise<void>;
}

/**
 * Makes sure that the server runs with today's command line and is ready.
 * @throws when it dies or is not ready within a minute, or its port is taken
 */
export async function bring(server: Server, ports: Ports, options: ToolOptions): Promise<void> {
  const { home, tools, progress = () => {} } = options;
  const { name, args } = server;
  const log = layout(home).log(name);
  const binary = server.tool === "node" ? process.execPath : tools[server.tool];
  if (!binary) throw new Error(`${name}: no binary given for the tool ${server.tool}`);
  const ready = (pid: number) =>
    until({
      what: `${name} (log: ${log})`,
      attempt: server.ready,
      within: server.patience ?? startDeadline,
      giveUp: () => deathOf({ pid, home, name, log }),
    });

  const running = findProcess(home, name);
  if (running !== undefined && runsAs(running, binary, args)) {
    try {
      await ready(running);
      return progress(`${name}: running (pid ${running})`);
    } catch (error) {
      if (findProcess(home, name) !== undefined) throw error;
      progress(`${name}: died just now, starting it again`);
    }
  } else if (running !== undefined) {
    progress(`${name}: restarting, its command line changed`);
    await stopProcess(home, name);
  }

  const begun = Date.now();
  for (const port of server.ports) await assertFree(home, name, ports[port]);
  await server.prepare?.();
  const pid = await startProcess({ home, name, binary, args, log });
  await ready(pid);
  progress(`${name}: ready after ${((Date.now() - begun) / 1000).toFixed(1)} s (pid ${pid})`);
}
