/** Sealing what the registry must keep for a while and nobody may read: backups and snapshots of etcd are read by many. */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import type { Stores } from "./access.ts";

const CIPHER = "aes-256-gcm";
const [NONCE, TAG] = [12, 16];

/** From the operator's seed: whoever has it may make accounts for everybody, so it adds no secret to look after. */
const keyOf = ({ access }: Stores) =>
  Buffer.from(hkdfSync("sha256", access.nats.operatorSeed, "ringfence", "slot passwords", 32));

/** @returns nonce, tag and ciphertext in one text */
export function seal(stores: Stores, secret: string): string {
  const nonce = randomBytes(NONCE);
  const cipher = createCipheriv(CIPHER, keyOf(stores), nonce);
  const body = Buffer.concat([cipher.update(secret, "utf8"), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), body]).toString("base64");
}

/** @returns undefined when it was sealed with another seed: the operator's was changed since */
export function unseal(stores: Stores, sealed: string): string | undefined {
  const raw = Buffer.from(sealed, "base64");
  const decipher = createDecipheriv(CIPHER, keyOf(stores), raw.subarray(0, NONCE), { authTagLength: TAG });
  decipher.setAuthTag(raw.subarray(NONCE, NONCE + TAG));
  try {
    return Buffer.concat([decipher.update(raw.subarray(NONCE + TAG)), decipher.final()]).toString("utf8");
  } catch {
    return undefined;
  }
}
