import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { OWNER_LABEL } from "../../components/plan/labels.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import type { Snapshot } from "../../components/tenancy/outside.ts";
import { keys, listClaims } from "../../components/tenancy/registry.ts";
import { isAlive } from "../../dev/tools/lock.ts";
import { sampled, seedText } from "../support/sample.ts";
import { type Command, idle } from "./command.ts";
import { assertUntouched, chat, findings, OwnPlatform, Project, ROOT, STACK, snapshot, withStores } from "./scene.ts";

/** How far an `up` has come; each holds from then on, so that no look is too late. */
const moments: Record<string, (stores: Stores) => Promise<boolean>> = {
  "the ledger is recorded": async ({ etcd }) => (await etcd.list(keys.stacks)).length > 0,
  "the name is claimed": async ({ etcd }) => (await listClaims(etcd)).length > 0,
  "slots are being made": async ({ etcd }) => (await etcd.users()).length > 1,
  "the etcd user is handed out": async ({ etcd }) => (await listClaims(etcd)).some(({ claim }) => claim.made.etcd),
  "the namespace exists": async (stores) => (await (await stores.kubernetes()).namespaces(OWNER_LABEL)).length > 0,
};

/** As many as a run tries, drawn by the seed; all of them with RINGFENCE_KILLED=all. */
const some = (count: number): string[] => {
  const all = Object.keys(moments);
  return process.env.RINGFENCE_KILLED === "all" ? all : sampled(all, count);
};

describe(`a killed pulumi (${seedText})`, () => {
  let platform: OwnPlatform;
  let project: Project;
  let outside: Snapshot;

  before(async () => {
    platform = await OwnPlatform.up();
    project = new Project(platform.env, { pipelines: { chat } }, "platform");
    await project.pulumi("stack", "init");
    // Takes the snapshot that every destroy here is held to.
    await project.ringfence(0, "dev", "up");
    outside = await snapshot(platform.env);
  });
  after(async () => {
    project.close();
    await platform.close();
  });

  const look = <T>(work: (stores: Stores) => Promise<T>) => withStores(platform.env, work);
  const up = () => project.pulumiSpawn("up", "--yes", "--skip-preview");
  const providers = () => project.processes("cmd/dynamic-provider");

  /** The pids in the backend's locks, dead ones too. */
  const lockHolders = (): number[] => {
    const directory = join(platform.home, "state/.pulumi/locks/organization/ringfence", STACK);
    const files = existsSync(directory) ? readdirSync(directory).filter((file) => file.endsWith(".json")) : [];
    return files.map((file) => JSON.parse(readFileSync(join(directory, file), "utf8")).pid);
  };

  /** Waits until a condition holds and pulumi is at work. @returns pulumi's pid */
  const reached = async (command: Command, what: string, condition = moments[what] ?? assert.fail(what)) => {
    const working = () => lockHolders().find(isAlive);
    await look((stores) => command.reaches(what, async () => working() !== undefined && (await condition(stores))));
    return working() ?? assert.fail(command.output);
  };

  /** Kills pulumi alone: its provider lives on, and finishes what it was asked for. */
  const killAt = async (command: Command, what: string, condition?: (stores: Stores) => Promise<boolean>) => {
    process.kill(await reached(command, what, condition), "SIGKILL");
    assert.notEqual((await command.ended).code, 0, `was done before it could be killed\n${command.output}`);
  };

  for (const moment of some(2))
    it(`leaves nothing that a destroy straight away would not find: ${moment}`, async () => {
      await killAt(up(), moment);
      const { output } = await project.ringfence(0, "destroy");
      assert.match(output, /clearing the lock of a pulumi that is gone/);
      assert.match(output, /residue 0; 0 differences outside/);
    });

  it("is carried on from by the next start, as often as it is killed", async () => {
    for (const moment of some(3)) await killAt(project.spawn("node", join(ROOT, "cli/bin.js"), "start"), moment);
    const { output } = await project.ringfence(0, "start");
    assert.match(output, /clearing the lock of a pulumi that is gone/);
    assert.match(output, /frontend 1\/1, worker 1\/1/);
    assert.deepEqual(await findings(platform.env), []);
  });

  it("is carried on from when it was killed in the middle of a destroy", async () => {
    const destroy = project.pulumiSpawn("destroy", "--yes", "--skip-preview");
    const fenced = async ({ etcd }: Stores) => {
      const users = await etcd.users();
      return (await listClaims(etcd)).every(({ claim }) => !users.includes(claim.intents.username));
    };
    await killAt(destroy, "the etcd user is gone", fenced);
    await project.ringfence(0, "destroy");
    await assertUntouched(platform.env, outside);
  });

  it("is carried on from by an up as well when it was killed while a tenant was being released", async () => {
    await project.ringfence(0, "start");
    const destroy = project.pulumiSpawn("destroy", "--yes", "--skip-preview");
    const releasing = async ({ etcd }: Stores) =>
      (await listClaims(etcd)).every(({ claim }) => claim.state === "releasing");
    await killAt(destroy, "the tenant is being released, or was", releasing);
    const { output } = await project.ringfence(0, "start");
    assert.match(output, /frontend 1\/1, worker 1\/1/);
    assert.deepEqual(await findings(platform.env), []);
    await project.ringfence(0, "destroy");
    await assertUntouched(platform.env, outside);
  });

  it("can do no harm by a provider that wakes up after the destroy", async () => {
    const pushing = async ({ etcd }: Stores) =>
      (await listClaims(etcd)).some(({ claim }) => claim.open && claim.accounts.length > 0);
    /** @returns a provider that stands still in the middle of a push; undefined when it was done before it was seen, or stopped */
    const stopped = async (): Promise<number | undefined> => {
      const others = providers();
      const running = up();
      const pulumi = await reached(running, "the NATS account is being pushed", pushing).catch(async (missed) => {
        if ((await running.ended).code !== 0) throw missed;
        return undefined;
      });
      if (pulumi === undefined) {
        await project.ringfence(0, "destroy");
        return undefined;
      }
      const [zombie = assert.fail("no provider")] = providers().filter((pid) => !others.includes(pid));
      process.kill(pulumi, "SIGKILL");
      // Not before: what is stopped while its parent dies gets a SIGHUP.
      await once(running.child, "exit");
      process.kill(zombie, "SIGSTOP");
      if (await look(pushing)) return zombie;
      process.kill(zombie, "SIGCONT");
      await project.ringfence(0, "destroy");
      return undefined;
    };
    let zombie = await stopped();
    while (zombie === undefined) zombie = await stopped();
    await project.ringfence(0, "destroy");
    process.kill(zombie, "SIGCONT");
    await idle(zombie);
    await assertUntouched(platform.env, outside);
  });

  it("is never taken for dead while it lives", async () => {
    const running = up();
    const pulumi = await reached(running, "the name is claimed");
    process.kill(pulumi, "SIGSTOP");
    try {
      for (const command of ["start", "destroy"]) {
        const { output } = await project.ringfence(1, command);
        assert.match(output, /the stack is currently locked by 1 lock/);
        assert.match(output, new RegExp(`\\(pid ${pulumi}\\)`));
        assert.deepEqual(lockHolders(), [pulumi]);
      }
    } finally {
      process.kill(pulumi, "SIGCONT");
    }
    assert.equal((await running.ended).code, 0, running.output);
    await project.ringfence(0, "destroy");
    await assertUntouched(platform.env, outside);
  });
});
