/**
 * Reaches a Service that only pods can reach, as `kubectl port-forward` does: a listener on this machine, each
 * connection carried by the API server to a pod that is ready at that moment. A pod that goes away takes its
 * connections with it; the next one finds another pod.
 */
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { Writable } from "node:stream";
import { CALL_DEADLINE_MS, StoreError } from "./errors.ts";
import type { Kubernetes } from "./kubernetes.ts";

/** A Service in a cluster, and a port of its. */
export interface ServiceAddress {
  namespace: string;
  name: string;
  port: number;
}

interface Service {
  spec: { ports?: Array<{ name?: string; port: number }> };
}

interface EndpointSlice {
  ports?: Array<{ name?: string; port?: number }> | null;
  endpoints?: Array<{ conditions?: { ready?: boolean }; targetRef?: { kind?: string; name?: string } }> | null;
}

/** Where a connection goes: one pod, and the port that the Service's port is there. */
interface Target {
  pod: string;
  port: number;
}

export class PortForward {
  /** Names the way in messages. */
  readonly label: string;
  readonly #service: ServiceAddress;
  readonly #kubernetes: () => Promise<Kubernetes>;
  #listener: Promise<Server> | undefined;
  readonly #sockets = new Set<Socket>();
  #trouble: string | undefined;

  /** @param kubernetes asked when the first connection is needed; the client takes most of a second to load */
  constructor(service: ServiceAddress, kubernetes: () => Promise<Kubernetes>) {
    this.#service = service;
    this.#kubernetes = kubernetes;
    this.label = `port-forward to Service ${service.namespace}/${service.name}:${service.port}`;
  }

  /**
   * Listens, from the first call until `close`.
   * @returns `127.0.0.1:port`, the port a free one
   * @throws StoreError when there is no such Service, or none of its pods is ready
   */
  async address(): Promise<string> {
    this.#listener ??= this.#listen();
    try {
      const { port } = (await this.#listener).address() as AddressInfo;
      return `127.0.0.1:${port}`;
    } catch (error) {
      this.#listener = undefined;
      throw error;
    }
  }

  /** Why the connection that was tried last did not come about; undefined when it did. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Ends the listener and what it carries. */
  async close(): Promise<void> {
    const listener = await this.#listener?.catch(() => undefined);
    this.#listener = undefined;
    listener?.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  async #listen(): Promise<Server> {
    // Asked ahead: a client of the store could only say that its connection was cut.
    await this.#target();
    const server = createServer((socket) => void this.#carry(socket)).listen({ host: "127.0.0.1", port: 0 });
    await once(server, "listening");
    // Whoever forgets to close it shall end all the same.
    return server.unref();
  }

  /** Carries one connection until either side ends it. */
  async #carry(socket: Socket): Promise<void> {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    // What ends the connection shows in `close`; an error without a listener would end the process.
    socket.on("error", () => undefined);
    try {
      const target = await this.#target();
      const tunnel = await this.#open(socket, target);
      if (socket.destroyed) return tunnel.close();
      socket.once("close", () => tunnel.close());
      tunnel.onclose = () => socket.destroy();
      this.#trouble = undefined;
    } catch (error) {
      this.#trouble = (error as Error).message;
      socket.destroy();
    }
  }

  async #open(socket: Socket, { pod, port }: Target) {
    const { namespace } = this.#service;
    const { config } = await this.#kubernetes();
    const { PortForward: Tunnel } = await import("@kubernetes/client-node");
    const refusal = new Writable({
      write: (text: Buffer, _encoding, done) => {
        if (text.length > 0) {
          this.#trouble = this.#failed(`pod ${pod} refused: ${text.toString().trim()}`).message;
          socket.destroy();
        }
        done();
      },
    });
    const opening = new Tunnel(config).portForward(namespace, pod, [port], socket, refusal, socket);
    const tunnel = opening as Promise<Exclude<Awaited<typeof opening>, () => unknown>>;
    const late = `pod ${pod}: no connection within ${CALL_DEADLINE_MS / 1000} s`;
    return within(tunnel, CALL_DEADLINE_MS, late).catch((cause: Error) => {
      tunnel.then((opened) => opened.close()).catch(() => undefined);
      const denied = /response: (401|403)/.test(cause.message);
      const advice = denied ? ": the kubeconfig's user needs the verbs get and create on pods/portforward" : "";
      throw this.#failed(`pod ${pod}: ${cause.message}${advice}`, cause);
    });
  }

  /** A pod of the Service that is ready now, any of them: one on a node that died stays listed for a while. */
  async #target(): Promise<Target> {
    const { namespace, name, port } = this.#service;
    const kubernetes = await this.#kubernetes();
    const service = (await kubernetes.get(`/api/v1/namespaces/${namespace}/services/${name}`)) as Service | undefined;
    if (!service) throw this.#failed(`${kubernetes.label} has no such Service: correct it in the platform's access`);
    const ports = service.spec.ports ?? [];
    const named = ports.find((one) => one.port === port);
    if (!named) throw this.#failed(`the Service has no such port, but ${ports.map((one) => one.port).join(", ")}`);
    const selector = encodeURIComponent(`kubernetes.io/service-name=${name}`);
    const path = `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices?labelSelector=${selector}`;
    const { items } = (await kubernetes.get(path)) as { items: EndpointSlice[] };
    const pods = items.flatMap(({ ports, endpoints }) => {
      const inPod = ports?.find((one) => (one.name ?? "") === (named.name ?? ""))?.port;
      return (endpoints ?? []).flatMap(({ conditions, targetRef }) =>
        inPod !== undefined && targetRef?.kind === "Pod" && targetRef.name
          ? [{ pod: targetRef.name, port: inPod, ready: conditions?.ready !== false }]
          : [],
      );
    });
    const ready = pods.filter((pod) => pod.ready);
    const chosen = ready[Math.floor(Math.random() * ready.length)];
    if (!chosen) throw this.#failed(`none of its ${pods.length} pods is ready: kubectl -n ${namespace} get pods`);
    return chosen;
  }

  #failed(reason: string, cause?: Error): StoreError {
    return new StoreError(`${this.label}: ${reason}`, { unreachable: true, cause });
  }
}

/** The promise's value, or an error when it takes longer. */
function within<T>(promise: Promise<T>, ms: number, late: string): Promise<T> {
  let timer: NodeJS.Timeout;
  const time = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(late)), ms);
  });
  return Promise.race([promise, time]).finally(() => clearTimeout(timer));
}
