import assert from "node:assert/strict";
import type { Snapshot } from "../../components/tenancy/outside.ts";
import { listClaims } from "../../components/tenancy/registry.ts";
import { assertUntouched, OwnPlatform, type Resource, snapshot, withStores } from "../e2e/scene.ts";
import { releases, World } from "./world.ts";

for (const release of releases)
  describe(`a stack of version ${release}`, () => {
    let world: World;
    let outside: Snapshot;
    const closing: Array<() => unknown> = [];

    // Physical names are never used twice, so each world has a platform of its own.
    beforeEach(async () => {
      const platform = await OwnPlatform.up();
      closing.push(() => platform.close());
      outside = await snapshot(platform.env);
      world = await World.rebuild(platform, release);
      closing.push(() => world.close());
    });
    afterEach(async () => {
      for (const close of closing.splice(0)) await close();
    });

    const claims = async () =>
      (await withStores(world.env, ({ etcd }) => listClaims(etcd))).map(({ logicalName, claim }) => ({
        logicalName,
        state: claim.state,
        generation: claim.generation,
        accounts: claim.accounts,
      }));
    const idsOf = (resources: Resource[]) => Object.fromEntries(resources.map(({ urn, id }) => [urn, id]));

    it("is brought up to date with its tenant and its data, and then destroyed", async () => {
      const { project } = world;
      const before = { claims: await claims(), ids: idsOf(await project.resources()) };
      await world.assertDataIsThere();

      const { steps } = JSON.parse((await project.pulumi("preview", "--json")).stdout) as { steps: Step[] };
      assert.deepEqual(
        steps.filter(({ op }) => /replace|delete/.test(op)).map(({ op, urn }) => `${op} ${urn}`),
        [],
      );
      await project.pulumi("up", "--yes", "--skip-preview");
      assert.deepEqual(await claims(), before.claims);
      const after = idsOf(await project.resources());
      assert.deepEqual({ ...after, ...before.ids }, after, "what was there has the ids that it had");
      await world.assertDataIsThere();
      await project.pulumi("preview", "--expect-no-changes");

      const { output } = await project.pulumi("destroy", "--yes", "--skip-preview");
      assert.match(output, /released upgrade\/chat: 1 key, .*1 account, 1 stream, 1 message.*; residue 0/);
      await assertUntouched(world.env, outside);
    });

    it("is destroyed as it is, by the stubs that its state has", async () => {
      const { project } = world;
      const { output } = await project.pulumi("destroy", "--yes", "--skip-preview");
      assert.match(output, /released upgrade\/chat: 1 key, .*1 account, 1 stream, 1 message.*; residue 0/);
      assert.deepEqual(await project.resources(), []);
      await assertUntouched(world.env, outside);
    });
  });

interface Step {
  op: string;
  urn: string;
}
