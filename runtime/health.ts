/** `/live`, `/ready` and `/metrics` on one port, for the kubelet and for Prometheus. */

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { VisibleError } from "../components/plan/visible-error.ts";

export interface HealthSource {
  /** Why the process should be restarted; undefined when it should not. */
  dead(): string | undefined;
  /** Why no request should come; undefined when they may. */
  unready(): string | undefined;
  /** Prometheus text. */
  metrics(): string;
}

/**
 * @param at `port` 0 takes any that is free
 * @throws VisibleError when the port is taken
 */
export async function serveHealth(
  source: HealthSource,
  at: { host: string; port: number },
): Promise<{ port: number; close(): void }> {
  const server = createServer((request, response) => {
    const answer = (why: string | undefined) => response.writeHead(why ? 503 : 200).end(`${why ?? "ok"}\n`);
    switch (request.url?.split("?", 1)[0]) {
      case "/live":
        return answer(source.dead());
      case "/ready":
        return answer(source.unready());
      case "/metrics":
        return response
          .writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" })
          .end(source.metrics());
      default:
        return response.writeHead(404).end("expected /live, /ready or /metrics\n");
    }
  });
  try {
    server.listen(at.port, at.host);
    await once(server, "listening");
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const advice = code === "EADDRINUSE" ? "choose another, or false for none" : message;
    throw new VisibleError(`port: found ${at.port}, which cannot be listened on (${code}): ${advice}`, { cause });
  }
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { port: (server.address() as AddressInfo).port, close };
}
