/** The commands of the model-based test, and how they are drawn. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { op } from "../../components/stores/etcd-txn.ts";
import { adoptExternal } from "../../components/tenancy/adopt.ts";
import { reap } from "../../components/tenancy/graves.ts";
import { EXTERNAL, keys } from "../../components/tenancy/registry.ts";
import { sweepClaim } from "../../components/tenancy/sweep.ts";
import { faults } from "./faults.ts";
import { type Held, type Model, NAMES, type Name, NOTHING, type Note, type Stack } from "./model.ts";
import { destroyStack, goOn, perform, type Stop, shown } from "./model-acts.ts";
import { compare, compareAudit } from "./model-compare.ts";
import type { World } from "./model-world.ts";
import { passTime, recorded, type Tenant } from "./scene.ts";

/** Stacks that act side by side. */
export const STACKS = 2;

/** Writes of an `up`, and of a release with its fences: somewhat more than they have. */
const [UP_WRITES, RELEASE_WRITES] = [26, 30];

interface Script {
  /** Whether the command makes sense now. @default always */
  check?: (model: Readonly<Model>) => boolean;
  /** @param tell says what was drawn came to; shown with a failure */
  run: (model: Model, world: World, tell: (what: string) => void) => Promise<void>;
}

type Command = fc.AsyncCommand<Model, World> & fc.WithCloneMethod<unknown>;

function command(script: Script): Command {
  const { check = () => true, run } = script;
  let told = "not run";
  return {
    // A sequence that is shrunk has commands of its own, so that each tells what it did in its own run.
    [fc.cloneMethod]: () => command(script),
    check,
    run: (model, world) =>
      run(model, world, (what) => {
        told = what;
      }),
    toString: () => told,
  };
}

const nth = <T>(all: readonly T[], n: number): T => all[n % all.length] ?? assert.fail("there are none");

const stack = fc.nat(STACKS - 1);
const name = fc.constantFrom(...NAMES);
const n = fc.nat(99);
const seldom = fc.nat(3).map((drawn) => drawn === 0);
const stopWithin = (writes: number): fc.Arbitrary<Stop | undefined> => {
  const at = fc.nat(writes);
  const broken = fc.record({ fault: fc.constantFrom(...faults), at });
  const stalled = fc.record({ fault: fc.constant("stalled"), at, call: fc.boolean() });
  return fc.option(fc.oneof(broken, stalled), { nil: undefined, freq: 2 });
};

/** `pulumi up` of a stack with one tenant, or its process from an earlier `up` once more. A stack that is gone gets a new ledger. */
const up = fc
  .record({
    of: stack,
    name,
    onResidue: fc.constantFrom("fail", "purge", "adopt"),
    adopt: fc.boolean(),
    rotate: seldom,
    late: seldom,
    stop: stopWithin(UP_WRITES),
  })
  .map(({ of, name, late, stop, ...how }) =>
    command({
      run: async (model, world, tell) => {
        world.looked = await world.look();
        const stack = nth(model.stacks, of);
        const { ledger } = stack;
        const earlier = late && !stop ? world.earlier.get(ledger) : undefined;
        const what = `up(stack ${of}, ${name}, onResidue ${how.onResidue}, adopt ${how.adopt}${how.rotate ? ", rotate" : ""}${earlier ? ", late" : ""}${shown(stop)})`;
        tell(what);
        const succeed = (tenant: Tenant) => noteTenant(model, world, stack, name, tenant);
        if (earlier) {
          const overtaken = (await world.recordOf(ledger)) !== earlier.epoch;
          const refused = { ...NOTHING, refused: /a newer run has taken over/ };
          const plan = () => (overtaken ? refused : model.up(stack, name, how));
          // Not even a lock of its own stack's is older than such a run.
          await world.expireLocks();
          return perform(model, world, {
            what,
            plan,
            work: () => world.up(earlier.stores, ledger, name, how),
            succeed,
          });
        }
        await perform(model, world, {
          what,
          stack,
          stop,
          plan: () => model.up(stack, name, how),
          work: async (stores) => {
            const tenant = await world.up(stores, ledger, name, how);
            if (!stop) world.earlier.set(ledger, { stores, epoch: await world.recordOf(ledger) });
            return tenant;
          },
          succeed,
        });
        if (stack.state === "gone") Object.assign(stack, await world.newStack());
      },
    }),
  );

function noteTenant(model: Model, world: World, stack: Stack, name: Name, tenant: Tenant): void {
  const { generation, attempt } = tenant.claimed;
  const { owner } = tenant;
  const held = model.claims.get(name);
  assert(
    held?.generation === generation && held.attempt === attempt && held.state === "active",
    "up gave another claim",
  );
  const { account } = tenant.nats;
  const messages = world.workers.findLast((earlier) => earlier.tenant.nats.account === account)?.messages ?? 0;
  world.workers.push({ tenant, messages });
  model.note({ stack, name, owner, generation, attempt, account });
}

/** Deletes a tenant as Pulumi's state has it. */
const down = fc.tuple(n, stopWithin(RELEASE_WRITES)).map(([n, stop]) =>
  command({
    check: ({ notes }) => notes.length > 0,
    run: async (model, world, tell) => {
      world.looked = await world.look();
      const note: Note = nth(model.notes, n);
      const { stack, name, generation, attempt } = note;
      const what = `down(stack ${model.stacks.indexOf(stack)}, ${name}, attempt ${attempt} of ${generation}${shown(stop)})`;
      tell(what);
      await perform(model, world, {
        what,
        stack,
        stop,
        plan: () => model.down(note),
        // The parts of an earlier attempt are the later one's: Pulumi never has both.
        work: (stores) => world.down(stores, note, model.claims.get(name)?.attempt === attempt),
        succeed: () => {
          model.notes = model.notes.filter((other) => other !== note);
        },
      });
    },
  }),
);

/** Deletes a stack's ledger, and with it all that the stack has. */
const destroy = fc
  .tuple(stack, stopWithin(RELEASE_WRITES))
  .map(([of, stop]) => command({ run: (model, world, tell) => destroyStack(model, world, of, stop, tell) }));

/** A tenant works with its own credentials: a live one within its boundary, a released one not at all. */
const write = n.map((n) =>
  command({
    check: ({ whole }) => whole.size > 0,
    run: async (model, world, tell) => {
      const certain = world.workers.filter(
        (worker) => world.isWhole(model, worker) || model.isDead(worker.tenant.generation),
      );
      if (certain.length === 0) return tell("write(nobody)");
      const worker = nth(certain, n);
      const { generation } = worker.tenant;
      const dead = model.isDead(generation);
      tell(`write(${dead ? "released" : "live"} generation ${generation})`);
      if (dead) await world.assertShutOut(worker);
      else {
        await world.write(worker);
        model.keys.set(generation, (model.keys.get(generation) ?? 0) + 1);
      }
      await compare(model, world, NOTHING, true);
    },
  }),
);

/** Releases a claim as it is now, or as it was before the last `up` or `down`. */
const sweep = fc
  .record({ n, lookedBefore: fc.boolean(), ledgerGone: seldom, stop: stopWithin(RELEASE_WRITES) })
  .map(({ n, lookedBefore, ledgerGone, stop }) =>
    command({
      check: ({ claims }) => claims.size > 0,
      run: async (model, world, tell) => {
        const changed = world.looked.filter(({ logicalName, modRevision }) => {
          const now = model.claims.get(world.nameOf(logicalName) as Name);
          return now && now.modRevision !== modRevision;
        });
        const before = lookedBefore && changed.length > 0;
        const seen = nth(before ? changed : await world.look(), n);
        const { modRevision, claim } = seen;
        const name = world.nameOf(seen.logicalName) as Name;
        const when = before ? ", looked at before" : "";
        const what = `sweep(${name}, ${claim.generation}${when}${ledgerGone ? ", ledger gone" : ""}${shown(stop)})`;
        tell(what);
        await perform(model, world, {
          what,
          stop,
          plan: () => model.sweep(name, { owner: claim.owner, modRevision }, ledgerGone),
          work: (stores) => sweepClaim(stores, seen, { ledgerGone }),
        });
      },
    }),
  );

/** A stalled act goes on. */
const resume = n.map((n) =>
  command({
    check: ({ stalled }) => stalled.length > 0,
    run: async (model, world, tell) => {
      const stalled = nth(model.stalled, n);
      tell(`goOn(${stalled.what})`);
      await goOn(model, world, stalled);
    },
  }),
);

/** Somebody deploys Dynamo without us. */
const deploy = name.map((name) =>
  command({
    run: async (model, world, tell) => {
      tell(`deploy(${name})`);
      model.dynamo.set(name, await world.deploy(name));
      await compare(model, world, NOTHING, true);
    },
  }),
);

/** `ringfence adopt` of a Dynamo namespace under a name. */
const register = fc.tuple(name, name).map(([name, namespace]) =>
  command({
    run: async (model, world, tell) => {
      const what = `register(${name}, Dynamo namespace of ${namespace})`;
      tell(what);
      const [logicalName, dynamo] = [world.logicalName(name), [world.namespace(namespace)]];
      await perform(model, world, {
        what,
        plan: () => model.register(name, namespace),
        work: (stores) => adoptExternal(stores, { logicalName, dynamo, recorded: recorded(name) }),
      });
    },
  }),
);

/** What somebody may delete by hand. Of what has adopted Dynamo's keys, test/tenancy/residue.test.ts tells. */
const mayBeLost = ({ claims, stalled }: Readonly<Model>) =>
  stalled.length > 0 ? [] : [...claims].filter(([, { dynamo }]) => dynamo.length === 0);

/** Somebody deletes a claim by hand, while nobody works on it. */
const lose = n.map((n) =>
  command({
    check: (model) => mayBeLost(model).length > 0,
    run: async (model, world, tell) => {
      const [name, { generation, owner }] = nth<[Name, Held]>(mayBeLost(model), n);
      tell(`lose(${name}, generation ${generation})`);
      await world.stores.etcd.txn([], [op.remove(keys.claim(world.logicalName(name)))]);
      model.claims.delete(name);
      if (owner !== EXTERNAL) model.lost.set(name, [...(model.lost.get(name) ?? []), generation].sort());
      await compare(model, world, NOTHING, true);
    },
  }),
);

/** `ringfence audit` finds what was lost and what nobody registered, and nothing else. */
const look = fc.constant(undefined).map(() =>
  command({
    run: async (model, world, tell) => {
      tell("audit()");
      await compareAudit(model, world);
    },
  }),
);

/** So much time passes that every call has come to its end. */
const wait = fc.constant(undefined).map(() =>
  command({
    run: async (model, world, tell) => {
      tell("wait()");
      for (const stalled of [...model.stalled]) await goOn(model, world, stalled);
      await passTime(world.stores);
      await reap(world.stores);
      await compare(model, world, NOTHING, true);
    },
  }),
);

/** As often as they are worth it. */
export const commands = [
  ...[up, up, up, up, up, up, down, down, down, down, write, write, write, sweep, sweep, resume, resume, resume],
  ...[destroy, deploy, register, lose, look, wait],
];
