import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { differencesOutside, rememberOutside } from "../../cli/outside.ts";
import { op } from "../../components/stores/etcd-txn.ts";
import { keys } from "../../components/tenancy/registry.ts";
import { temporary, withStores } from "./scene.ts";

/** `ringfence start` notes it, `ringfence destroy` is held to it. */
describe("the note of what is outside", () => {
  const { env } = process;
  const { RINGFENCE_HOME } = env;
  const home = temporary("outside");

  before(() => {
    env.RINGFENCE_HOME = home;
  });
  after(() => {
    if (RINGFENCE_HOME === undefined) delete env.RINGFENCE_HOME;
    else env.RINGFENCE_HOME = RINGFENCE_HOME;
    rmSync(home, { recursive: true });
  });

  it("has no record of a stack that a killed command left without a claim", () =>
    withStores(env, async (stores) => {
      const { etcd } = stores;
      const record = keys.stack("00000000-0000-4000-8000-000000000000");
      await rememberOutside(stores);
      await etcd.txn([], [op.put(record, JSON.stringify({ state: "closing", run: 1 }))]);
      try {
        await rememberOutside(stores);
      } finally {
        await etcd.txn([], [op.remove(record)]);
      }
      assert.deepEqual(await differencesOutside(stores), []);
    }));
});
