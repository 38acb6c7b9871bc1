/**
 * A tenant's part of NATS: one account, and one user in it for each vertex. Users are signed with a key of the account's
 * that can be exchanged; the account's own seed signs nothing of ours, and is kept for who needs further users.
 */

import { StoreError, until } from "../stores/errors.ts";
import { Nats } from "../stores/nats.ts";
import {
  accountLimits,
  decodeAccount,
  encodeAccount,
  encodeDeletion,
  generateNkey,
  type JetStreamShare,
  publicKeyOf,
  userCreds,
} from "../stores/nats-jwt.ts";
import type { Stores } from "./access.ts";
import type { Caller, Hold } from "./hold.ts";
import { isLive, type TenantRef, withClaim, withFormerClaim } from "./live-claim.ts";
import type { Claim } from "./registry.ts";
import { seal } from "./seal.ts";

/**
 * While an account is being created its JWT expires by itself, seconds: a push that arrives late, after the fence,
 * makes an account that soon refuses everybody. Graves outlive it.
 */
export const CREATING_TTL = 60;

/** How long open connections have to close once their account is fenced, milliseconds. */
const DISCONNECT_DEADLINE_MS = 15_000;

/** How long the asynchronous purge of an account's streams may take, milliseconds. */
const PURGE_DEADLINE_MS = 30_000;

/** Accounts looked up at once when all are gone through. */
const LOOKUPS_ABREAST = 50;

export interface AccountRequest {
  /** Names of the users, one credentials text each. */
  users: string[];
  jetStream: JetStreamShare;
  /** What an earlier request gave: its account and its users are kept, unless they were fenced. */
  existing?: { seed: string; signingSeed?: string; creds: Record<string, string> };
  /** Make another signing key and other users; the earlier ones are good until they are retired. @default false */
  rotate?: boolean;
}

/** What NATS has for a tenant; drift shows here. */
export interface AccountView {
  limits: Record<string, unknown>;
  revocations: number;
  imports: number;
  exports: number;
  /** Names of claims that are never set here, or are not ours. */
  others: string[];
}

export interface OpenAccount extends AccountView {
  /** The account's public key. */
  account: string;
  /** Secret: signs further users, and is never exchanged. */
  seed: string;
  /** The public key that signs the users; the account's own for what version 0.1.0 made, until the first rotation. */
  signingKey: string;
  /** Secret: signs further users until the next rotation. */
  signingSeed: string;
  /** Secret: user → text of its credentials file. */
  creds: Record<string, string>;
}

const accountName = ({ logicalName, generation }: TenantRef) => `ringfence:${logicalName}:${generation}`;

/** Reads back the tenant that an account's name tells of; undefined for an account that is not ours. */
function tenantOfAccount(name: string): { logicalName: string; generation: string } | undefined {
  const [, logicalName, generation] = /^ringfence:([^:]+):([0-9a-f]+)$/.exec(name) ?? [];
  return logicalName && generation ? { logicalName, generation } : undefined;
}

/** Every account that was made for a tenant, claimed or not. */
export async function ourAccounts(
  stores: Stores,
): Promise<Array<{ account: string; tenant: { logicalName: string; generation: string } }>> {
  const nats = await stores.nats();
  const accounts = await nats.accounts();
  const ours: Array<{ account: string; tenant: { logicalName: string; generation: string } }> = [];
  for (let from = 0; from < accounts.length; from += LOOKUPS_ABREAST) {
    const some = accounts.slice(from, from + LOOKUPS_ABREAST);
    const jwts = await Promise.all(some.map((account) => nats.lookup(account)));
    jwts.forEach((jwt, i) => {
      const tenant = jwt && tenantOfAccount(decodeAccount(jwt).name);
      if (tenant) ours.push({ account: some[i] as string, tenant });
    });
  }
  return ours;
}

/** Makes the account, or makes it right again. One that a fence was begun on is closed, and another one made. */
export async function openAccount(stores: Stores, tenant: TenantRef, request: AccountRequest): Promise<OpenAccount> {
  const nats = await stores.nats();
  const { existing, users, jetStream } = request;
  return withClaim(stores, tenant, (hold, seen) => {
    const { seed, account, signer, isNew, rotated, opening } = keysFor(seen.claim, request);
    return hold.operation(seen, { ...opening, signerSeed: seal(stores, signer) }, async ({ claim }) => {
      if (existing && isNew) await fenceOthers(stores, hold, claim);
      const jwt = (expires?: Date) => accountJwt(stores, { ...tenant, account, jetStream }, claim, expires);
      // One that was deleted comes back by a JWT that differs from its last one, and two of one second do not differ.
      if (!(await nats.lookup(account)))
        await pushAndReadBack(hold, nats, account, await jwt(new Date(Date.now() + CREATING_TTL * 1000)));
      await pushAndReadBack(hold, nats, account, await jwt());

      // What is issued in that second goes with the earlier ones.
      await until(async () => seconds() > (claim.rotatedAt ?? 0) || undefined, SECOND);
      const creds: Record<string, string> = {};
      for (const name of users) {
        const kept = isNew || rotated ? undefined : existing?.creds[name];
        creds[name] = kept ?? (await userCreds({ name, account, accountSeed: signer }));
      }
      await requireJetStream(stores, account, signer);
      const view = await observeAccount(stores, account, claim);
      if (!view) throw new StoreError(`${nats.label} lost account ${account} right after it was pushed: run again`);
      const made = { ...claim.made, nats: true };
      return {
        result: { account, seed, signingKey: publicKeyOf(signer), signingSeed: signer, creds, ...view },
        closing: { made, state: made.etcd ? "active" : "creating" },
      };
    });
  });
}

const seconds = () => Math.floor(Date.now() / 1000);

/** How long the next second is waited for. */
const SECOND = { deadlineMs: 2_000, late: () => new Error("the clock stands still, or was set back: run again") };

/** What an account is opened with, and what the claim names before that. */
function keysFor(claim: Claim, { existing, rotate = false }: AccountRequest) {
  const { handedOut, accounts, signers } = claim;
  const isNew = !existing || publicKeyOf(existing.seed) !== handedOut.account;
  const { seed } = isNew ? generateNkey("account") : existing;
  const account = publicKeyOf(seed);
  const last = isNew ? undefined : (existing.signingSeed ?? seed);
  const rotated = !isNew && (rotate || isRetired(claim, account, publicKeyOf(last ?? seed)));
  const signer = last === undefined || rotated ? generateNkey("account").seed : last;
  // The account's own key needs no mention.
  const mentioned = [...(isNew ? [] : signers), publicKeyOf(signer)].filter((key) => key !== account);
  const opening: Partial<Claim> = {
    accounts: [...new Set([...accounts, account])],
    handedOut: { ...handedOut, account },
    signers: [...new Set(mentioned)],
    ...(isNew && { rotatedAt: undefined, revokedUntil: undefined }),
    ...(rotated && { rotatedAt: seconds() }),
  };
  return { seed, account, signer, isNew, rotated, opening };
}

/** Whether what a key has signed is refused: Pulumi's state is from before a rotation. */
const isRetired = ({ signers, revokedUntil }: Claim, account: string, key: string): boolean =>
  key === account ? revokedUntil !== undefined : !signers.includes(key);

/** Closes what a fence was begun on, and maybe not ended. */
async function fenceOthers(stores: Stores, hold: Hold, { accounts, handedOut }: Claim): Promise<void> {
  for (const other of accounts.filter((each) => each !== handedOut.account))
    await fence(stores, other, (act) => hold.call(act));
}

/** As the claim says that the account is to be. */
export function accountJwt(
  stores: Stores,
  { account, jetStream, ...tenant }: TenantRef & { account: string; jetStream: JetStreamShare },
  { signers, revokedUntil }: Claim,
  expires?: Date,
): Promise<string> {
  return encodeAccount({
    name: accountName(tenant),
    publicKey: account,
    operatorSeed: stores.access.nats.operatorSeed,
    jetStream,
    signingKeys: signers,
    ...(revokedUntil && { revokedBefore: new Date(revokedUntil * 1000) }),
    ...(expires && { expires }),
  });
}

/** With a user that nobody keeps. */
async function requireJetStream(stores: Stores, account: string, accountSeed: string): Promise<void> {
  const creds = await userCreds({ name: "probe", account, accountSeed });
  await Nats.requireJetStream(stores.natsAs(creds));
}

export async function pushAndReadBack(hold: Hold, nats: Nats, publicKey: string, jwt: string): Promise<void> {
  await hold.call(() => nats.push(jwt));
  if ((await nats.lookup(publicKey)) !== jwt) {
    throw new StoreError(`${nats.label} has another JWT for account ${publicKey} than the one just pushed: run again`);
  }
}

/** What `observeAccount` shows when nothing has drifted. */
export const expectedAccount = (jetStream: JetStreamShare): AccountView => ({
  limits: accountLimits(jetStream),
  revocations: 0,
  imports: 0,
  exports: 0,
  others: [],
});

/**
 * What NATS has now, without the signing keys and the revocation that the claim names.
 * @param claim none when the registry has none: nothing is left out then
 * @returns undefined when the account is not there
 */
export async function observeAccount(
  stores: Stores,
  account: string,
  claim: Pick<Claim, "signers" | "revokedUntil"> = { signers: [] },
): Promise<AccountView | undefined> {
  const jwt = await (await stores.nats()).lookup(account);
  if (!jwt) return undefined;
  const { issuer, limits, revocations, imports, exports, signingKeys, others } = decodeAccount(jwt);
  // The resolver takes an account that any operator signed, and its users are refused.
  if (issuer !== publicKeyOf(stores.access.nats.operatorSeed)) others.push("iss");
  if (String(signingKeys.sort()) !== String([...claim.signers].sort())) others.push("signing_keys");
  if (revocations["*"] !== claim.revokedUntil) others.push("revocations");
  const foreign = Object.keys(revocations).filter((user) => user !== "*" || claim.revokedUntil === undefined);
  return { limits, revocations: foreign.length, imports, exports, others };
}

/** Closes an account to everybody and waits until nobody is connected; one that is not there is closed already. */
export async function fence(stores: Stores, account: string, call: Caller): Promise<void> {
  const nats = await stores.nats();
  const current = await nats.lookup(account);
  if (!current) return;
  const { name } = decodeAccount(current);
  const jwt = await encodeAccount({
    name,
    publicKey: account,
    operatorSeed: stores.access.nats.operatorSeed,
    jetStream: {},
    connections: 0,
    // JWTs carry whole seconds: one issued within this second is meant as well.
    revokedBefore: new Date(Date.now() + 1000),
  });
  await call(() => nats.push(jwt));
  await until(async () => ((await nats.connections(account)).length === 0 ? true : undefined), {
    deadlineMs: DISCONNECT_DEADLINE_MS,
    late: async () =>
      new StoreError(
        `${nats.label}: account ${account} is fenced, and still connected are ${(await nats.connections(account)).join(", ")}: stop them, then run again`,
      ),
  });
}

/**
 * Removes an account with all its data, and reads back that the data is gone before the account goes: without its
 * account, JetStream would try to recover it (nats-server#3186).
 * @returns undefined when there was no such account
 */
export async function dropAccount(
  stores: Stores,
  account: string,
  call: Caller,
): Promise<{ streams: number; messages: number } | undefined> {
  const nats = await stores.nats();
  if (!(await nats.lookup(account))) return undefined;
  const streams = await nats.streams(account);
  await call(() => nats.purge(account));
  await until(async () => ((await nats.streams(account)).length === 0 ? true : undefined), {
    deadlineMs: PURGE_DEADLINE_MS,
    late: async () => {
      const left = (await nats.streams(account)).map(({ name }) => name).join(", ");
      return new StoreError(
        `${nats.label}: account ${account} still has the streams ${left} ${PURGE_DEADLINE_MS / 1000} s after the purge: check JetStream's health, then run again`,
      );
    },
  });
  await call(async () =>
    nats.deleteAccounts(await encodeDeletion({ operatorSeed: stores.access.nats.operatorSeed, accounts: [account] })),
  );
  return { streams: streams.length, messages: streams.reduce((sum, { messages }) => sum + messages, 0) };
}

/** Fences the tenant's account; its data goes with the claim's release. */
export async function fenceAccount(stores: Stores, tenant: TenantRef, account: string): Promise<void> {
  await withFormerClaim(stores, tenant, isLive, (hold, seen) => {
    const { made, handedOut } = seen.claim;
    const opening = {
      state: "creating",
      made: { ...made, nats: false },
      handedOut: { ...handedOut, account: undefined },
      signerSeed: undefined,
    } as const;
    return hold.operation(seen, opening, async () => {
      await fence(stores, account, (act) => hold.call(act));
      return { result: undefined, closing: {} };
    });
  });
}
