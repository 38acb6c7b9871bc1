/** A proxy before NATS: its text protocol over TCP. */
import { connect, createServer, type Socket } from "node:net";
import type { Gate, Point } from "./gate.ts";
import { type Listener, listening } from "./listener.ts";

/** Subjects on which the system account writes; what follows the word is an account's key. */
const WRITES = /^\$SYS\.REQ\.(CLAIMS\.(?:UPDATE|DELETE))$|^\$JS\.API\.(ACCOUNT\.PURGE)\./;

/** @param address `host:port` */
export async function natsProxy(gate: Gate, address: string): Promise<Listener> {
  const [host, port] = address.split(":") as [string, string];
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect({ host, port: Number(port), noDelay: true });
    const cut = () => {
      for (const socket of [client, upstream]) {
        socket.destroy();
        sockets.delete(socket);
      }
    };
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", cut).on("close", cut);
    }
    /** Writes that wait for their answer, by its subject. */
    const unanswered = new Map<string, Point>();
    const requests = async ({ fields: [op, subject = "", reply = ""] }: Frame) => {
      const [, claims, purge] = (/^H?PUB$/i.test(op ?? "") && WRITES.exec(subject)) || [];
      if (!claims && !purge) return "pass";
      const point = gate.record("nats", claims ?? purge ?? "");
      unanswered.set(reply, point);
      return gate.judge(point, "before");
    };
    const answers = async ({ fields: [, subject = ""] }: Frame) => {
      const point = unanswered.get(subject);
      unanswered.delete(subject);
      return point ? gate.judge(point, "after") : "pass";
    };
    relay(client, upstream, requests).then(cut, cut);
    relay(upstream, client, answers).then(cut, cut);
  });
  return listening(server, () => {
    for (const socket of sockets) socket.destroy();
  });
}

/** Hands frames on in their order; one that is held holds those behind it. */
async function relay(from: Socket, to: Socket, judge: (frame: Frame) => Promise<"pass" | "cut">): Promise<void> {
  for await (const frame of framesOf(from)) {
    if ((await judge(frame)) === "cut") return;
    to.write(frame.bytes);
  }
}

interface Frame {
  /** The words of its first line. */
  fields: string[];
  /** All of it. */
  bytes: Buffer;
}

/** What travels: lines, and after those of messages their content, whose size is the line's last word. */
async function* framesOf(socket: Socket): AsyncGenerator<Frame> {
  let rest = Buffer.alloc(0);
  for await (const chunk of socket) {
    rest = Buffer.concat([rest, chunk as Buffer]);
    for (;;) {
      const end = rest.indexOf("\r\n");
      if (end < 0) break;
      const fields = rest.toString("latin1", 0, end).split(" ");
      const content = /^H?(PUB|MSG)$/i.test(fields[0] ?? "") ? Number(fields.at(-1)) + 2 : 0;
      const size = end + 2 + content;
      if (rest.length < size) break;
      yield { fields, bytes: rest.subarray(0, size) };
      rest = rest.subarray(size);
    }
  }
}
