/** TLS to a store: what a client needs for it, and why it failed. gRPC for Node.js keeps the cause to itself. */
import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { connect } from "node:tls";

/** PEM texts. */
export interface ClientTls {
  /** Authorities to trust. @default those that Node.js trusts */
  ca?: string | undefined;
  /** The client's certificate, where the server asks for one. */
  cert?: string | undefined;
  /** Its private key: a secret. */
  key?: string | undefined;
}

/** How long a server may take to refuse a certificate, milliseconds: with TLS 1.3 that comes after the handshake. */
const PROBE_MS = 2_000;

const NO_TLS = "it speaks no TLS: turn TLS on there, or correct the scheme and leave tls out of the platform's access";

/** Node.js' names for a chain of certificates that ends at nobody whom the client trusts. */
const UNTRUSTED = /^(UNABLE_TO_(GET_ISSUER|VERIFY)|SELF_SIGNED_CERT|DEPTH_ZERO|CERT_(UNTRUSTED|SIGNATURE_FAILURE))/;

/** Why TLS failed. */
export interface TlsTrouble {
  /** What the server did, and the next step. */
  cause: string;
  /** The other end said so, as opposed to breaking off: then it may just be restarting. */
  certain: boolean;
}

/**
 * Shakes hands as a client of an etcd would, to find out why there is no connection.
 * @param url `https://host:port`
 * @param at `host:port` to dial instead, where the address itself is out of reach
 * @returns undefined when it is not TLS that fails
 */
export function probeTls(url: string, tls: ClientTls = {}, at?: string): Promise<TlsTrouble | undefined> {
  const name = bare(new URL(url).hostname);
  const { hostname, port } = new URL(at ? `https://${at}` : url);
  return new Promise((resolve) => {
    const socket = connect({
      ...tls,
      host: bare(hostname),
      port: Number(port || 443),
      ALPNProtocols: ["h2"],
      ...(isIP(name) ? {} : { servername: name }),
    });
    const end = (trouble?: TlsTrouble) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(trouble);
    };
    const timer = setTimeout(end, PROBE_MS);
    // The first frame of HTTP/2 comes from a server that is content.
    socket.once("data", () => end());
    socket.once("error", (error) => end(tlsTrouble(error, tls)));
    socket.once("end", () => socket.authorized && end(tlsTrouble(BROKEN_OFF, tls)));
  });
}

const BROKEN_OFF = Object.assign(new Error("closed"), { code: "ECONNRESET" });

/**
 * @param error of a connection that did not come about
 * @returns undefined when it was not TLS that failed
 */
export function tlsTrouble(error: Error & { code?: string }, tls: ClientTls = {}): TlsTrouble | undefined {
  const { code = "", message } = error;
  const found = message.split(";", 1)[0];
  const certain = (cause: string) => ({ cause, certain: true });
  if (UNTRUSTED.test(code))
    return certain(
      `its certificate is not trusted (${found}): set tls.ca in the platform's access to the authority that signed it`,
    );
  if (code === "CERT_HAS_EXPIRED" || code === "CERT_NOT_YET_VALID")
    return certain(`its certificate is not valid now (${found}): renew the server's certificate`);
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID")
    return certain(`its certificate is another's (${message}): connect by a name that it has, or add this one`);
  if (code === "SERVER_OPT_NA" || /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG/.test(code)) return certain(NO_TLS);
  // What Node.js says when a server hangs up on the first message, as a plain etcd does.
  if (message.includes("before secure TLS connection")) return { cause: NO_TLS, certain: false };
  const refused = /ALERT/.test(code);
  if (!refused && code !== "ECONNRESET") return undefined;
  const cause = refusal(refused ? (/alert ([a-z ]+)/.exec(message)?.[1] ?? code) : undefined, tls);
  return cause === undefined ? undefined : { cause, certain: refused };
}

/**
 * Of a server that ends the connection after the handshake, by which a client without a certificate can tell.
 * @param said its reason, if it gave one
 */
function refusal(said: string | undefined, { cert }: ClientTls): string | undefined {
  if (!cert) return "it requires a client certificate: set tls.cert and tls.key in the platform's access";
  const { validToDate, validFromDate } = new X509Certificate(cert);
  const now = new Date();
  if (validToDate < now || validFromDate > now) {
    const period = `${validFromDate.toISOString()} to ${validToDate.toISOString()}`;
    return `it refused the client certificate, which is valid from ${period}: renew tls.cert in the platform's access`;
  }
  return said && `it refused the client certificate (${said}): correct tls.cert in the platform's access`;
}

/** Without the brackets of an IPv6 address. */
const bare = (hostname: string) => hostname.replace(/^\[|\]$/g, "");
