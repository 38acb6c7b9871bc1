import assert from "node:assert/strict";
import type { Snapshot } from "../../components/tenancy/outside.ts";
import { moveEtcd, rotateAdminPassword } from "../../dev/platform/index.ts";
import { timed } from "../support/patience.ts";
import { assertUntouched, chat, findings, OwnPlatform, Project, snapshot } from "./scene.ts";

/** What a command may take to name a server that is down, milliseconds: the promise is 30 s, of a machine that does nothing else. */
const NAMED_WITHIN = 60_000;

/** What an error has to call each server. */
const names: Record<string, RegExp> = {
  etcd: /etcd at http:\/\/127\.0\.0\.1:\d+/,
  nats: /NATS at nats:\/\/127\.0\.0\.1:\d+/,
};

describe("a server that is down", () => {
  let platform: OwnPlatform;
  let project: Project;
  let outside: Snapshot;

  before(async () => {
    platform = await OwnPlatform.up();
    project = new Project(platform.env, { pipelines: { chat } });
    await project.pulumi("stack", "init");
    outside = await snapshot(platform.env);
  });
  after(async () => {
    project?.close();
    await platform?.close();
  });

  /** Runs a command that has to fail in time, naming the server. */
  const failsBecauseOf = async (server: string, ...args: string[]) => {
    await platform.stop(server);
    const { result: output, ms } = await timed(project.refused(...args));
    assert(ms < NAMED_WITHIN, `${ms} ms`);
    assert.match(output, names[server] ?? assert.fail());
    assert.match(output, /does not answer/);
    await platform.start(server);
  };
  const identities = async () => (await project.resources()).map(({ urn, id }) => [urn, id]);
  const claimed = async () => (await project.resources()).some(({ type }) => type.endsWith(":TenantClaim"));

  for (const server of Object.keys(names)) {
    it(`fails an up that needs ${server}, and the next one finishes`, async () => {
      await failsBecauseOf(server, "up", "--yes", "--skip-preview");
      await project.pulumi("up", "--yes", "--skip-preview");
      assert.deepEqual(await findings(platform.env), []);
    });

    it(`fails a refresh that needs ${server}, which loses nothing`, async () => {
      const before = await identities();
      await failsBecauseOf(server, "refresh", "--yes", "--skip-preview");
      assert.deepEqual(await identities(), before);
    });

    it(`fails a destroy that needs ${server} with the state kept, and the next one finishes`, async () => {
      await failsBecauseOf(server, "destroy", "--yes", "--skip-preview");
      assert(await claimed());
      await project.pulumi("destroy", "--yes", "--skip-preview");
      assert.deepEqual(await project.resources(), []);
      await assertUntouched(platform.env, outside);
    });
  }

  it("may move, and the admin's password change: a plain destroy finds the way", async () => {
    await project.pulumi("up", "--yes", "--skip-preview");
    await rotateAdminPassword({ home: platform.home });
    await moveEtcd({ home: platform.home, tools: platform.tools });
    await project.pulumi("destroy", "--yes", "--skip-preview");
    assert.deepEqual(await project.resources(), []);
    await assertUntouched(platform.env, outside);
  });
});
