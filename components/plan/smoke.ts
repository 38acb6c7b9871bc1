/** Where a pipeline is reached, and a command that shows that it serves. */

/** Where a pipeline serves, with what is known of it once it is up. */
export interface Served {
  namespace: string;
  /** Names the Service. */
  vertex: string;
  /** The Service's port. */
  port: number;
  /** Begins with a slash. */
  path: string;
  /** Sent by POST as JSON; without it the request is a GET. */
  body?: string | undefined;
}

/** Inside the cluster. */
export const urlOf = ({ namespace, vertex, port }: Omit<Served, "path">): string =>
  `http://${vertex}.${namespace}.svc:${port}`;

/**
 * One line for a POSIX shell with kubectl and curl. It goes by a port-forward, which no NetworkPolicy stops, from a port that was
 * free; it waits until that is open, and fails when it does not open or the answer stays an error for 45 s: Dynamo's frontends are ready
 * before they have heard of a model.
 */
export function smokeCommand({ namespace, vertex, port, path, body }: Served): string {
  const request = body === undefined ? "" : ` --header 'content-type: application/json' --data ${shellQuoted(body)}`;
  return (
    `(fifo=$(mktemp -u) && mkfifo "$fifo" || exit; ` +
    `kubectl --namespace ${namespace} port-forward --address 127.0.0.1 service/${vertex} :${port} >"$fifo" & ` +
    `exec 3<"$fifo"; rm "$fifo"; read -r forwarding from address rest <&3 && ` +
    `curl --silent --show-error --fail-with-body --max-time 120 --retry 9 --retry-delay 5 --retry-all-errors "http://$address"${shellQuoted(path)}${request}; ` +
    `code=$?; kill $! 2>/dev/null; wait; exit $code)`
  );
}

const shellQuoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
