/**
 * The keys by which old frontends of Dynamo learn of a model (plan/models.ts): the only ones that pipelines share. A record
 * in the registry says which registration they stand for. Keys and record are written in one transaction, so a key is ours
 * exactly when its revision is the record's; whatever has another one somebody outside wrote, and it is left alone.
 *
 * Whoever acts on a model settles its keys afterwards. That needs no lock and no epoch: each step is computed from one
 * consistent look and compares what it was computed from, so that whoever comes late loses.
 */
import { aliasKeys, aliasValues } from "../plan/models.ts";
import { StoreError, until } from "../stores/errors.ts";
import type { Etcd } from "../stores/etcd.ts";
import { type Compare, type Entry, type Operation, op, when } from "../stores/etcd-txn.ts";
import { keys } from "./registry.ts";

/** That a tenant serves a model, as the registry has it. */
export interface Registration {
  model: string;
  logicalName: string;
  generation: string;
  /** The namespace under which its workers register in Dynamo. */
  dynamoNamespace: string;
  /** The Kubernetes namespace. */
  namespace: string;
  /** Inside the cluster. */
  url: string;
  /** When it was published, as ISO 8601. For people: the key's create revision decides which is newer. */
  since: string;
  /** Whether old frontends shall learn of it. */
  legacyAlias: boolean;
}

/** A registration as it was read. */
export interface Registered extends Registration {
  modRevision: string;
}

/** Whose the keys of a model are. */
interface AliasRecord {
  model: string;
  /** A generation. */
  holder: string;
  /** False while the keys are on their way to somebody. */
  settled: boolean;
}

/** Everything about one model, as of one moment. */
export interface ModelState {
  model: string;
  /** Newest first. */
  registrations: Registered[];
  record: (AliasRecord & { modRevision: string }) | undefined;
  /** Of the keys for old frontends, those that we wrote, those that are not there, and those that somebody outside wrote. */
  ours: Entry[];
  absent: string[];
  foreign: Entry[];
}

/** How long others may stay in the way of settling, milliseconds: each time one of them has got ahead. */
const SETTLE_MS = 30_000;

/** Reads all about a model at once. */
export async function readModel(etcd: Etcd, model: string): Promise<ModelState> {
  const names = aliasKeys(model);
  const { read } = await etcd.txn([], [op.list(keys.model(model)), op.get(keys.alias(model)), ...names.map(op.get)]);
  const [registered = [], [record], ...found] = read as [Entry[], Entry[], ...Entry[][]];
  const entries = found.flat();
  const isOurs = ({ modRevision }: Entry) => modRevision === record?.modRevision;
  return {
    model,
    registrations: newestFirst(registered).map(registeredOf),
    record: record && { ...(JSON.parse(record.value) as AliasRecord), modRevision: record.modRevision },
    ours: entries.filter(isOurs),
    absent: names.filter((name) => !entries.some(({ key }) => key === name)),
    foreign: entries.filter((entry) => !isOurs(entry)),
  };
}

export const newestFirst = (entries: Entry[]): Entry[] =>
  entries.toSorted((a, b) => (BigInt(a.createRevision) < BigInt(b.createRevision) ? 1 : -1));

export const registeredOf = ({ value, modRevision }: Entry): Registered => ({
  ...(JSON.parse(value) as Registration),
  modRevision,
});

/** A transaction, or what one needs besides. */
export interface Step {
  compare: Compare[];
  operations: Operation[];
}

/** So that the keys stand for nobody, until they are settled. */
export function letGo({ model, record, ours }: ModelState): Step {
  return {
    compare: [when.unchanged(keys.alias(model), record?.modRevision ?? "0"), ...ours.map(asRead)],
    operations: [
      ...ours.map(({ key }) => op.remove(key)),
      ...(record ? [putRecord({ model, holder: record.holder, settled: false })] : []),
    ],
  };
}

/**
 * Makes a model's keys those of their holder, if it still wants them, or else of the newest registration that does; where
 * nobody does they go. They are removed before another one gets them: an old frontend takes no put for a model that it has.
 */
export async function settleAlias(etcd: Etcd, model: string): Promise<ModelState> {
  return until(
    async () => {
      const state = await readModel(etcd, model);
      const step = nextStep(state);
      if (!step) return state;
      await etcd.txn(step.compare, step.operations);
      return undefined;
    },
    {
      deadlineMs: SETTLE_MS,
      everyMs: 0,
      late: () =>
        new StoreError(
          `${etcd.label}: ${aliasKeys(model).join(" and ")} keep changing, for ${SETTLE_MS / 1000} s: find out who writes them, then run again`,
        ),
    },
  );
}

/** Settles what runs that were killed have left on its way. */
export async function settleAliases(etcd: Etcd): Promise<void> {
  for (const { value } of await etcd.list(keys.aliases)) {
    const { model, settled } = JSON.parse(value) as AliasRecord;
    if (!settled) await settleAlias(etcd, model);
  }
}

/** @returns nothing when all is as it shall be */
function nextStep(state: ModelState): Step | undefined {
  const { model, registrations, record, ours, absent } = state;
  const asking = registrations.filter(({ legacyAlias }) => legacyAlias);
  const holder = asking.find(({ generation }) => generation === record?.holder) ?? asking[0];
  const recorded = when.unchanged(keys.alias(model), record?.modRevision ?? "0");
  if (!holder) {
    if (!record) return undefined;
    const gone = [...ours.map(({ key }) => key), keys.alias(model)];
    return { compare: [recorded, ...ours.map(asRead)], operations: gone.map(op.remove) };
  }
  const values = aliasValues(holder);
  // The generation is a part of the value.
  if (ours.some(({ key, value }) => value !== values[key])) return letGo(state);
  if (record?.settled && record.holder === holder.generation && absent.length === 0) return undefined;
  const mine = [...ours.map(({ key }) => key), ...absent];
  return {
    compare: [
      recorded,
      ...ours.map(asRead),
      ...absent.map(when.absent),
      when.unchanged(keys.registration(model, holder.generation), holder.modRevision),
    ],
    operations: [
      ...mine.map((key) => op.put(key, values[key] as string)),
      putRecord({ model, holder: holder.generation, settled: true }),
    ],
  };
}

const asRead = ({ key, modRevision }: Entry): Compare => when.unchanged(key, modRevision);

const putRecord = (record: AliasRecord): Operation => op.put(keys.alias(record.model), JSON.stringify(record));
