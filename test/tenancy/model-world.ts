/** The real side of the model-based test: a realm of its own, what the stores have of it, and processes that act on it. */
import assert from "node:assert/strict";
import type { NatsConnection } from "nats";
import { REGISTRY_PREFIX } from "../../components/plan/names.ts";
import { until } from "../../components/stores/errors.ts";
import { Etcd } from "../../components/stores/etcd.ts";
import { op } from "../../components/stores/etcd-txn.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { fenceAccount, openAccount } from "../../components/tenancy/account.ts";
import { audit, type Finding } from "../../components/tenancy/audit.ts";
import { type ClaimRequest, claimTenant } from "../../components/tenancy/claim.ts";
import { createLedger } from "../../components/tenancy/ledger.ts";
import { fencePrefix, openPrefix } from "../../components/tenancy/prefix.ts";
import { type HeldClaim, keys, listClaims } from "../../components/tenancy/registry.ts";
import { release } from "../../components/tenancy/release.ts";
import { retireCredentials } from "../../components/tenancy/rotation.ts";
import { type Held, type Model, NAMES, type Name, type Note, type Stack } from "./model.ts";
import { access, jetStream, natsOf, newProcess, presentOf, recorded, type Tenant } from "./scene.ts";

/** How long a server may take to tell a client that it was shut out, milliseconds. */
const DEADLINE_MS = 60_000;

const LOCKS = `${REGISTRY_PREFIX}locks/`;
const STREAM = "WORK";

/** A tenant as its `up` gave it, and what it did since. */
export interface Worker {
  tenant: Tenant;
  messages: number;
  nats?: NatsConnection;
}

export class World {
  readonly stores: Stores;
  /** Every tenant that an `up` of this world gave, newest last. */
  readonly workers: Worker[] = [];
  /** What was seen before the last `up` or `down`. */
  looked: HeldClaim[] = [];
  /** A process of each ledger that was through with an `up`, and its epoch. */
  readonly earlier = new Map<string, { stores: Stores; epoch: string | undefined }>();
  readonly #realm: string;
  readonly #known: ReadonlySet<string>;
  readonly #processes: Stores[] = [];

  /** @param known what the audit may find already, as `<kind> <name>` */
  constructor(stores: Stores, realm: string, known: ReadonlySet<string>) {
    this.stores = stores;
    this.#realm = realm;
    this.#known = known;
  }

  readonly logicalName = (name: Name): string => `${this.#realm}/${name}`;

  readonly namespace = (name: Name): string => `${name.replaceAll("/", "-")}-${this.#realm}`;

  readonly nameOf = (logicalName: string): Name | undefined =>
    NAMES.find((name) => this.logicalName(name) === logicalName);

  process(): Stores {
    const process = newProcess();
    this.#processes.push(process);
    return process;
  }

  async close(): Promise<void> {
    for (const { nats } of this.workers) await nats?.close();
    for (const process of this.#processes) await process.close();
  }

  async newStack(): Promise<Stack> {
    const stack: Stack = { ledger: await createLedger(this.stores), state: "open", modRevision: undefined };
    stack.modRevision = await this.recordOf(stack.ledger);
    return stack;
  }

  /** The revision of a stack's record. */
  async recordOf(ledger: string): Promise<string | undefined> {
    return (await this.stores.etcd.get(keys.stack(ledger)))?.modRevision;
  }

  /** What `pulumi up` does for a tenant: parts that its state has are updated, with other credentials when it rotates them. */
  async up(
    stores: Stores,
    owner: string,
    name: Name,
    { rotate, ...how }: Pick<ClaimRequest, "onResidue" | "adopt"> & { rotate: boolean },
  ): Promise<Tenant> {
    const logicalName = this.logicalName(name);
    const names = { logicalName, dynamoNamespace: this.namespace(name) };
    const claimed = await claimTenant(stores, { owner, recorded: recorded(name), ...names, ...how });
    const ref = { owner, logicalName, generation: claimed.generation };
    const noted = this.workers.findLast(({ tenant }) => tenant.generation === ref.generation)?.tenant;
    const parts = [
      openPrefix(stores, ref, { ...(noted && { existing: noted.etcd, rotate }) }),
      openAccount(stores, ref, { users: ["worker"], jetStream, ...(noted && { existing: noted.nats, rotate }) }),
    ] as const;
    await Promise.allSettled(parts);
    const [etcd, nats] = await Promise.all(parts);
    const tenant = { ...ref, claimed, etcd, nats };
    if (noted && rotate) await retireCredentials(stores, ref, presentOf(tenant));
    return tenant;
  }

  /** What `pulumi destroy` does for a tenant that its state has. */
  async down(stores: Stores, { owner, name, generation, attempt, account }: Note, fences: boolean): Promise<void> {
    const ref = { owner, logicalName: this.logicalName(name), generation };
    if (fences) {
      const parts = [fencePrefix(stores, ref), fenceAccount(stores, ref, account)];
      await Promise.allSettled(parts);
      await Promise.all(parts);
    }
    await release(stores, { ...ref, attempt });
  }

  /** Dynamo's keys of a deployment without us: of the new and the old layout, and a global one that names it. */
  #dynamoKeys(name: Name): Record<string, string> {
    const namespace = this.namespace(name);
    const entry = { name: "m", endpoint: { namespace, component: "backend", name: "generate" } };
    return {
      [`v1/instances/${namespace}/backend/generate/1a`]: "{}",
      [`${namespace}/components/backend/generate:1a`]: "{}",
      [`public/components/http/models/chat/${namespace}-model`]: JSON.stringify(entry),
    };
  }

  /** @returns how many keys there are then */
  async deploy(name: Name): Promise<number> {
    const puts = Object.entries(this.#dynamoKeys(name)).map(([key, value]) => op.put(key, value));
    await this.stores.etcd.txn([], puts);
    return puts.length;
  }

  async countDynamo(name: Name): Promise<number> {
    const { read } = await this.stores.etcd.txn([], Object.keys(this.#dynamoKeys(name)).map(op.get));
    return read.flat().length;
  }

  /**
   * Lets the leases of locks run out whose holders are dead or hang: nobody has to wait for them.
   * @param ledger whose next run takes its own locks over by itself
   */
  async expireLocks(ledger?: string): Promise<void> {
    for (const { value, lease } of await this.stores.etcd.list(LOCKS))
      if ((JSON.parse(value) as { owner: string }).owner !== ledger) await this.stores.etcd.revokeLease(lease);
  }

  /** What somebody sees who looks at all claims, to sweep some. */
  async look(): Promise<HeldClaim[]> {
    return (await listClaims(this.stores.etcd)).filter(({ logicalName }) => this.nameOf(logicalName));
  }

  async findings(): Promise<Finding[]> {
    return (await audit(this.stores)).findings.filter(({ kind, name }) => !this.#known.has(`${kind} ${name}`));
  }

  async claims(): Promise<Map<Name, Held>> {
    const claims = new Map<Name, Held>();
    for (const { logicalName, claim, modRevision } of await listClaims(this.stores.etcd)) {
      const name = this.nameOf(logicalName);
      if (!name) continue;
      const { owner, generation, attempt, state } = claim;
      const dynamo = claim.dynamo.map((namespace) => NAMES.find((each) => this.namespace(each) === namespace) as Name);
      claims.set(name, { owner, generation, attempt, state, dynamo, modRevision });
    }
    return claims;
  }

  /** The newest tenant of its generation, with all its parts. */
  isWhole(model: Model, { tenant }: Worker): boolean {
    const { generation } = tenant;
    const newest = this.workers.findLast((other) => other.tenant.generation === generation);
    return newest?.tenant === tenant && model.whole.has(generation) && model.isLive(generation);
  }

  /** Writes one key and one message with the tenant's own credentials, and tries to write in other tenants' prefixes. */
  async write(worker: Worker): Promise<void> {
    const { tenant } = worker;
    const { prefix } = tenant.etcd;
    const others = new Set(this.workers.map((other) => other.tenant.etcd.prefix).filter((other) => other !== prefix));
    const etcd = new Etcd({ endpoints: access.etcd.endpoints, ...tenant.etcd });
    try {
      await etcd.txn([], [op.put(`${prefix}${tenant.nats.account}/${worker.messages}`, "1")]);
      for (const foreign of [REGISTRY_PREFIX, ...others])
        await assert.rejects(etcd.txn([], [op.put(`${foreign}intruder`, "1")]), /permission denied/);
    } finally {
      etcd.close();
    }
    worker.nats ??= await natsOf(tenant);
    const manager = await worker.nats.jetstreamManager();
    await manager.streams.add({ name: STREAM, subjects: ["work"] });
    await worker.nats.jetstream().publish("work");
    worker.messages++;
    assert.deepEqual(await manager.streams.names().next(), [STREAM]);
  }

  /** A released tenant's credentials and connections are of no use. */
  async assertShutOut({ tenant, nats }: Worker): Promise<void> {
    const etcd = new Etcd({ endpoints: access.etcd.endpoints, ...tenant.etcd });
    try {
      await assert.rejects(etcd.get(tenant.etcd.prefix), /refused the log-in/);
    } finally {
      etcd.close();
    }
    await assert.rejects(natsOf(tenant), /Authorization Violation/);
    await until(async () => !nats || nats.isClosed() || undefined, {
      deadlineMs: DEADLINE_MS,
      late: () => new Error(`a released tenant is still connected: ${tenant.generation}`),
    });
  }
}
