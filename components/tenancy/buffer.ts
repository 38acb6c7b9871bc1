/** A tenant's buffers: made, changed and taken away inside its NATS account, never with messages that nobody has read. */
import { canonical } from "../plan/digest.ts";
import { VisibleError } from "../plan/visible-error.ts";
import { StoreError } from "../stores/errors.ts";
import type { BufferConfig, BufferView, JetStream, Mark } from "../stores/jetstream.ts";
import type { Stores } from "./access.ts";
import { actInside, observeInside, type Request, requireAccount } from "./act.ts";
import { close, type Leaving, mayDrop } from "./leaving.ts";
import { type TenantRef, withClaim } from "./live-claim.ts";
import { requireCurrent } from "./topology-record.ts";

/** A buffer as it shall be, in the account that the tenant has. */
export interface BufferRequest {
  /** The account's public key. */
  account: string;
  name: string;
  config: BufferConfig;
  digest: string;
  topologyGeneration: number;
}

/**
 * Makes the buffer, or makes it right.
 * @throws VisibleError when the registry has another topology by now, or unread messages would be lost; StoreError
 */
export async function openBuffer(stores: Stores, tenant: TenantRef, buffer: BufferRequest): Promise<void> {
  await withClaim(stores, tenant, async (hold, seen) => {
    const topology = await requireCurrent(stores.etcd, tenant, buffer.topologyGeneration);
    requireAccount(tenant, seen.claim, buffer.account);
    const mark = { generation: buffer.topologyGeneration, digest: buffer.digest };
    await actInside(stores, { hold, seen, tenant, topology }, async (jetStream, request) => {
      await makeRight(jetStream, request, { ...buffer, mark, discard: topology.record.discard, tenant });
      const made = await jetStream.buffer(buffer.name);
      if (made?.hasConsumer && isAs(made, buffer.config, mark)) return;
      throw new StoreError(`${jetStream.label} has buffer '${buffer.name}' otherwise than it was just made: run again`);
    });
  });
}

interface Wanted {
  name: string;
  config: BufferConfig;
  mark: Mark;
  discard: boolean;
  tenant: TenantRef;
}

async function makeRight(jetStream: JetStream, request: Request, wanted: Wanted): Promise<void> {
  const { name, config, mark, discard, tenant } = wanted;
  let found = await jetStream.buffer(name);
  if (found && needsReplacement(found.config, config)) {
    // A killed run's, or drift: what Pulumi replaces by itself is gone by now.
    if (!discard) requireRead(tenant, name, found, "has to be made anew for its other retention");
    await request(() => jetStream.deleteBuffer(name));
    found = undefined;
  }
  if (!found) await request(() => jetStream.createBuffer(name, config, mark));
  else if (!isAs(found, { ...config, ...consumerOf(found.config) }, mark)) {
    if (!discard) await requireKept(jetStream, found, wanted);
    await request(() => jetStream.updateBuffer(name, config, mark));
  }
  if (!found?.hasConsumer) await request(() => jetStream.createConsumer(name, config));
  else if (canonical(consumerOf(found.config)) !== canonical(consumerOf(config)))
    await request(() => jetStream.updateConsumer(name, config));
}

/** Whether JetStream cannot change the one into the other. */
export const needsReplacement = (from: BufferConfig, to: BufferConfig): boolean =>
  from.retention !== to.retention && [from.retention, to.retention].includes("workqueue");

const consumerOf = ({ ackWaitSeconds, maxAckPending }: BufferConfig) => ({ ackWaitSeconds, maxAckPending });

const isAs = ({ config, mark }: BufferView, wanted: BufferConfig, wantedMark: Mark): boolean =>
  canonical({ config, mark }) === canonical({ config: wanted, mark: wantedMark });

/** Messages that somebody has still to read, or to say that it is done with. */
export const unreadOf = (buffer: BufferView | undefined): number => (buffer ? buffer.pending + buffer.ackPending : 0);

/** @throws VisibleError when a change of the buffer would make JetStream drop messages that nobody has read */
async function requireKept(jetStream: JetStream, found: BufferView, { name, config, tenant }: Wanted): Promise<void> {
  const unread = unreadOf(found);
  if (unread === 0) return;
  if (config.maxMessages < unread)
    throw loses(tenant, name, unread, `may hold no more than 'buffers.maxMessages: ${config.maxMessages}' then`);
  const { maxAgeSeconds } = config;
  const shorter = maxAgeSeconds > 0 && (found.config.maxAgeSeconds === 0 || maxAgeSeconds < found.config.maxAgeSeconds);
  const oldest = shorter ? await jetStream.oldestUnread(name) : undefined;
  if (oldest && oldest.getTime() < Date.now() - maxAgeSeconds * 1000)
    throw loses(
      tenant,
      name,
      unread,
      `may hold none as old as the oldest by 'buffers.maxAgeSeconds: ${maxAgeSeconds}'`,
    );
}

/** @throws VisibleError when it has messages that nobody has read */
function requireRead(tenant: TenantRef, name: string, found: BufferView, why: string): void {
  const unread = unreadOf(found);
  if (unread > 0) throw loses(tenant, name, unread, why);
}

const loses = ({ logicalName }: TenantRef, name: string, unread: number, why: string): VisibleError =>
  new VisibleError(
    `tenant '${logicalName}': buffer '${name}' has ${unread} unread ${unread === 1 ? "message" : "messages"}, and ${why}: ` +
      "let its readers finish and run again, or let the messages go with 'buffers.discard: true'",
  );

/**
 * Deletes the buffer, unless the topology has it as it is. What lies in an account that was fenced goes with that.
 * @throws VisibleError when it has unread messages, the topology says nothing of `discard` and the tenant stays
 */
export async function closeBuffer(stores: Stores, tenant: TenantRef, buffer: Leaving): Promise<void> {
  await close(stores, tenant, buffer, "buffers", async (jetStream, request, record) => {
    const found = await jetStream.buffer(buffer.name);
    if (found && !mayDrop(record)) requireRead(tenant, buffer.name, found, "leaves the topology");
    if (found) await request(() => jetStream.deleteBuffer(buffer.name));
  });
}

/** The buffer as the account has it. @returns "unknown" when the tenant has no such account to look into */
export const observeBuffer = (
  stores: Stores,
  tenant: TenantRef,
  { account, name }: Pick<BufferRequest, "account" | "name">,
): Promise<BufferView | undefined | "unknown"> =>
  observeInside(stores, tenant, account, (jetStream) => jetStream.buffer(name));
