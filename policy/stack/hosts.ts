/** Addresses of servers, as environment variables list them. */

export interface Address {
  /** Without `://`; undefined where none is written. */
  scheme: string | undefined;
  host: string;
  port: string | undefined;
  /** Whether it has a user or a password in it. */
  userinfo: boolean;
}

/** Every address of a list with commas; what is no address is left out. */
export function addressesOf(list: string): Address[] {
  return list.split(",").flatMap((written): Address[] => {
    const match =
      /^\s*(?:([a-z][a-z0-9+.-]*):\/\/)?(?:([^\s/@]*)@)?(\[[0-9a-f:.]+\]|[\w.-]+)(?::(\d+))?(?:\/\S*)?\s*$/i.exec(
        written,
      );
    if (!match) return [];
    const [, scheme, userinfo, host, port] = match;
    return [
      { scheme: scheme?.toLowerCase(), host: (host as string).toLowerCase(), port, userinfo: userinfo !== undefined },
    ];
  });
}

export const isLoopback = (host: string): boolean => /^(localhost|127(\.\d+){3}|\[::1\])$/.test(host);

/**
 * The Kubernetes namespace that a host lies in: the pod's own for a bare Service name, undefined for an address outside
 * the cluster's domain (which is in no namespace at all).
 */
export function namespaceOf(host: string): { own: true } | { own: false; namespace: string | undefined } {
  const labels = host.replace(/\.$/, "").split(".");
  if (labels.length === 1 && !/^\[|^\d+$/.test(host)) return { own: true };
  const domain = labels.slice(2);
  const inCluster = labels.length === 2 || (domain[0] === "svc" && !/^\d+$/.test(labels[0] as string));
  return { own: false, namespace: inCluster ? labels[1] : undefined };
}
