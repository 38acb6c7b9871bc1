/**
 * NATS identities: keys and the JWTs that make them an operator, an account or a user.
 *
 * `@nats-io/jwt` calls itself "not a supported API": it encodes and does not validate, and a limit that is left out
 * means zero (nothing allowed). So this module alone imports it, states every limit, and golden claims pin its output.
 */
import {
  type Account,
  Algorithms,
  decode,
  encodeAccount as encodeAccountJwt,
  encodeGeneric,
  encodeOperator as encodeOperatorJwt,
  encodeUser,
  fmtCreds,
  type OperatorLimits,
} from "@nats-io/jwt";
import { createAccount, createOperator, createUser, fromPublic, fromSeed } from "@nats-io/nkeys";

/** An nkey pair: the public key is a name and may be shown, the seed is the secret. */
export interface Nkey {
  publicKey: string;
  seed: string;
}

const unlimited = -1;
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const keyPair = (seed: string) => fromSeed(new TextEncoder().encode(seed));
const seconds = (date: Date) => Math.floor(date.getTime() / 1000);

/** Makes a new key pair of the given kind. */
export function generateNkey(kind: "operator" | "account" | "user"): Nkey {
  const pair = { operator: createOperator, account: createAccount, user: createUser }[kind]();
  return { publicKey: pair.getPublicKey(), seed: text(pair.getSeed()) };
}

/** The public key that belongs to a seed. */
export const publicKeyOf = (seed: string): string => keyPair(seed).getPublicKey();

/** The operator's own JWT, which a server reads at start. */
export function encodeOperator(options: { name: string; seed: string; systemAccount: string }): Promise<string> {
  return encodeOperatorJwt(
    options.name,
    keyPair(options.seed),
    { system_account: options.systemAccount },
    { algorithm: Algorithms.v2 },
  );
}

/** JetStream's share of an account; bytes. Zero everywhere means that the account has no JetStream. */
export interface JetStreamShare {
  /** @default -1, unlimited */
  memoryBytes?: number;
  /** @default -1, unlimited */
  diskBytes?: number;
  /** @default -1, unlimited */
  streams?: number;
  /** @default -1, unlimited */
  consumers?: number;
}

export interface AccountClaim {
  name: string;
  publicKey: string;
  /** The operator's seed, or one of its signing keys'. */
  operatorSeed: string;
  /** `false` for an account without JetStream (the system account must have none). */
  jetStream: JetStreamShare | false;
  /** Clients that may be connected at once; -1 is unlimited, 0 refuses everybody. @default -1 */
  connections?: number;
  /** Public keys whose users are let in as the account's own are. @default none */
  signingKeys?: string[];
  /** Every user JWT issued before this moment, or in its second, is refused and its connection closed. */
  revokedBefore?: Date;
  /** From here on the server refuses everybody of this account. */
  expires?: Date;
}

/** Every limit of an account, stated: one that a JWT leaves out means zero. */
export function accountLimits(share: JetStreamShare | false, connections = unlimited): OperatorLimits {
  return {
    subs: unlimited,
    data: unlimited,
    payload: unlimited,
    imports: unlimited,
    exports: unlimited,
    wildcards: true,
    conn: connections,
    leaf: connections,
    mem_storage: share ? (share.memoryBytes ?? unlimited) : 0,
    disk_storage: share ? (share.diskBytes ?? unlimited) : 0,
    streams: share ? (share.streams ?? unlimited) : 0,
    consumer: share ? (share.consumers ?? unlimited) : 0,
  };
}

/** An account's JWT. */
export function encodeAccount(claim: AccountClaim): Promise<string> {
  const limits = accountLimits(claim.jetStream, claim.connections);
  const account: Partial<Account> = { limits };
  if (claim.signingKeys?.length) account.signing_keys = claim.signingKeys;
  if (claim.revokedBefore) account.revocations = { "*": seconds(claim.revokedBefore) };
  return encodeAccountJwt(claim.name, fromPublic(claim.publicKey), account, {
    algorithm: Algorithms.v2,
    signer: keyPair(claim.operatorSeed),
    ...(claim.expires && { exp: seconds(claim.expires) }),
  });
}

/** What a server keeps of an account, as far as drift can show in it. */
export interface AccountView {
  name: string;
  publicKey: string;
  /** The operator key that signed it. */
  issuer: string;
  limits: Record<string, unknown>;
  revocations: Record<string, number>;
  imports: number;
  exports: number;
  /** Public keys of its signing keys; one that is scoped shows with its scope. */
  signingKeys: string[];
  /** Names of all other claims that are set, an expiry or default permissions for example. */
  others: string[];
}

/** Claims that every account has, or that a view shows. */
const SHOWN = ["type", "version", "limits", "revocations", "imports", "exports", "signing_keys"];

/** Reads an account JWT; the signature is the server's business. */
export function decodeAccount(jwt: string): AccountView {
  const claims = decode<Account>(jwt);
  return {
    name: claims.name,
    publicKey: claims.sub,
    issuer: claims.iss,
    limits: { ...claims.nats.limits },
    revocations: { ...claims.nats.revocations },
    imports: claims.nats.imports?.length ?? 0,
    exports: claims.nats.exports?.length ?? 0,
    signingKeys: (claims.nats.signing_keys ?? []).map((key) => (typeof key === "string" ? key : JSON.stringify(key))),
    others: [
      ...Object.keys(claims.nats).filter((name) => !SHOWN.includes(name)),
      ...(claims.exp ? ["exp"] : []),
    ].sort(),
  };
}

export interface UserClaim {
  name: string;
  /** The seed of the account, or of one of its signing keys: a secret. */
  accountSeed: string;
  /** The account's public key. @default that of `accountSeed` */
  account?: string;
  /** From here on the server refuses the user, and closes its connections. @default never */
  expires?: Date;
}

/** A new user of an account, as the text of a credentials file (JWT and seed: a secret). */
export async function userCreds({ name, accountSeed, account, expires }: UserClaim): Promise<string> {
  const user = createUser();
  const signer = keyPair(accountSeed);
  const foreign = account !== undefined && account !== signer.getPublicKey();
  const jwt = await encodeUser(
    name,
    user,
    foreign ? fromPublic(account) : signer,
    { subs: unlimited, data: unlimited, payload: unlimited },
    { algorithm: Algorithms.v2, ...(foreign && { signer }), ...(expires && { exp: seconds(expires) }) },
  );
  return text(fmtCreds(jwt, user));
}

/** The claim that asks a resolver with `allow_delete` to delete accounts. */
export function encodeDeletion(options: { operatorSeed: string; accounts: string[] }): Promise<string> {
  const operator = keyPair(options.operatorSeed);
  return encodeGeneric(
    "delete",
    operator,
    "generic",
    { accounts: options.accounts },
    { algorithm: Algorithms.v2, signer: operator },
  );
}
