/** Compares what the stores have with what the model says they may have, and brings the model up to it. */
import assert from "node:assert/strict";
import { TENANTS_PREFIX } from "../../components/plan/names.ts";
import { EXTERNAL, keys } from "../../components/tenancy/registry.ts";
import { type Effects, type Held, type Model, NAMES, type Name, type Stack } from "./model.ts";
import type { World } from "./model-world.ts";

/**
 * Compares all that an act has left with what it may leave.
 * @param finished the act came to its end; else it may have been stopped at any of its steps
 */
export async function compare(model: Model, world: World, effects: Effects, finished: boolean): Promise<void> {
  const claims = await world.claims();
  compareClaims(model, claims, effects, finished);
  await compareLost(model, world, claims, effects, finished);
  await compareReservations(world, claims);
  model.claims.clear();
  for (const [name, held] of claims) model.claims.set(name, held);
  await compareStacks(model, world, effects, finished);
  await compareData(model, world, effects, finished);
}

function compareClaims(model: Model, claims: Map<Name, Held>, { steps: all }: Effects, finished: boolean): void {
  for (const name of NAMES) {
    const before = model.claims.get(name);
    const after = claims.get(name);
    const steps = all.get(name) ?? [before];
    const allowed = finished ? steps.slice(-1) : steps;
    const told = `claim ${name}: ${show(after)}; allowed: ${allowed.map(show).join(", or ")}`;
    const matches = allowed.some((step) => model.matches(step, after));
    assert(matches, told);
    if (steps.length === 1) assert.equal(after?.modRevision, before?.modRevision, `${told}; it was rewritten`);
  }
}

/** Every generation that was made for a name has its claim, or lost it. */
async function compareLost(
  model: Model,
  { stores, logicalName }: World,
  claims: Map<Name, Held>,
  { takes }: Effects,
  finished: boolean,
): Promise<void> {
  const recorded = new Map<string, string>();
  for (const { key, value } of await stores.etcd.list(keys.generations))
    recorded.set(key.slice(keys.generations.length), value);
  for (const { owner, generation } of claims.values()) {
    assert.equal(recorded.has(generation), owner !== EXTERNAL, `record of generation ${generation}`);
    recorded.delete(generation);
  }
  for (const name of NAMES) {
    const before = model.lost.get(name) ?? [];
    const here = [...recorded].filter(([, of]) => of === logicalName(name));
    const after = here.map(([generation]) => generation).sort();
    const kept = takes === name ? before.filter((each) => !finished && after.includes(each)) : before;
    assert.deepEqual(after, kept, `generations of ${name} without a claim`);
    model.lost.set(name, kept);
  }
}

async function compareReservations({ stores, nameOf, namespace }: World, claims: Map<Name, Held>): Promise<void> {
  const reserved = (await stores.etcd.list(keys.dynamo(""))).flatMap(({ key, value }) => {
    const name = nameOf(value);
    return name ? [`${name}: ${key.slice(keys.dynamo("").length)}`] : [];
  });
  const named = [...claims].flatMap(([name, { dynamo }]) => dynamo.map((each) => `${name}: ${namespace(each)}`));
  assert.deepEqual(reserved.sort(), named.sort(), "reserved Dynamo namespaces");
}

async function compareStacks(model: Model, world: World, { stack: acting }: Effects, finished: boolean): Promise<void> {
  for (const stack of model.stacks) {
    const entry = await world.stores.etcd.get(keys.stack(stack.ledger));
    const state: Stack["state"] = entry ? JSON.parse(entry.value).state : "gone";
    if (acting?.of === stack) {
      const stopped = acting.state === stack.state ? [stack.state] : [stack.state, "closing", "gone"];
      const allowed = finished ? [acting.state] : stopped;
      assert(allowed.includes(state), `the acting stack is ${state}; allowed: ${allowed}`);
    } else assert.equal(entry?.modRevision, stack.modRevision, "another stack's record");
    stack.state = state;
    stack.modRevision = entry?.modRevision;
  }
}

async function compareData(model: Model, world: World, effects: Effects, finished: boolean): Promise<void> {
  const counts = new Map<string, number>();
  for (const { key } of await world.stores.etcd.list(TENANTS_PREFIX, { keysOnly: true })) {
    const [generation = ""] = key.slice(TENANTS_PREFIX.length).split("/");
    counts.set(generation, (counts.get(generation) ?? 0) + 1);
  }
  for (const { generation } of model.claims.values()) if (!model.keys.has(generation)) model.keys.set(generation, 0);
  for (const [generation, before] of model.keys) {
    const now = counts.get(generation) ?? 0;
    const releasing = [...model.claims.values()].some(
      (held) => held.generation === generation && held.state === "releasing",
    );
    if (model.isDead(generation)) assert.equal(now, 0, `keys of released generation ${generation}`);
    else if (releasing) assert(now <= before);
    else assert.equal(now, before, `keys of generation ${generation}`);
    model.keys.set(generation, now);
  }
  for (const name of NAMES) {
    const now = await world.countDynamo(name);
    const before = model.dynamo.get(name) as number;
    if (!effects.clears.includes(name)) assert.equal(now, before, `Dynamo's keys of ${name}`);
    else assert(now <= (finished ? 0 : before), `Dynamo's keys of ${name}: ${now} of ${before}`);
    model.dynamo.set(name, now);
  }
  const nats = await world.stores.nats();
  for (const { tenant, messages } of world.workers.filter((worker) => world.isWhole(model, worker))) {
    const streams = await nats.streams(tenant.nats.account);
    const now = streams.reduce((sum, stream) => sum + stream.messages, 0);
    assert.equal(now, messages, `messages of generation ${tenant.generation}`);
  }
}

const show = (held: Omit<Held, "modRevision"> | undefined): string =>
  held ? `${held.state}, attempt ${held.attempt}, generation ${held.generation}, Dynamo [${held.dynamo}]` : "none";

/** An audit finds what was lost and what nobody registered, and nothing else. */
export async function compareAudit(model: Model, world: World): Promise<void> {
  const findings = await world.findings();
  const lost = [...model.lost].flatMap(([name, generations]) =>
    generations.map((generation) => ({ name, generation })),
  );
  const nobodys = NAMES.filter((name) => model.dynamo.get(name) !== 0 && !model.isReserved(name));
  const expected = [
    ...lost.map(({ generation }) => `generation ${generation}`),
    ...nobodys.map((name) => `dynamo ${world.namespace(name)}`),
  ];
  const found = findings.map(({ kind, name }) => `${kind} ${name}`);
  assert.deepEqual(
    expected.filter((each) => !found.includes(each)),
    [],
    "not found by the audit",
  );
  const explained = ({ name, detail }: { name: string; detail: string }) =>
    lost.some((each) => name.includes(each.generation) || detail.endsWith(`made for ${world.logicalName(each.name)}`));
  const others = findings.filter(({ kind, name }) => !expected.includes(`${kind} ${name}`));
  assert.deepEqual(
    others.filter((finding) => !explained(finding)),
    [],
    "found by the audit",
  );
}
