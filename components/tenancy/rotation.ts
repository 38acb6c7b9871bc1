/**
 * The end of a rotation: the credentials that were handed out before the present ones stop working, once no pod has them
 * any more. Its beginning is `openPrefix` and `openAccount` with `rotate`.
 */
import { CREDENTIALS_ANNOTATION } from "../plan/labels.ts";
import { VisibleError } from "../plan/visible-error.ts";
import { StoreError, until } from "../stores/errors.ts";
import type { JetStreamShare } from "../stores/nats-jwt.ts";
import type { Stores } from "./access.ts";
import { accountJwt, expectedAccount, observeAccount, pushAndReadBack } from "./account.ts";
import { type TenantRef, withClaim } from "./live-claim.ts";
import { dropUsers, usersOf } from "./prefix.ts";

/** How long pods with earlier credentials may take to go, milliseconds: as long as pulumi-kubernetes waits for a Deployment. */
const PODS_DEADLINE_MS = 600_000;

const POLL_MS = 1_000;

/** The credentials of a tenant that stay. */
export interface Present {
  /** etcd user. */
  username: string;
  /** NATS account and the key that signs its users, as public keys. */
  account: string;
  signingKey: string;
  /** The account's share, for its JWT is written anew. */
  jetStream: JetStreamShare;
  /** The Kubernetes namespace, and what its pods with these credentials are annotated with. */
  namespace: string;
  credentials: string;
}

/**
 * Deletes every etcd user of the tenant but the present one, and refuses every NATS user that was issued before it, once
 * no pod of the tenant has earlier credentials. Does nothing where there is nothing to retire.
 * @param deadlineMs for the pods
 * @throws StoreError that names the pods that are still there
 */
export async function retireCredentials(
  stores: Stores,
  tenant: TenantRef,
  present: Present,
  deadlineMs = PODS_DEADLINE_MS,
): Promise<void> {
  await podsHaveRolled(stores, present, deadlineMs);
  const nats = await stores.nats();
  const { username, account, signingKey, jetStream } = present;
  await withClaim(stores, tenant, async (hold, seen) => {
    const { claim } = seen;
    const { handedOut, intents, rotatedAt } = claim;
    if (handedOut.username !== username || handedOut.account !== account)
      throw new VisibleError(
        `tenant '${tenant.logicalName}': its credentials were made anew since: run 'pulumi up' again`,
      );
    const signers = signingKey === account ? [] : [signingKey];
    const wanted = { signers, revokedUntil: rotatedAt };
    const users = (await usersOf(stores, intents.username)).filter((name) => name !== username);
    const view = await observeAccount(stores, account, wanted);
    const nothing = JSON.stringify(view) === JSON.stringify(expectedAccount(jetStream)) && users.length === 0;
    if (nothing && String(claim.signers) === String(signers)) return;
    await hold.operation(seen, wanted, async (opened) => {
      await dropUsers(stores, intents.username, (act) => hold.call(act), username);
      const jwt = await accountJwt(stores, { ...tenant, account, jetStream }, opened.claim);
      await pushAndReadBack(hold, nats, account, jwt);
      return { result: undefined, closing: {} };
    });
  });
}

/** Waits until no pod has earlier credentials, those that are ending included. */
async function podsHaveRolled(stores: Stores, { namespace, credentials }: Present, deadlineMs: number): Promise<void> {
  const kubernetes = await stores.kubernetes();
  const earlier = async () =>
    (await kubernetes.pods(namespace)).filter(({ metadata: { annotations } }) => {
      const had = annotations?.[CREDENTIALS_ANNOTATION];
      return had !== undefined && had !== credentials;
    });
  await until(async () => ((await earlier()).length === 0 ? true : undefined), {
    deadlineMs,
    everyMs: POLL_MS,
    late: async () => {
      const names = (await earlier()).map(({ metadata: { name } }) => name).join(", ");
      return new StoreError(
        `${kubernetes.label}: in namespace '${namespace}', pods still have the credentials from before the rotation after ${deadlineMs / 1000} s: ${names}. Those credentials stay good: let the pods end, then run again`,
      );
    },
  });
}
