import assert from "node:assert/strict";
import fc from "fast-check";
import { aliasKeys } from "../../components/plan/models.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { readModel } from "../../components/tenancy/alias.ts";
import { deleteLedger } from "../../components/tenancy/ledger.ts";
import { withdrawModel } from "../../components/tenancy/models.ts";
import { keys } from "../../components/tenancy/registry.ts";
import { seed, seedText } from "../support/sample.ts";
import { type Fault, faults, faulty } from "./faults.ts";
import { interrupted, leavesTheOutsideAlone, modelScene, type Serving, watchOf } from "./models-scene.ts";
import { newProcess } from "./scene.ts";

describe(`models (${seedText})`, () => {
  const { realm, ONE, TWO, stores, claim, publish, destroy, view, told, takeKeys, write, remove, assertSound } =
    modelScene();
  leavesTheOutsideAlone(stores);

  /** Each write of each act, and each way to fail there. */
  describe("of runs that fail", () => {
    const acts: Record<string, (serving: Serving, at: Stores) => Promise<unknown>> = {
      publishing: (serving, at) => publish(serving, ONE, true, at),
      withdrawing: (serving, at) => withdrawModel(at, serving, ONE),
    };
    for (const [act, run] of Object.entries(acts)) {
      it(`${act}: the same again completes it, and others' stay as they are`, async () => {
        const [a, b] = [await claim("a"), await claim("b")];
        await publish(b, ONE, true);
        const reset = () => (act === "publishing" ? withdrawModel(newProcess(), a, ONE) : takeKeys(a, b));
        await reset();
        const { stores: counted, writes } = faulty(newProcess());
        await run(a, counted);
        const crashes = fc.sample(fc.record({ at: fc.nat(writes.length - 1), fault: fc.constantFrom(...faults) }), {
          seed,
          numRuns: 12,
        });
        for (const { at, fault } of crashes) {
          await reset();
          await run(a, faulty(newProcess(), fault, at).stores).catch(() => {});
          await assertSound(ONE, `${fault} write ${at}`);
          await run(a, newProcess());
          const wanted = act === "publishing" ? ["a", "b"] : ["b"];
          assert.deepEqual((await view())[ONE], wanted, `${fault} write ${at}`);
          assert.deepEqual(await told(ONE), ["b", "b"], `${fault} write ${at}`);
        }
        await destroy(a, [ONE]);
        await destroy(b, [ONE]);
      });
    }

    it("releasing: the next destroy withdraws all", async () => {
      const b = await claim("b");
      await publish(b, ONE, true);
      const release = (serving: Serving, at: Stores) => deleteLedger(at, serving.owner);
      const whole = async (name: string) => {
        const a = await claim(name);
        await takeKeys(a, b);
        return a;
      };
      const crashes: Array<{ at: number; fault: Fault }> = fc.sample(
        // The first ones: the run, the lock, the withdrawal.
        fc.record({ at: fc.nat(9), fault: fc.constantFrom(...faults) }),
        { seed, numRuns: 6 },
      );
      for (const [i, { at, fault }] of crashes.entries()) {
        const a = await whole(`a${i}`);
        await release(a, faulty(newProcess(), fault, at).stores).catch(() => {});
        await assertSound(ONE, `${fault} write ${at}`);
        await release(a, newProcess());
        assert.deepEqual([await view(), await told(ONE)], [{ [ONE]: ["b"] }, ["b", "b"]], `${fault} write ${at}`);
      }
      await destroy(b, [ONE]);
    });
  });

  describe("of two stacks, one of which acts at any step of the other's act", () => {
    type Act = (serving: Serving, at?: Stores) => Promise<unknown>;
    const publishes: Act = (serving, at) => publish(serving, ONE, true, at);
    const withdraws: Act = (serving, at = newProcess()) => withdrawModel(at, serving, ONE);
    /** Killed when it has withdrawn its registration, and before it settles anything: after its run, its lock and its look. */
    const isKilled: Act = async (serving) => {
      await withdraws(serving, faulty(newProcess(), "killed after", 4).stores).catch(() => {});
      assert.equal(await stores().etcd.get(keys.registration(ONE, serving.generation)), undefined);
    };
    const writesKey = () => write(aliasKeys(ONE)[0] as string, "{}");

    /** Who serves before, the first of them with the keys; what a does, and b meanwhile; and who is told in the end. */
    const cases: Array<[before: string, does: Act, meanwhile: Act, told: string, key?: string]> = [
      ["ba", withdraws, withdraws, "nobody"],
      ["ab", withdraws, withdraws, "nobody"],
      ["ab", withdraws, isKilled, "nobody"],
      ["ba", withdraws, isKilled, "nobody"],
      ["a", withdraws, publishes, "b"],
      ["", publishes, publishes, "b"],
      ["b", publishes, withdraws, "a"],
      ["a", withdraws, writesKey, "nobody", "{}"],
      ["ab", withdraws, writesKey, "b", "{}"],
      ["", publishes, writesKey, "a", "{}"],
    ];
    let [a, b]: Serving[] = [];
    before(async () => {
      [a, b] = [await claim("a"), await claim("b")];
    });
    after(async () => {
      for (const one of [a, b]) await destroy(one as Serving, [ONE]);
    });

    for (const [initial, does, meanwhile, wanted, key] of cases)
      it(`${initial || "nobody"} serves, a ${does.name}, b ${meanwhile.name} meanwhile`, async () => {
        const [first, second] = [a as Serving, b as Serving];
        const [chat, completion] = aliasKeys(ONE) as [string, string];
        const watch = await watchOf(stores(), [ONE]);
        let at = 0;
        for (; ; at++) {
          for (const one of [first, second]) await withdraws(one);
          await remove(chat, completion);
          for (const one of initial) await publishes(one === "a" ? first : second);
          const run = interrupted(newProcess(), at, () => meanwhile(second));
          await does(first, run.stores);
          // Its act was over before.
          if (run.writes() <= at) break;
          await assertSound(ONE, `write ${at}`);
          const [value, told] = await Promise.all([chat, completion].map((name) => stores().etcd.get(name)));
          if (key) assert.equal(value?.value, key, `write ${at}: a foreign value was touched`);
          const served = (await view())[ONE] ?? [];
          const namespace = told ? JSON.parse(told.value).endpoint.namespace : "nobody";
          // Of two that publish at once, whichever was first.
          const right = served.length === 2 ? served.includes(namespace) : namespace === wanted;
          assert.ok(right, `write ${at}: ${served} serve, and old frontends are told ${namespace}`);
        }
        assert.ok(at > 4, String(at));
        for (const one of [first, second]) await withdraws(one);
        await remove(chat, completion);
        await watch.done();
      });
  });

  it("of several stacks at once are those that are live, in every order", async () => {
    const act = fc.oneof(
      { weight: 4, arbitrary: fc.record({ does: fc.constant("publish"), model: fc.boolean(), alias: fc.boolean() }) },
      { weight: 3, arbitrary: fc.record({ does: fc.constant("withdraw"), model: fc.boolean(), alias: fc.boolean() }) },
      { weight: 1, arbitrary: fc.record({ does: fc.constant("destroy"), model: fc.boolean(), alias: fc.boolean() }) },
    );
    const stacks = fc.array(fc.array(act, { minLength: 1, maxLength: 6 }), { minLength: 2, maxLength: 4 });
    const foreign = fc.option(fc.constantFrom(0, 1), { nil: undefined, freq: 2 });
    const crash = fc.option(fc.record({ at: fc.nat(12), fault: fc.constantFrom(...faults) }), { nil: undefined });
    await fc.assert(
      fc.asyncProperty(stacks, foreign, crash, async (plans, written, killed) => {
        const live = new Map<string, boolean>();
        const watch = await watchOf(stores(), [ONE, TWO]);
        const serve = async (plan: (typeof plans)[number], i: number): Promise<void> => {
          let serving = await claim(`s${i}`);
          for (const [n, { does, model, alias }] of plan.entries()) {
            const name = model ? ONE : TWO;
            const failing = i === 0 && n === 0 && killed;
            if (failing) await acting(faulty(newProcess(), failing.fault, failing.at).stores).catch(() => {});
            await acting(newProcess());

            async function acting(at: Stores): Promise<void> {
              if (does === "publish") await publish(serving, name, alias, at);
              else if (does === "withdraw") await withdrawModel(at, serving, name);
              else await destroy(serving, [], at);
            }
            if (does === "publish") live.set(`s${i} ${name}`, alias);
            else if (does === "withdraw") live.delete(`s${i} ${name}`);
            else {
              for (const one of [ONE, TWO]) live.delete(`s${i} ${one}`);
              serving = await claim(`s${i}`);
            }
          }
          servings.push(serving);
        };
        const servings: Serving[] = [];
        const key = written === undefined ? undefined : (aliasKeys(ONE)[written] as string);
        await Promise.all([...plans.map(serve), ...(key ? [write(key, "{}")] : [])]);
        const revision = key && (await stores().etcd.get(key))?.modRevision;

        for (const model of [ONE, TWO]) {
          const wanted = [...live].filter(([name]) => name.endsWith(` ${model}`));
          assert.deepEqual(((await view())[model] ?? []).toSorted(), wanted.map(([name]) => name.split(" ")[0]).sort());
          const state = await readModel(stores().etcd, model);
          const asking = wanted.filter(([, alias]) => alias).map(([name]) => `${realm}/${name.split(" ")[0]}`);
          const holder = state.registrations.find(({ generation }) => generation === state.record?.holder);
          assert.equal(asking.length === 0, state.record === undefined);
          if (asking.length > 0) assert.ok(asking.includes(holder?.logicalName ?? ""), "the keys have no live holder");
          if (model === ONE && key) assert.ok(![...state.ours].some((entry) => entry.key === key), "overwritten");
          const left = state.foreign.length;
          assert.equal(state.ours.length, asking.length > 0 ? 2 - left : 0);
          await assertSound(model, "in the end");
        }
        for (const serving of servings) await destroy(serving, []);
        if (key) {
          assert.equal((await stores().etcd.get(key))?.modRevision, revision, "a foreign value was touched");
          await remove(key);
        }
        await watch.done();
      }),
      { seed, numRuns: Number(process.env.RINGFENCE_MODELS_RUNS ?? 4), endOnFailure: true },
    );
  });
});
