/**
 * Certificates by the openssl command: node:crypto reads X.509 and issues none. Debian's ca-certificates, without which
 * nothing here could download a tool, brings openssl along; EC keys make each certificate a matter of 20 ms.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Paths of a certificate and its private key, in PEM. */
export interface Certificate {
  cert: string;
  key: string;
}

/** `localhost` beside the address: gRPC for Node.js sends an address as TLS server name, which RFC 6066 forbids. */
const SETTINGS = `
[req]
distinguished_name = subject
[subject]
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
[leaf]
basicConstraints = critical,CA:FALSE
subjectAltName = DNS:localhost,IP:127.0.0.1
extendedKeyUsage = serverAuth,clientAuth
`;

/** An authority of its own, made now: `ca.pem` and `ca.key` in the directory. */
export function makeAuthority(directory: string): Certificate {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const { cert, key } = filesOf(directory, "ca");
  const made = ["-x509", "-extensions", "authority", "-days", String(DAYS), "-out", cert];
  withSettings(directory, (config) => openssl("req", ...newKey(config, key, "/CN=ringfence-dev"), ...made));
  return { cert, key };
}

/**
 * Makes `<name>.pem` and `<name>.key` beside the authority's: for a server on 127.0.0.1 and for a client alike.
 * @param subject as openssl writes it; etcd takes a client's CN for its user: `/CN=root`
 * @param days how long it is valid; a negative one has expired @default ten years
 * @throws when there is no openssl
 */
export function issue(directory: string, name: string, subject: string, days = DAYS): Certificate {
  const authority = filesOf(directory, "ca");
  const { cert, key } = filesOf(directory, name);
  const request = join(directory, `${name}.csr`);
  withSettings(directory, (config) => {
    openssl("req", ...newKey(config, key, subject), "-out", request);
    const signer = ["-CA", authority.cert, "-CAkey", authority.key, "-CAcreateserial", "-days", String(days)];
    openssl("x509", "-req", "-in", request, "-out", cert, ...signer, "-extfile", config, "-extensions", "leaf");
  });
  rmSync(request);
  return { cert, key };
}

export const filesOf = (directory: string, name: string): Certificate => ({
  cert: join(directory, `${name}.pem`),
  key: join(directory, `${name}.key`),
});

/** Longer than a simulated platform lives: there is nothing that would renew them. */
const DAYS = 3650;

const newKey = (config: string, key: string, subject: string) =>
  ["-config", config, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"].concat(
    ["-keyout", key],
    ["-subj", subject],
  );

function withSettings(directory: string, work: (config: string) => void): void {
  const config = join(directory, "openssl.cnf");
  writeFileSync(config, SETTINGS);
  work(config);
  rmSync(config);
}

function openssl(...args: string[]): void {
  try {
    execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
  } catch (error) {
    const { code, stderr } = error as NodeJS.ErrnoException & { stderr?: Buffer };
    if (code === "ENOENT")
      throw new Error("openssl is not on PATH; TLS needs it to make certificates: install openssl");
    throw new Error(`openssl ${args[0]}: ${String(stderr).trim().split("\n", 1)[0]}`);
  }
}
