/** Plays one case: an act that is struck at one of its writes, what comes after it, and a look at what is left. */
import assert from "node:assert/strict";
import { readClaim } from "../../components/tenancy/registry.ts";
import type { Case, Fault } from "./cases.ts";
import { Engine, type Program, type State } from "./engine.ts";
import type { Point, StoreName, Verdict } from "./gate.ts";
import { type Act, addNamespace, assertWhole, first, perform, prepare, second } from "./life.ts";
import type { Ground, Victim } from "./platform.ts";
import type { Provider } from "./provider.ts";

/** Where a fault strikes. */
interface Scene {
  ground: Ground;
  victim: Victim;
  engine: Engine;
  server: StoreName;
  /** When what comes after the act has begun to change something, and when it has ended. */
  sequel: { begun: Promise<void>; over: Promise<void> };
  /** What has to be done before anything can come after it. */
  repairs: Array<Promise<void>>;
}

const strikes: Record<Fault, (scene: Scene) => Promise<Verdict>> = {
  "the provider is killed": async ({ victim }) => {
    await victim.provider.kill();
    return "cut";
  },
  "pulumi is killed, it lands amid the next command": async ({ engine, sequel }) => {
    engine.vanish();
    await sequel.begun;
    return "pass";
  },
  "pulumi is killed, it lands in the end": async ({ engine, sequel }) => {
    engine.vanish();
    await sequel.over;
    return "pass";
  },
  "the server is killed and comes back": async ({ ground, server, repairs }) => {
    await ground.kill(server);
    repairs.push(ground.restart(server));
    return "cut";
  },
  "the connection breaks": async () => "cut",
};

/** Whether a case has to have the platform for itself. */
export const alone = ({ act, fault }: Case): boolean =>
  act === "create without slots" || fault === "the server is killed and comes back";

const pulumiGone = (fault: Fault) => fault.startsWith("pulumi is killed");

/** The writes that an act makes when nothing happens to it. */
export async function record(ground: Ground, act: Act): Promise<Point[]> {
  const logicalName = ground.newName();
  const { victim, engine } = await scene(ground, act, logicalName, act === "delete");
  try {
    await perform(engine, act, logicalName);
  } finally {
    await dispose(victim);
  }
  await new Engine(ground.steady.destroy, ground.stubs, engine.state).destroy();
  return [...victim.gate.points];
}

/**
 * Plays a case to its end.
 * @param names is told what all that was the tenant's is called
 * @throws an error that ends in what the struck process wrote
 */
export async function play(ground: Ground, each: Case, names: Set<string>): Promise<void> {
  const logicalName = ground.newName();
  names.add(logicalName);
  const { victim, engine } = await scene(ground, each.act, logicalName, each.point.store === "kube-apiserver");
  try {
    await strike(ground, each, { logicalName, victim, engine, names });
  } catch (error) {
    const { stack, message } = error as Error;
    const trace = victim.gate.points.map(({ name }) => `\n    ${name}`).join("");
    throw new Error(`${stack || message}\n  ${logicalName}; the struck process wrote:${trace}`);
  } finally {
    await dispose(victim);
  }
}

/** A tenant where the act begins, and a provider for it. */
async function scene(
  ground: Ground,
  act: Act,
  logicalName: string,
  namespace: boolean,
): Promise<{ victim: Victim; engine: Engine }> {
  const prepared = new Engine(ground.steady.prepare, ground.stubs);
  await prepare(ground.stores, prepared, act, logicalName);
  if (namespace) await addNamespace(ground.stores.access, prepared.state);
  if (act === "create without slots") await ground.useUpSlots();
  const victim = await ground.victim();
  return { victim, engine: new Engine(victim.provider, ground.stubs, prepared.state) };
}

interface Struck {
  logicalName: string;
  victim: Victim;
  engine: Engine;
  names: Set<string>;
}

async function strike(ground: Ground, each: Case, { logicalName, victim, engine, names }: Struck): Promise<void> {
  const { act, point, side, fault } = each;
  const [struck, begun, over] = [1, 2, 3].map(() => Promise.withResolvers<void>()) as [Moment, Moment, Moment];
  const sequel = { begun: begun.promise, over: over.promise };
  const repairs: Array<Promise<void>> = [];
  let reached = false;
  victim.gate.arm(point.name, side, () => {
    reached = true;
    struck.resolve();
    return strikes[fault]({ ground, victim, engine, server: point.store, sequel, repairs });
  });
  const acting = perform(engine, act, logicalName).then(
    () => "well",
    (error: Error) => `with: ${error.message}`,
  );
  const ended = await (pulumiGone(fault) ? Promise.race([acting, struck.promise]) : acting);
  assert(reached, `the act never came to ${side} ${point.name}, and ended ${ended}`);
  await Promise.all(repairs);
  if (!pulumiGone(fault)) await victim.provider.kill();
  try {
    await follow(ground, each, { logicalName, engine, names }, begun.resolve);
  } finally {
    begun.resolve();
    over.resolve();
    await victim.provider.idle();
  }
  assert.equal(await readClaim(ground.stores.etcd, logicalName), undefined, "the tenant is claimed after the destroy");
}

type Moment = PromiseWithResolvers<void>;

/** What comes after the act. @param begun is called when something is changed */
async function follow(
  ground: Ground,
  { act, sequel }: Case,
  { logicalName, engine, names }: Omit<Struck, "victim">,
  begun: () => void,
): Promise<void> {
  const next = (provider: Provider, state: State) => {
    const following = new Engine(provider, ground.stubs, state);
    void following.begun.then(begun);
    return following;
  };
  await nameAll(names, ground, logicalName, engine.state);
  let { state } = engine;
  if (sequel === "up and destroy") {
    const rerun = next(ground.steady.rerun, state);
    await upAgain(rerun, act === "update" ? second(logicalName) : first(logicalName));
    await assertWhole(ground.stores, logicalName, rerun.state);
    state = rerun.state;
    await nameAll(names, ground, logicalName, state);
  }
  await next(ground.steady.destroy, state).destroy();
}

/** The next `pulumi up`; after a `pulumi refresh` where its error asks for one. */
async function upAgain(engine: Engine, program: Program): Promise<void> {
  await engine.up(program).catch(async (error: Error) => {
    if (!error.message.includes("run 'pulumi refresh'")) throw error;
    await engine.refresh();
    await engine.up(program);
  });
}

/** What the tenant's things are called: by state, and by the claim for what state never learnt of. */
async function nameAll(names: Set<string>, ground: Ground, logicalName: string, state: State): Promise<void> {
  const { ledger, claim, account } = state;
  for (const name of [ledger?.id, claim?.outs.generation, account?.id]) if (name) names.add(name);
  await nameClaimed(names, ground, logicalName);
}

/** What a claim says its things are called. */
export async function nameClaimed(names: Set<string>, { stores }: Ground, logicalName: string): Promise<void> {
  const held = (await readClaim(stores.etcd, logicalName))?.claim;
  for (const name of held ? [held.generation, ...held.accounts] : []) names.add(name);
}

async function dispose(victim: Victim): Promise<void> {
  await victim.provider.kill();
  victim.close();
}
