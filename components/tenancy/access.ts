/** A platform's stores, opened when they are needed and shared by all that a process does. */
import type { Access } from "../plan/access.ts";
import { digestOf } from "../plan/compile.ts";
import { Etcd } from "../stores/etcd.ts";
import type { Kubernetes } from "../stores/kubernetes.ts";
import { Nats } from "../stores/nats.ts";

/** A platform's stores. NATS and Kubernetes are connected to when they are first asked for. */
export interface Stores {
  readonly access: Access;
  readonly etcd: Etcd;
  /** Tells the person at the terminal how far something long has come, or that something lasting was done. */
  progress(line: string): void;
  nats(): Promise<Nats>;
  kubernetes(): Promise<Kubernetes>;
  close(): Promise<void>;
}

/** Opens a platform's stores; nothing is sent before they are used. */
export function openStores(access: Access, progress: (line: string) => void = () => {}): Stores {
  const etcd = new Etcd(access.etcd);
  let nats: Promise<Nats> | undefined;
  let kubernetes: Promise<Kubernetes> | undefined;
  return {
    access,
    etcd,
    progress,
    nats: async () => {
      const open = await nats?.catch(() => undefined);
      if (open && !open.closed) return open;
      nats = Nats.connect({ servers: access.nats.servers, creds: access.nats.systemCreds });
      return nats;
    },
    // Loaded late: the client takes most of a second, and only releases and audits need it.
    kubernetes: () => {
      kubernetes ??= import("../stores/kubernetes.ts").then((module) => new module.Kubernetes(access.kubernetes));
      return kubernetes;
    },
    close: async () => {
      etcd.close();
      await nats?.then((open) => open.close()).catch(() => undefined);
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
