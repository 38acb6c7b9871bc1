/**
 * What client and worker say to each other over NATS: one header, `Ringfence`, of words; and a body, JSON or bytes.
 *
 * A request is named by its client and a number that grows by one. `run` may come several times for the same request:
 * the worker runs it once, and answers each time with the frames from `from` on. A plain reply has no header at all.
 * A worker from before `more` knows neither that nor `upTo`, and sends a stream without waiting.
 */

/** A request as it travels. */
export interface Run {
  client: string;
  number: number;
  /** The client waits for none of its requests below this number any more. */
  settled: number;
  /** Milliseconds that the caller goes on waiting; a span, because clocks differ. */
  leftMs: number;
  /** The frames that the client has already. */
  from: number;
  tag: Tag;
  /** The parts of a stream that the client takes, from the first on; it takes more later. @default all */
  upTo?: number | undefined;
}

/** How a body is written: `j` JSON, `b` bytes as they are. */
export type Tag = "j" | "b";

export type ToWorker =
  | ({ kind: "run" } & Run)
  /** The client has read `from` parts, and takes those before `upTo`. */
  | { kind: "more"; client: string; number: number; from: number; upTo: number }
  | { kind: "cancel"; client: string; number: number }
  | { kind: "ping" }
  | { kind: "unknown" };

/** What comes back. `value`, `end`, `failed` and `interrupted` are last frames; the rest below `interrupted` is no frame of the reply. */
export type ToClient =
  | { kind: "value"; tag: Tag; data: Uint8Array }
  | { kind: "chunk"; index: number; tag: Tag; data: Uint8Array }
  | { kind: "end"; chunks: number }
  | { kind: "failed"; name: string; message: string }
  /** The worker ended before the handler did. */
  | { kind: "interrupted" }
  /** Not run, and it will not be. */
  | { kind: "refused"; why: string }
  /** Begun, with no new frame yet. */
  | { kind: "running" }
  /** Run, and its reply is not kept any more. */
  | { kind: "forgotten" }
  | { kind: "pong"; state: "ready" | "draining" }
  /** NATS' own: nobody is subscribed there. */
  | { kind: "nobody" };

/** What headers take of a message, at most, bytes. */
export const HEADER_ROOM = 512;

export const write = {
  run: ({ client, number, settled, leftMs, from, tag, upTo }: Run): string =>
    `run ${client} ${number} ${settled} ${leftMs} ${from} ${tag}${upTo === undefined ? "" : ` ${upTo}`}`,
  more: (client: string, number: number, from: number, upTo: number): string =>
    `more ${client} ${number} ${from} ${upTo}`,
  cancel: (client: string, number: number): string => `cancel ${client} ${number}`,
  ping: "ping",
  /** undefined: a JSON value needs no header. */
  value: (tag: Tag): string | undefined => (tag === "j" ? undefined : "value b"),
  chunk: (index: number, tag: Tag): string => `chunk ${index} ${tag}`,
  end: (chunks: number): string => `end ${chunks}`,
  failed: "failed",
  interrupted: "interrupted",
  refused: "refused",
  running: "running",
  forgotten: "forgotten",
  pong: (state: "ready" | "draining"): string => `pong ${state}`,
};

export function readToWorker(header: string): ToWorker {
  const [kind, client = "", ...rest] = header.split(" ");
  if (kind === "run") {
    const [number, settled, leftMs, from, tag, upTo] = rest;
    return {
      kind,
      client,
      number: Number(number),
      settled: Number(settled),
      leftMs: Number(leftMs),
      from: Number(from),
      tag: tag === "b" ? "b" : "j",
      upTo: upTo === undefined ? undefined : Number(upTo),
    };
  }
  if (kind === "more") {
    const [number, from, upTo] = rest.map(Number) as [number, number, number];
    return { kind, client, number, from, upTo };
  }
  if (kind === "cancel") return { kind, client, number: Number(rest[0]) };
  return { kind: kind === "ping" ? kind : "unknown" };
}

export function readToClient(message: { header: string; data: Uint8Array; nobody: boolean }): ToClient {
  const { header, data } = message;
  if (header === "") return message.nobody ? { kind: "nobody" } : { kind: "value", tag: "j", data };
  const [kind, first = "", second] = header.split(" ");
  switch (kind) {
    case "value":
      return { kind, tag: "b", data };
    case "chunk":
      return { kind, index: Number(first), tag: second === "b" ? "b" : "j", data };
    case "end":
      return { kind, chunks: Number(first) };
    case "failed":
      return { kind, ...(decode(data, "j") as { name: string; message: string }) };
    case "refused":
      return { kind, why: decode(data, "j") as string };
    case "pong":
      return { kind, state: first === "ready" ? "ready" : "draining" };
    case "running":
    case "forgotten":
    case "interrupted":
      return { kind };
    default:
      return { kind: "refused", why: `it speaks another version ('${header}')` };
  }
}

const decoder = new TextDecoder();
const EMPTY = new Uint8Array(0);

export const tagOf = (body: unknown): Tag => (body instanceof Uint8Array ? "b" : "j");

/**
 * By Buffer, which takes a seventh of the time of TextEncoder for what is short.
 * @throws TypeError for what JSON cannot write
 */
export const encode = (body: unknown): Uint8Array =>
  body instanceof Uint8Array ? body : body === undefined ? EMPTY : Buffer.from(JSON.stringify(body));

/** @throws SyntaxError */
export function decode(data: Uint8Array, tag: Tag): unknown {
  if (tag === "b") return data;
  return data.length === 0 ? undefined : JSON.parse(decoder.decode(data));
}
