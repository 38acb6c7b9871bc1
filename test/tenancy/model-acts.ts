/** How an act of the model-based test is run: whole, stopped at one of its writes, or hanging there until it may go on. */
import assert from "node:assert/strict";
import type { Stores } from "../../components/tenancy/access.ts";
import { deleteLedger } from "../../components/tenancy/ledger.ts";
import { Superseded } from "../../components/tenancy/run.ts";
import { type Fault, faulty, isCall } from "./faults.ts";
import { type Effects, type Model, NAMES, type Name, NOTHING, type Stack, type Stalled, type Step } from "./model.ts";
import { compare } from "./model-compare.ts";
import type { World } from "./model-world.ts";
import { bound } from "./scene.ts";

/** What happens to a run at one of its writes, counted from 0; one that has fewer ends as usual. */
export type Stop =
  | { fault: Fault; at: number }
  /** It hangs there, or at the first call from there on, which no transaction guards, until it may go on. */
  | { fault: "stalled"; at: number; call: boolean };

/** For messages. */
export const shown = (stop: Stop | undefined) =>
  stop ? `, ${stop.fault} at ${"call" in stop && stop.call ? "the first call from " : ""}write ${stop.at}` : "";

/** A run has its epoch after these writes; what hangs before them has not begun yet. */
const TO_ENTER = 2;

export interface Act<T> {
  what: string;
  /** Whose run it is; none for an act of no stack. */
  stack?: Stack;
  stop?: Stop | undefined;
  /** What it does when it begins now. */
  plan: () => Effects;
  work: (stores: Stores) => Promise<T>;
  /** Takes note of its success. */
  succeed?: (result: T) => void;
}

type Outcome = { result: unknown } | { error: Error };

const outcomeOf = (work: Promise<unknown>): Promise<Outcome> =>
  work.then(
    (result) => ({ result }),
    (error: Error) => ({ error }),
  );

/** Runs an act in a process of its own, and compares what it leaves with what the model says. */
export async function perform<T>(model: Model, world: World, act: Act<T>): Promise<void> {
  await world.expireLocks(act.stack?.ledger);
  if (act.stop?.fault === "stalled") await performHanging(model, world, act, act.stop);
  else {
    const { stores, writes } = faulty(world.process(), act.stop?.fault, act.stop?.at);
    const effects = act.plan();
    const outcome = await outcomeOf(act.work(stores));
    const stopped = act.stop !== undefined && writes.length > act.stop.at;
    await conclude(model, world, act, effects, outcome, stopped);
  }
}

/** A run that hangs before one of its writes. */
interface Hanging {
  stores: Stores;
  /** Settles when it does, with the name of the write. */
  hangs: Promise<string>;
  goOn(): void;
}

function hanging(process: Stores, { at, call }: { at: number; call: boolean }): Hanging {
  const first = Math.max(at, TO_ENTER);
  const gate = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<string>();
  let writes: string[] = [];
  let hung = false;
  const gated = <T extends object>(server: T): T =>
    new Proxy(server, {
      get(target, name) {
        const member = bound(target, name);
        if (typeof member !== "function") return member;
        return (...args: unknown[]) => {
          // What is asked for right after a write was noted is that write.
          if (hung || writes.length <= first || (call && !isCall(String(name)))) return member(...args);
          hung = true;
          reached.resolve(String(name));
          return gate.promise.then(() => member(...args));
        };
      },
    });
  const counted = faulty({ ...process, etcd: gated(process.etcd), nats: async () => gated(await process.nats()) });
  writes = counted.writes;
  return { stores: counted.stores, hangs: reached.promise, goOn: gate.resolve };
}

async function performHanging<T>(
  model: Model,
  world: World,
  act: Act<T>,
  stop: { at: number; call: boolean },
): Promise<void> {
  const effects = act.plan();
  const { stores, hangs, goOn } = hanging(world.process(), stop);
  const ending = outcomeOf(act.work(stores));
  const write = await Promise.race([hangs, ending.then(() => undefined)]);
  if (write === undefined) return conclude(model, world, act, effects, await ending, false);
  const seenBefore = new Set(model.keys.keys());
  model.doubt(effects);
  await compare(model, world, effects, false);
  const ledger = act.stack?.ledger ?? "";
  model.stalled.push({
    ...act,
    ledger,
    epoch: await world.recordOf(ledger),
    write,
    effects: model.settled(effects, seenBefore),
    goOn: () => {
      goOn();
      return ending;
    },
    succeed: (result) => act.succeed?.(result as T),
  });
}

async function conclude<T>(
  model: Model,
  world: World,
  { succeed }: Act<T>,
  effects: Effects,
  outcome: Outcome,
  stopped: boolean,
): Promise<void> {
  const { refused } = effects;
  const succeeded = "result" in outcome;
  if (succeeded) assert(!refused, `it succeeded, and should have been refused: ${refused}`);
  else if (!stopped && !refused?.test(outcome.error.message)) throw outcome.error;
  if (stopped) model.doubt(effects);
  await compare(model, world, effects, succeeded || !stopped);
  if (succeeded) succeed?.(outcome.result as T);
}

/** Lets an act that hangs go on: it does nothing more when a newer run of its stack has begun. */
export async function goOn(model: Model, world: World, stalled: Stalled): Promise<void> {
  model.stalled.splice(model.stalled.indexOf(stalled), 1);
  const record = await world.recordOf(stalled.ledger);
  const outcome = (await stalled.goOn()) as Outcome;
  if (record !== stalled.epoch) {
    // Giving its lock back was all that was left of it, or the newer run has finished the stack's destroy.
    const over = stalled.write === "revokeLease" || record === undefined;
    if ("result" in outcome) assert(over, `${stalled.what}, overtaken at ${stalled.write}, went on to its end`);
    else assert(outcome.error instanceof Superseded, outcome.error.stack);
    return compare(model, world, NOTHING, true);
  }
  // Others may have changed what it finds now.
  const now = stalled.plan();
  const steps = NAMES.map((name): [Name, Step[]] => {
    const ahead = [stalled.effects, now].flatMap((effects) => effects.steps.get(name) ?? []);
    return [name, [model.claims.get(name), ...ahead]];
  });
  const takes = stalled.effects.takes ?? now.takes;
  const clears = [...stalled.effects.clears, ...now.clears];
  model.doubt(stalled.effects);
  await compare(model, world, { ...now, steps: new Map(steps), clears, ...(takes && { takes }) }, false);
  if ("result" in outcome) stalled.succeed(outcome.result);
}

/** Deletes a stack's ledger, and with it all that the stack has. @param of its number */
export async function destroyStack(
  model: Model,
  world: World,
  of: number,
  stop?: Stop,
  tell: (what: string) => void = () => {},
): Promise<void> {
  const stack = model.stacks[of] ?? assert.fail(`there is no stack ${of}`);
  const { ledger } = stack;
  const what = `destroy(stack ${of}${shown(stop)})`;
  tell(what);
  await perform(model, world, {
    what,
    stack,
    stop,
    plan: () => model.destroy(stack),
    work: (stores) => deleteLedger(stores, ledger),
    succeed: () => {
      model.notes = model.notes.filter(({ owner }) => owner !== ledger);
    },
  });
}
