/** NATS credentials in Secrets and ConfigMaps: whose they are, never what they are. */
import type { KubernetesObject } from "./objects.ts";
import { at, entries, type Path, text } from "./value.ts";

export interface CredsUser {
  /** Public key of the account. */
  account: string;
  /** The user's name, for people. */
  user: string | undefined;
}

const JWT = /\beyJ[\w-]+\.(eyJ[\w-]+)\.[\w-]+/g;

/** The users whose JWTs an object holds, each once. */
export function credsIn({ body }: KubernetesObject): (CredsUser & { path: Path })[] {
  return ["data", "stringData"].flatMap((part) =>
    entries(at(body, part)).flatMap(([key, value]) => {
      const held = text(value) ?? "";
      const open = part === "data" && !held.includes("eyJ") ? Buffer.from(held, "base64").toString() : held;
      return [...open.matchAll(JWT)].flatMap(([, payload]) => {
        const user = userOf(payload as string);
        return user ? [{ ...user, path: [part, key] }] : [];
      });
    }),
  );
}

function userOf(payload: string): CredsUser | undefined {
  let claims: unknown;
  try {
    claims = JSON.parse(Buffer.from(payload, "base64url").toString());
  } catch {
    return undefined;
  }
  if (at(claims, "nats", "type") !== "user") return undefined;
  // Signed by a key of the account's, the JWT names the account beside it.
  const account = text(at(claims, "nats", "issuer_account")) ?? text(at(claims, "iss"));
  return account ? { account, user: text(at(claims, "name")) } : undefined;
}
