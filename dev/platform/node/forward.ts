/**
 * The way from network namespaces to what listens on the host's loopback. A socket belongs to the namespace that it was made in, not to
 * the process that holds it: a short-lived process listens inside, and this one takes its sockets over.
 */
import { once } from "node:events";
import { connect, type Server, type Socket } from "node:net";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import type { Machine } from "./machine.ts";

/** An address inside, and the port of the host's 127.0.0.1 that it stands for. */
export interface Way {
  host: string;
  port: number;
  to: number;
}

const LISTEN = fileURLToPath(new URL(`./listen${extname(import.meta.url)}`, import.meta.url));

export class Forwarder {
  readonly #machine: Machine;
  readonly #open = new Map<string, Server[]>();

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** @param netns path inside the machine @throws when one of the addresses cannot be listened on */
  async open(netns: string, ways: Way[]): Promise<void> {
    this.close(netns);
    const command = [process.execPath, LISTEN, JSON.stringify(ways.map(({ host, port }) => ({ host, port })))];
    const child = this.#machine.spawn(command, { netns, ipc: true });
    const servers: Server[] = [];
    this.#open.set(netns, servers);
    const all = new Promise<void>((resolve) => {
      child.on("message", (index, handle) => {
        const way = ways[index as number];
        if (!way || !handle) return;
        servers.push((handle as Server).on("connection", (socket) => forward(socket, way.to)));
        if (servers.length === ways.length) resolve();
      });
    });
    const exited = once(child, "exit").then(([code]) => {
      throw new Error(`${netns}: cannot listen in it (${code})`);
    });
    exited.catch(() => {});
    await Promise.race([all, exited]);
    child.send("taken");
  }

  close(netns: string): void {
    for (const server of this.#open.get(netns) ?? []) server.close();
    this.#open.delete(netns);
  }
}

function forward(inner: Socket, port: number): void {
  const outer = connect({ host: "127.0.0.1", port });
  for (const [one, other] of [
    [inner, outer],
    [outer, inner],
  ] as const) {
    one.setNoDelay(true);
    one.on("error", () => other.destroy());
  }
  inner.pipe(outer);
  outer.pipe(inner);
}
