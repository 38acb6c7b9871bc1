/** A proxy before Kubernetes' API server: plain HTTP on this side, TLS on the other. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { request } from "node:https";
import { buffer } from "node:stream/consumers";
import type { Gate } from "./gate.ts";
import { type Listener, listening } from "./listener.ts";

/** @param ca the certificate that signs the API server's */
export async function kubernetesProxy(gate: Gate, endpoint: string, ca: Buffer): Promise<Listener> {
  const server = createServer((incoming, outgoing) => {
    exchange(gate, { endpoint, ca, incoming, outgoing }).catch(() => incoming.socket.destroy());
  });
  return listening(server, () => server.closeAllConnections());
}

interface Exchange {
  endpoint: string;
  ca: Buffer;
  incoming: IncomingMessage;
  outgoing: ServerResponse;
}

async function exchange(gate: Gate, { endpoint, ca, incoming, outgoing }: Exchange): Promise<void> {
  const { method = "", url = "", headers } = incoming;
  const body = await buffer(incoming);
  const point = method === "GET" ? undefined : gate.record("kube-apiserver", `${method} ${resourceOf(url)}`);
  if (point && (await gate.judge(point, "before")) === "cut") return void incoming.socket.destroy();
  const { host: _, ...passed } = headers;
  const upstream = request(new URL(url, endpoint), { method, headers: passed, ca });
  upstream.end(body);
  const [answer] = (await once(upstream, "response")) as [IncomingMessage];
  const content = await buffer(answer);
  if (point && (await gate.judge(point, "after")) === "cut") return void incoming.socket.destroy();
  const { "transfer-encoding": __, ...given } = answer.headers;
  outgoing.writeHead(answer.statusCode ?? 500, given).end(content);
}

/** `/api/v1/namespaces/chat-1234` → `namespaces`, `/apis/apps/v1/namespaces/chat-1234/deployments/web` → `deployments`. */
function resourceOf(url: string): string {
  const path = new URL(url, "http://any").pathname.replace(/^\/(api|apis\/[^/]+)\/[^/]+\//, "").split("/");
  return (path[0] === "namespaces" && path[2]) || path[0] || url;
}
