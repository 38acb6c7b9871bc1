/** A certificate authority of a benchmark's own, by the openssl command. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** Files in PEM. */
export interface Certificates {
  ca: string;
  cert: string;
  key: string;
}

/**
 * Makes an authority, and a certificate for each name.
 * @param names their common names: etcd takes a client's for its user
 * @throws when there is no openssl
 */
export function makeCertificates<Name extends string>(
  directory: string,
  names: readonly Name[],
): Record<Name, Certificates> {
  const file = (name: string) => join(directory, name);
  const openssl = (...args: string[]) => execFileSync("openssl", args, { stdio: "pipe" });
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const [ca, caKey] = [file("ca.pem"), file("ca.key")];
  openssl("req", "-x509", ...newKey, "-keyout", caKey, "-out", ca, "-days", "1", "-subj", "/CN=benchmark");
  writeFileSync(file("extensions"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n");
  const made = names.map((name) => {
    const [request, cert, key] = [file(`${name}.csr`), file(`${name}.pem`), file(`${name}.key`)];
    openssl("req", ...newKey, "-keyout", key, "-out", request, "-subj", `/CN=${name}`);
    const signer = ["-CA", ca, "-CAkey", caKey, "-CAcreateserial", "-days", "1", "-extfile", file("extensions")];
    openssl("x509", "-req", "-in", request, "-out", cert, ...signer);
    return [name, { ca, cert, key }];
  });
  return Object.fromEntries(made);
}
