/** The platform's TCP ports: chosen once, free then, and kept in `ports.json`, so that access to it never moves by itself. */
import { randomInt } from "node:crypto";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { read, write } from "./files.ts";
import { until } from "./wait.ts";

const names = [
  "etcd",
  "etcd-peer",
  "nats",
  "kubernetes-etcd",
  "kubernetes-etcd-peer",
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
] as const;
export type PortName = (typeof names)[number];
export type Ports = Record<PortName, number>;

const fileOf = (home: string) => join(home, "ports.json");

/** The ports kept; `undefined` before the first `up`. */
export function keptPorts(home: string): Ports | undefined {
  const text = read(fileOf(home));
  return text === undefined ? undefined : (JSON.parse(text) as Ports);
}

/** The ports kept, chosen now if this is the first time. */
export async function ensurePorts(home: string): Promise<Ports> {
  const kept = keptPorts(home);
  if (kept) return kept;
  const chosen: Record<string, number> = {};
  for (const name of names) chosen[name] = await choosePort(KEPT, Object.values(chosen));
  write(fileOf(home), `${JSON.stringify(chosen, null, 2)}\n`);
  return chosen as Ports;
}

/** Gives one server another port. */
export async function movePort(home: string, name: PortName): Promise<Ports> {
  const ports = await ensurePorts(home);
  const moved = { ...ports, [name]: await choosePort(KEPT, Object.values(ports)) };
  write(fileOf(home), `${JSON.stringify(moved, null, 2)}\n`);
  return moved;
}

/** Below 32768, where Linux' ephemeral range starts: no client's outgoing connection can sit on it later. */
const KEPT = { from: 20_000, to: 32_000 };

/** Apart from those that are kept, so that nobody takes one whose server is away for a moment. */
const PASSING = { from: 10_000, to: 20_000 };

async function choosePort({ from, to }: typeof KEPT, taken: number[] = []): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const port = randomInt(from, to);
    if (!taken.includes(port) && (await isFree(port))) return port;
  }
  throw new Error(`no free TCP port found between ${from} and ${to} on 127.0.0.1 in 200 tries`);
}

const isFree = (port: number) =>
  new Promise<boolean>((resolve) => {
    const probe = createServer().once("error", () => resolve(false));
    probe.listen({ host: "127.0.0.1", port }, () => probe.close(() => resolve(true)));
  });

/** @throws when someone else listens on the port, with the name of who it is where this user may see it */
export async function assertFree(home: string, server: string, port: number): Promise<void> {
  await until({
    what: `${server}: its port ${port} (${fileOf(home)}) is taken`,
    // A server killed a moment ago may not have let go of it yet.
    within: 2,
    attempt: async () => {
      if (!(await isFree(port)))
        throw new Error(
          `held by ${holderOf(port)}; stop that process, or run \`ringfence dev down\`, ` +
            "delete the file and run `ringfence dev up` to choose new ports",
        );
    },
  });
}

/** The listener's inode from the kernel's socket table, then the process with that inode open. */
function holderOf(port: number): string {
  const listening = "0A";
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const sockets = ["/proc/net/tcp", "/proc/net/tcp6"]
    .flatMap((table) => (read(table) ?? "").split("\n"))
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1]?.endsWith(suffix) && fields[3] === listening)
    .map((fields) => `socket:[${fields[9]}]`);
  for (const pid of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
    try {
      const open = readdirSync(`/proc/${pid}/fd`).map((fd) => {
        try {
          return readlinkSync(`/proc/${pid}/fd/${fd}`);
        } catch {
          return ""; // closed meanwhile
        }
      });
      if (open.some((target) => sockets.includes(target)))
        return `pid ${pid} (${readFileSync(`/proc/${pid}/comm`, "utf8").trim()})`;
    } catch {
      // gone meanwhile, or another user's
    }
  }
  return "another user's process";
}

/** Those that this process was given: their servers may not listen yet. */
const given: number[] = [];

/** A port for a server that is started now, for as long as whoever asks for it runs: another one each time. */
export async function freePort(): Promise<number> {
  const port = await choosePort(PASSING, given);
  given.push(port);
  return port;
}
