import assert from "node:assert/strict";
import fc from "fast-check";
import type { Stores } from "../../components/tenancy/access.ts";
import { seed, seedText } from "../support/sample.ts";
import { type Fault, faults, faulty } from "./faults.ts";
import { newLedger, newProcess, newRealm, provision, type Tenant, tidy } from "./scene.ts";
import { assertIs, newState, passActs, plans, refresh, SHARE, type State, up, type Wanted } from "./topology-engine.ts";

/** Random sequences, and the most steps of one. */
const SEQUENCES = 3;
const STEPS = 4;

describe(`a tenant's topology, through faults and rivals (${seedText})`, () => {
  let stores: Stores;
  const realm = newRealm();

  before(() => {
    stores = newProcess();
  });
  after(tidy);

  /** Runs to its end what was interrupted, as often as a person would. */
  async function settle(tenant: Tenant, state: State, wanted: Wanted): Promise<void> {
    await passActs(stores, tenant);
    const next = newProcess();
    await refresh(next, tenant, state);
    await up(next, tenant, state, wanted);
  }

  it("is what the last accepted spec says, whatever came before", async () => {
    const name = fc.constantFrom(...(Object.keys(plans) as Array<keyof typeof plans>));
    const phase = fc.constantFrom<Wanted["phase"]>("Running", "Paused");
    const step = fc.oneof(
      fc.record({ kind: fc.constant("up" as const), name, phase }),
      fc.record({
        kind: fc.constant("crash" as const),
        name,
        phase,
        at: fc.integer({ min: 0, max: 60 }),
        fault: fc.constantFrom<Fault>(...faults),
      }),
      fc.record({ kind: fc.constant("concurrent" as const), names: fc.tuple(name, name), phase, keep: fc.nat(1) }),
    );
    const sequence = fc.tuple(fc.array(step, { minLength: 2, maxLength: STEPS }), name, phase);
    // One tenant for all: from wherever a sequence left it, the next one goes on.
    const tenant = await provision(stores, await newLedger(stores), `${realm}/flow`, SHARE);
    let state = newState();
    const property = fc.asyncProperty(sequence, async ([steps, last, lastPhase]) => {
      for (const each of steps) {
        await passActs(stores, tenant);
        if (each.kind === "concurrent") {
          const states = each.names.map(() => structuredClone(state));
          const before = state.topology?.plan.digest;
          const attempts = each.names.map((wanted, i) =>
            up(newProcess(), tenant, states[i] ?? assert.fail(), { plan: plans[wanted], phase: each.phase }),
          );
          const results = await Promise.allSettled(attempts);
          // Whichever machine saved Pulumi's state last.
          state = states[each.keep] ?? assert.fail();
          const won = each.names.filter((_, i) => results[i]?.status === "fulfilled");
          // What changes nothing may have been done before the other one began.
          const edits = new Set(won.filter((wanted) => plans[wanted].digest !== before));
          assert(edits.size <= 1, `both of ${each.names} were let through`);
          continue;
        }
        const wanted = { plan: plans[each.name], phase: each.phase };
        if (each.kind === "crash") {
          const failing = faulty(newProcess(), each.fault, each.at);
          await up(failing.stores, tenant, state, wanted).catch(() => undefined);
        } else {
          await settle(tenant, state, wanted);
          await assertIs(stores, tenant, wanted.plan);
        }
      }
      await settle(tenant, state, { plan: plans[last], phase: lastPhase });
      await assertIs(stores, tenant, plans[last]);
    });
    await fc.assert(property, { seed, numRuns: SEQUENCES, endOnFailure: true });
  });
});
