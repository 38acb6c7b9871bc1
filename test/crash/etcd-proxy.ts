/** A proxy before etcd: gRPC over HTTP/2 without TLS. */
import { once } from "node:events";
import * as http2 from "node:http2";
import { buffer } from "node:stream/consumers";
import { writeOf } from "./etcd-writes.ts";
import type { Gate } from "./gate.ts";
import { type Listener, listening } from "./listener.ts";

/** Everything else is one request and one answer. */
const STREAMS = /\/(Watch|LeaseKeepAlive|Snapshot|Observe)$/;

export async function etcdProxy(gate: Gate, endpoint: string): Promise<Listener> {
  const server = http2.createServer();
  const sessions = new Set<http2.Http2Session>();
  server.on("session", (client) => {
    const upstream = http2.connect(endpoint);
    const cut = () => {
      for (const session of [client, upstream]) {
        session.destroy();
        sessions.delete(session);
      }
    };
    for (const session of [client, upstream]) {
      sessions.add(session);
      session.on("error", cut).on("close", cut);
    }
    client.on("stream", (stream, headers) => {
      stream.on("error", () => {});
      if (STREAMS.test(headers[":path"] ?? "")) relay(stream, upstream.request(headers));
      else exchange(gate, { stream, headers, upstream, cut }).catch(cut);
    });
  });
  return listening(server, () => {
    for (const session of sessions) session.destroy();
  });
}

interface Exchange {
  stream: http2.ServerHttp2Stream;
  headers: http2.IncomingHttpHeaders;
  upstream: http2.ClientHttp2Session;
  cut: () => void;
}

/** A request and its answer, each of them whole before it goes on; also when the client does not wait any more. */
async function exchange(gate: Gate, { stream, headers, upstream, cut }: Exchange): Promise<void> {
  const body = await buffer(stream);
  const what = writeOf(headers[":path"] ?? "", body);
  const point = what === undefined ? undefined : gate.record("etcd", what);
  if (point && (await gate.judge(point, "before")) === "cut") return cut();
  const request = upstream.request(headers);
  request.end(body);
  let trailers: http2.IncomingHttpHeaders = {};
  request.on("trailers", (found) => {
    trailers = found;
  });
  const [answer] = (await once(request, "response")) as [http2.IncomingHttpHeaders];
  const content = await buffer(request);
  if (point && (await gate.judge(point, "after")) === "cut") return cut();
  if (stream.destroyed) return;
  // An error comes without content: its trailers are its headers.
  if (content.length === 0) return stream.respond(answer, { endStream: true });
  stream.respond(answer, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers(trailers));
  stream.end(content);
}

function relay(stream: http2.ServerHttp2Stream, request: http2.ClientHttp2Stream): void {
  let trailers: http2.IncomingHttpHeaders = {};
  request.on("response", (answer) => stream.destroyed || stream.respond(answer, { waitForTrailers: true }));
  request.on("trailers", (found) => {
    trailers = found;
  });
  stream.on("wantTrailers", () => stream.sendTrailers(trailers));
  request.on("error", () => stream.close());
  stream.on("close", () => request.close(http2.constants.NGHTTP2_CANCEL));
  stream.pipe(request).pipe(stream);
}
