/**
 * Releasing a tenant: fence, purge, verify, and only then give the claim up. Each step can be run again, and is, until
 * one pass has seen everything gone: "the fence was recorded" is not "the fence holds", for a late call can undo it.
 */
import { VisibleError } from "../plan/visible-error.ts";
import { StoreError } from "../stores/errors.ts";
import { type Compare, type Operation, op, when } from "../stores/etcd-txn.ts";
import type { Stores } from "./access.ts";
import { dropAccount, fence } from "./account.ts";
import { dropGlobalKeys, globalKeysAreGone, prefixesOf } from "./dynamo.ts";
import { bury } from "./graves.ts";
import type { Hold } from "./hold.ts";
import { type TenantRef, withFormerClaim } from "./live-claim.ts";
import { withdrawAll } from "./models.ts";
import { dropNamespace, requireNothingOutlives } from "./namespace.ts";
import { dropUsers, usersOf } from "./prefix.ts";
import { purge } from "./purge.ts";
import { fileReceipt, type Receipt } from "./receipt.ts";
import { type Claim, type HeldClaim, keys } from "./registry.ts";
import { burn } from "./slots.ts";
import { removeTopology } from "./topology-record.ts";

/** How long it is known that a generation was released, seconds: the run may be killed before Pulumi notes it. The ledger takes the note with it. */
const RELEASED_TTL = 7 * 24 * 3600;

/** How often one pass may find something back before it is an error: more than a single late call can explain. */
const MAX_PASSES = 5;

/**
 * Releases a tenant. A claim that is gone, or is another generation's or a later attempt's, has been released already.
 * @returns undefined when there was nothing to do
 */
export async function release(stores: Stores, tenant: TenantRef & { attempt: number }): Promise<Receipt | undefined> {
  const sameAttempt = ({ attempt }: Claim) => attempt === tenant.attempt;
  return withFormerClaim(stores, tenant, sameAttempt, (hold, seen) => releaseHeld(stores, hold, seen));
}

/** Releases the tenant that is held; ends with its claim gone. */
export async function releaseHeld(stores: Stores, hold: Hold, seen: HeldClaim): Promise<Receipt> {
  const begun = Date.now();
  await withdrawAll(stores, hold, seen);
  const opened = await hold.open(seen, { state: "releasing" });
  const { logicalName, claim } = opened;
  const receipt: Receipt = {
    logicalName,
    generation: claim.generation,
    removed: { keys: 0, leases: 0, users: 0, accounts: 0, streams: 0, messages: 0, namespaces: 0, ...claim.removed },
    residue: 0,
    revisions: { from: opened.modRevision, to: opened.modRevision },
    durationMs: 0,
    notes: [],
  };
  const revision = await hold.carryOut(
    opened,
    () => ({ removed: receipt.removed }),
    () => new Release(stores, hold, opened, receipt).run(),
  );
  receipt.revisions.to = revision;
  receipt.durationMs = Date.now() - begun;
  fileReceipt(receipt);
  return receipt;
}

/** One release of one claim, and what it has removed so far. */
class Release {
  readonly #stores: Stores;
  readonly #hold: Hold;
  readonly #opened: HeldClaim;
  readonly #claim: Claim;
  readonly #receipt: Receipt;

  constructor(stores: Stores, hold: Hold, opened: HeldClaim, receipt: Receipt) {
    this.#stores = stores;
    this.#hold = hold;
    this.#opened = opened;
    this.#claim = opened.claim;
    this.#receipt = receipt;
  }

  /** @returns the revision at which the claim went */
  async run(): Promise<string> {
    await this.#dropNamespace();
    for (let pass = 1; pass <= MAX_PASSES; pass++) {
      const fencedAt = await this.#fence();
      const late = await this.#purge(fencedAt);
      await this.#dropAccounts();
      if (late > 0) continue;
      const revision = (await this.#isClean()) ? await this.#giveUp() : undefined;
      if (revision !== undefined) return revision;
    }
    throw new VisibleError(
      `tenant '${this.#opened.logicalName}': something writes to it again after each of ${MAX_PASSES} fences: ` +
        "stop what runs with the admin's credentials, or with none of ours, then run again",
    );
  }

  /** A call of this release: made right after a look at the lock. */
  readonly #call = (act: () => Promise<void>): Promise<void> => this.#hold.call(act);

  /** Pods first, so that nothing of the tenant's runs into the fence. A cluster that is gone stops nothing. */
  async #dropNamespace(): Promise<void> {
    const { generation, intents } = this.#claim;
    await this.#inCluster(async () => {
      const dropped = await dropNamespace(this.#stores, intents.namespace, generation, this.#call);
      if (dropped) this.#receipt.removed.namespaces++;
    });
  }

  async #inCluster(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof StoreError && error.unreachable)) throw error;
      const note = `namespace '${this.#claim.intents.namespace}' was not looked at: ${error.message}`;
      if (!this.#receipt.notes.includes(note)) this.#receipt.notes.push(note);
    }
  }

  /**
   * The users go and their role, which nobody else has, stays for the next batch of slots to drop: each change of a user
   * or role fails requests of everybody.
   * @returns the revision after which no write of the tenant can land
   */
  async #fence(): Promise<string> {
    const { intents, accounts } = this.#claim;
    this.#receipt.removed.users += await dropUsers(this.#stores, intents.username, this.#call);
    const fencedAt = await this.#stores.etcd.revision();
    for (const account of accounts) await fence(this.#stores, account, this.#call);
    return fencedAt;
  }

  /** @returns how many keys were written since the fence */
  async #purge(fencedAt: string): Promise<number> {
    const { etcd } = this.#stores;
    const { intents, dynamo } = this.#claim;
    const { removed, notes } = this.#receipt;
    // First: such a key may be held by the lease of the namespace's own, which would be kept for it.
    removed.keys += await dropGlobalKeys(etcd, dynamo, (compare, names) => this.#remove(compare, names.map(op.remove)));
    const { kept, late } = await purge(this.#stores, [intents.prefix, ...prefixesOf(dynamo)], {
      removed,
      fencedAt,
      call: this.#call,
      remove: (operation) => this.#remove([], [operation]),
      progress: (line) => this.#stores.progress(`purging ${this.#opened.logicalName}: ${line}`),
    });
    for (const { lease, holds } of kept) {
      const note = `lease ${lease} was kept, for it also holds ${holds}`;
      if (!notes.includes(note)) notes.push(note);
    }
    return late;
  }

  /** @returns how many keys went: none when the conditions do not hold */
  async #remove(compare: Compare[], operations: Operation[]): Promise<number> {
    const { logicalName, modRevision } = this.#opened;
    const key = keys.claim(logicalName);
    const outcome = await this.#hold.txn([when.unchanged(key, modRevision), ...compare], operations, [op.get(key)]);
    if (!outcome.succeeded && outcome.read[0]?.[0]?.modRevision !== modRevision)
      throw new VisibleError(`tenant '${logicalName}': its claim was rewritten during the purge by hand: run again`);
    return outcome.removed;
  }

  async #dropAccounts(): Promise<void> {
    for (const account of this.#claim.accounts) {
      const dropped = await dropAccount(this.#stores, account, this.#call);
      if (!dropped) continue;
      this.#receipt.removed.accounts++;
      this.#receipt.removed.streams += dropped.streams;
      this.#receipt.removed.messages += dropped.messages;
    }
  }

  /** The last look: user, accounts, streams, global keys, volumes gone. */
  async #isClean(): Promise<boolean> {
    const { etcd } = this.#stores;
    const { accounts, dynamo, generation, intents } = this.#claim;
    if ((await usersOf(this.#stores, intents.username)).length > 0) return false;
    if (!(await globalKeysAreGone(etcd, dynamo))) return false;
    if (accounts.length > 0) {
      const nats = await this.#stores.nats();
      for (const account of accounts) {
        if ((await nats.lookup(account)) || (await nats.streams(account)).length > 0) return false;
      }
    }
    await this.#inCluster(() => requireNothingOutlives(this.#stores, intents.namespace, generation));
    return true;
  }

  /** Removes the claim in a transaction that sees its prefixes empty; undefined when they are not. */
  async #giveUp(): Promise<string | undefined> {
    const { etcd } = this.#stores;
    const { logicalName, modRevision } = this.#opened;
    const { owner, generation, intents, dynamo, accounts, suspect } = this.#claim;
    const key = keys.claim(logicalName);
    const hasRole = (await etcd.permissionsOf(intents.username)) !== undefined;
    const left = suspect ? [bury(generation, { logicalName, accounts, ...intents })] : [];
    if (hasRole) left.push(burn(generation, intents.username));
    const lease = await etcd.grantLease(RELEASED_TTL);
    const { succeeded, revision } = await this.#hold.txn(
      [when.unchanged(key, modRevision), ...[intents.prefix, ...prefixesOf(dynamo)].map(when.noneBelow)],
      [
        op.remove(key),
        op.remove(keys.generation(generation)),
        removeTopology(generation),
        ...dynamo.map((namespace) => op.remove(keys.dynamo(namespace))),
        op.put(keys.releasedGeneration(owner, generation), logicalName, lease),
        ...left,
      ],
    );
    if (!succeeded) await etcd.revokeLease(lease);
    return succeeded ? revision : undefined;
  }
}
