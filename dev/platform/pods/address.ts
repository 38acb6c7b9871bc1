/**
 * Where a process pod listens. Kubernetes refuses loopback addresses in EndpointSlices, so the pod is given one that nobody
 * routes, and its processes the loopback address of the same last two numbers.
 */
import { randomInt } from "node:crypto";
import { read } from "../files.ts";

const POD_NETWORK = "10.64.";
const LOOPBACK = "127.64.";

/** Where a process pod of this IP listens. @param podIP `10.64.a.b` @throws when it is no process pod's */
export function localAddress(podIP: string): string {
  if (!podIP.startsWith(POD_NETWORK)) throw new Error(`${podIP}: no process pod's address; expected ${POD_NETWORK}a.b`);
  return LOOPBACK + podIP.slice(POD_NETWORK.length);
}

/** An address for a pod. At random, for other platforms on this machine take theirs from the same range. */
export function choosePodIP(taken: (ip: string) => boolean): string {
  const listening = localAddresses();
  for (;;) {
    const ip = `${POD_NETWORK}${randomInt(0, 256)}.${randomInt(1, 255)}`;
    if (!taken(ip) && !listening.has(localAddress(ip))) return ip;
  }
}

/** The local addresses of this machine's TCP sockets; the kernel's table has them as little-endian hexadecimal. */
function localAddresses(): Set<string> {
  const rows = (read("/proc/net/tcp") ?? "").split("\n").map((row) => row.trim().split(/\s+/)[1]?.split(":")[0] ?? "");
  return new Set(rows.filter((hex) => hex.length === 8).map((hex) => [...Buffer.from(hex, "hex")].reverse().join(".")));
}
