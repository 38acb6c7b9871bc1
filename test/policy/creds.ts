/** Credentials that open nothing, in the forms that policies look for; put together here, so that no scanner finds one. */
const encoded = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A user's JWT of an account, as nsc writes it into a creds file. */
export function natsCreds(account: string, user = "worker", signer?: string): string {
  const nats = { type: "user", version: 2, ...(signer && { issuer_account: account }) };
  const claims = { jti: "J", iat: 1, iss: signer ?? account, name: user, sub: `U${"C".repeat(55)}`, nats };
  const jwt = [encoded({ typ: "JWT", alg: "ed25519-nkey" }), encoded(claims), "c2lnbmF0dXJl"].join(".");
  return `-----BEGIN NATS USER JWT-----\n${jwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${SEED}\n------END USER NKEY SEED------\n`;
}

export const SEED = `SU${"AB3D".repeat(14)}`;
export const PASSWORD = "hunter2-correct-horse";
export const URL_WITH_PASSWORD = `http://root:${PASSWORD}@etcd.platform.svc:2379`;
export const JWT = [encoded({ alg: "HS256", typ: "JWT" }), encoded({ sub: "1234567890" }), "c2lnbmF0dXJlcw"].join(".");
export const PRIVATE_KEY = `-----BEGIN ${"PRIVATE"} KEY-----\nMC4CAQAwBQYDK2VwBCIEIB\n-----END ${"PRIVATE"} KEY-----\n`;
export const HF_TOKEN = `hf_${"aB3dE6gH".repeat(5)}`;
