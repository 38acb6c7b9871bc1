import assert from "node:assert/strict";
import type { Snapshot } from "../../components/tenancy/outside.ts";
import { readClaim } from "../../components/tenancy/registry.ts";
import { assertUntouched, chat, Project, STACK, snapshot, withStores } from "./scene.ts";

/** Two people with the same project and the same stack, each with a backend of their own. */
describe("whose a tenant is", () => {
  const { env } = process;
  let outside: Snapshot;
  let mine: Project;
  let theirs: Project;

  before(async () => {
    outside = await snapshot(env);
    mine = new Project(env, { pipelines: { chat } });
    theirs = new Project(env, { realm: mine.realm, pipelines: { chat } });
    for (const project of [mine, theirs]) await project.pulumi("stack", "init");
  });
  after(() => {
    mine.close();
    theirs.close();
  });

  const generation = () =>
    withStores(env, async ({ etcd }) => (await readClaim(etcd, `${mine.realm}/chat`))?.claim.generation);

  it("is told by no name: the same project and stack in another backend are refused, and destroy nothing", async () => {
    await mine.pulumi("up", "--yes", "--skip-preview");
    const claimed = await generation();
    const output = await theirs.refused("up", "--yes", "--skip-preview");
    assert.match(
      output,
      new RegExp(
        `tenant '${mine.realm}/chat' is held by project 'ringfence', stack '${STACK}', resource 'chat': choose another name`,
      ),
    );
    await theirs.pulumi("destroy", "--yes", "--skip-preview");
    assert.equal(await generation(), claimed);
  });

  it("is not changed by another name of the stack", async () => {
    const claimed = await generation();
    await mine.pulumi("stack", "rename", "renamed");
    await mine.run("pulumi", "stack", "rename", STACK, "--stack", "renamed", "--non-interactive");
    const { output } = await mine.pulumi("preview", "--diff");
    assert.doesNotMatch(output, /replace|delete|create/i);
    assert.equal(await generation(), claimed);
  });

  it("is kept while it is protected", async () => {
    const resources = await mine.resources();
    await mine.pulumi("state", "protect", "--all", "--yes");
    const output = await mine.refused("destroy", "--yes", "--skip-preview");
    assert.match(output, /protected/);
    assert.notEqual(await generation(), undefined);
    assert.equal((await mine.resources()).length, resources.length, "nothing was deleted");
    await mine.pulumi("state", "unprotect", "--all", "--yes");
    await mine.pulumi("destroy", "--yes", "--skip-preview");
    await assertUntouched(env, outside);
  });
});
