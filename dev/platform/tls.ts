/**
 * The platform's TLS mode: etcd and NATS speak TLS only, and only to clients with a certificate. Once turned on it
 * stays, until `ringfence dev reset`. Kubernetes' own etcd is reached by the apiserver alone and stays as it is.
 */
import { existsSync, renameSync, rmSync } from "node:fs";
import { type Certificate, filesOf, issue, makeAuthority } from "./certificates.ts";
import { read } from "./files.ts";
import { layout } from "./layout.ts";

/** Paths in PEM. */
export interface Tls {
  /** The authority that clients and servers trust. */
  ca: string;
  server: Certificate;
  /** Of every client. It has no CN: etcd would take one for a user, and its gateway and its grpc-proxy refuse it. */
  client: Certificate;
}

/** The certificates, made now if they are not there. */
export function ensureTls(home: string): void {
  const { tls } = layout(home);
  if (existsSync(tls)) return;
  // In one step: half a set, as a kill would leave it, is no set.
  const draft = `${tls}.draft`;
  rmSync(draft, { recursive: true, force: true });
  makeAuthority(draft);
  issue(draft, "server", "/O=ringfence-dev");
  issue(draft, "client", "/O=ringfence-dev");
  renameSync(draft, tls);
}

/** The certificates; undefined when the platform is one without TLS. */
export function tlsOf(home: string): Tls | undefined {
  const { tls } = layout(home);
  if (!existsSync(tls)) return undefined;
  return { ca: filesOf(tls, "ca").cert, server: filesOf(tls, "server"), client: filesOf(tls, "client") };
}

/** What a client needs, as texts. */
export function clientTls(home: string): { ca: string; cert: string; key: string } | undefined {
  const tls = tlsOf(home);
  return tls && { ca: text(tls.ca), cert: text(tls.client.cert), key: text(tls.client.key) };
}

function text(path: string): string {
  const found = read(path);
  if (found === undefined) throw new Error(`${path} is missing; \`ringfence dev reset\` starts afresh`);
  return found;
}
