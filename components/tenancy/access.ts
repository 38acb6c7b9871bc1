/** A platform's stores, opened when they are needed and shared by all that a process does. */
import type { Access } from "../plan/access.ts";
import { digestOf } from "../plan/digest.ts";
import { Etcd, type EtcdAccess } from "../stores/etcd.ts";
import { JetStream } from "../stores/jetstream.ts";
import type { Kubernetes } from "../stores/kubernetes.ts";
import { Nats, type NatsAccess } from "../stores/nats.ts";
import { PortForward } from "../stores/port-forward.ts";

/** A platform's stores. NATS and Kubernetes are connected to when they are first asked for. */
export interface Stores {
  readonly access: Access;
  readonly etcd: Etcd;
  /** How to reach etcd as somebody. */
  etcdAs(user: Pick<EtcdAccess, "username" | "password">): EtcdAccess;
  /** Tells the person at the terminal how far something long has come, or that something lasting was done. */
  progress(line: string): void;
  nats(): Promise<Nats>;
  /** How to reach NATS with somebody's credentials. */
  natsAs(creds: string): NatsAccess;
  /** JetStream inside an account, as a user of it; whoever asks closes it. */
  jetStream(access: NatsAccess): Promise<JetStream>;
  kubernetes(): Promise<Kubernetes>;
  close(): Promise<void>;
}

/** Opens a platform's stores; nothing is sent before they are used. */
export function openStores(access: Access, progress: (line: string) => void = () => {}): Stores {
  let nats: Promise<Nats> | undefined;
  let cluster: Promise<Kubernetes> | undefined;
  // Loaded late: the client takes most of a second, and only releases, audits and port-forwards need it.
  const kubernetes = () => {
    cluster ??= import("../stores/kubernetes.ts").then((module) => new module.Kubernetes(access.kubernetes));
    return cluster;
  };
  const forwards = {
    etcd: access.etcd.service && new PortForward(access.etcd.service, kubernetes),
    nats: access.nats.service && new PortForward(access.nats.service, kubernetes),
  };
  const etcdAs = (user: Pick<EtcdAccess, "username" | "password">): EtcdAccess => ({
    endpoints: access.etcd.endpoints,
    tls: access.etcd.tls,
    forward: forwards.etcd,
    ...user,
  });
  const etcd = new Etcd(etcdAs(access.etcd));
  const { servers, tls } = access.nats;
  const natsAs = (creds: string): NatsAccess => ({ servers, tls, creds, forward: forwards.nats });
  return {
    access,
    etcd,
    etcdAs,
    progress,
    nats: async () => {
      const open = await nats?.catch(() => undefined);
      if (open && !open.closed) return open;
      nats = Nats.connect(natsAs(access.nats.systemCreds));
      return nats;
    },
    natsAs,
    jetStream: JetStream.connect,
    kubernetes,
    close: async () => {
      etcd.close();
      await nats?.then((open) => open.close()).catch(() => undefined);
      await Promise.all(Object.values(forwards).map((forward) => forward?.close()));
    },
  };
}

const opened = new Map<string, Promise<Stores>>();

/** The stores for an access, shared by all that a process does; refused when etcd's authentication is off. */
export function storesFor(access: Access, progress?: (line: string) => void): Promise<Stores> {
  const key = digestOf(access);
  let stores = opened.get(key);
  if (!stores) {
    stores = authenticated(openStores(access, progress));
    opened.set(key, stores);
    stores.catch(() => opened.delete(key));
  }
  return stores;
}

async function authenticated(stores: Stores): Promise<Stores> {
  try {
    await stores.etcd.requireAuthentication();
    return stores;
  } catch (error) {
    await stores.close();
    throw error;
  }
}
