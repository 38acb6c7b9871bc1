/**
 * What the admin needs to act inside a tenant: to ask its processes for their figures, to send a request, to look into
 * its streams. Nothing of it is kept: a NATS user is made for the occasion, and ends by itself.
 */
import { VisibleError } from "../plan/visible-error.ts";
import type { NatsAccess } from "../stores/nats.ts";
import { userCreds } from "../stores/nats-jwt.ts";
import type { Stores } from "./access.ts";
import { type HeldClaim, readClaim } from "./registry.ts";
import { unseal } from "./seal.ts";

/** How long a user made for the occasion is good for, seconds, if nothing else is said; asked for anew, it is another one. */
const USER_SECONDS = 900;

/** What a tenant's own software has of etcd. */
export interface EtcdInside {
  username: string;
  /** Secret. */
  password: string;
  prefix: string;
}

/**
 * The claim of a pipeline that is up.
 * @param logicalName `<realm>/<pipeline>`
 * @throws VisibleError when there is none, or none that can be acted in
 */
export async function requireInside({ etcd }: Stores, logicalName: string): Promise<HeldClaim> {
  const held = await readClaim(etcd, logicalName);
  if (held?.claim.state === "active") return held;
  const found = held ? `a claim that is ${held.claim.state}` : "no claim of it";
  throw new VisibleError(
    `tenant '${logicalName}': the registry has ${found}: see 'ringfence audit' for those there are, or run 'pulumi up'`,
  );
}

/**
 * How to reach NATS as a user of the tenant's account.
 * @param name of the user, shown in the server's lists of connections
 * @param seconds that the user is good for
 * @throws VisibleError when the claim does not say with which key users are signed
 */
export async function natsInside(
  stores: Stores,
  { logicalName, claim }: Pick<HeldClaim, "logicalName" | "claim">,
  name: string,
  seconds = USER_SECONDS,
): Promise<NatsAccess> {
  const { account } = claim.handedOut;
  const accountSeed = claim.signerSeed && unseal(stores, claim.signerSeed);
  if (!account || !accountSeed) throw unknown(logicalName, "a NATS account and its signing key", claim.signerSeed);
  const expires = new Date(Date.now() + seconds * 1000);
  return stores.natsAs(await userCreds({ name, account, accountSeed, expires }));
}

/** @throws VisibleError when the claim does not say the password */
export function etcdInside(stores: Stores, { logicalName, claim }: HeldClaim): EtcdInside {
  const { username } = claim.handedOut;
  const password = claim.password && unseal(stores, claim.password);
  if (!username || !password) throw unknown(logicalName, "an etcd user and its password", claim.password);
  return { username, password, prefix: claim.intents.prefix };
}

function unknown(logicalName: string, what: string, sealed: string | undefined): VisibleError {
  const found = sealed ? "sealed with another operator's seed" : "which an earlier version of Ringfence did not note";
  return new VisibleError(
    `tenant '${logicalName}': its claim should name ${what}, ${found}: give the pipeline another rotation and run 'pulumi up'`,
  );
}
