import assert from "node:assert/strict";
import type { Etcd3 } from "etcd3";
import { compareSnapshots, type Snapshot } from "../../components/tenancy/outside.ts";
import { listClaims } from "../../components/tenancy/registry.ts";
import { closeRoots, sharedRoot, Worker } from "../tenancy/dynamo.ts";
import { assertUntouched, findings, Project, snapshot, withStores } from "./scene.ts";

const vertices = { worker: { image: "registry.example.com/worker:1" } };

/** A deployment that was there before Ringfence, at etcd's root, beside another one. */
describe("ringfence adopt", () => {
  const { env } = process;
  let root: Etcd3;
  let empty: Snapshot;
  let outside: Snapshot;
  let project: Project;
  let chat: Worker;
  let neighbour: Worker;

  before(async () => {
    root = sharedRoot();
    empty = await snapshot(env);
    neighbour = await Worker.start(root, { namespace: "legacy-chat", model: "org/other", engine: "engine-other" });
    outside = await snapshot(env);
    chat = await Worker.start(root, { namespace: "legacy", model: "org/model", engine: "engine-chat" });
    project = new Project(env, { pipelines: { chat: { vertices } } });
    await project.pulumi("stack", "init");
  });
  after(async () => {
    await closeRoots();
    project?.close();
  });

  const name = () => `${project.realm}/chat`;
  /** The keys of a deployment that tell whose they are. */
  const told = ({ keys }: Worker) => keys.filter((key) => key.told !== "nothing");
  /** What is left of it in etcd. */
  const left = async (worker: Worker) => {
    const found = await Promise.all(told(worker).map(async ({ key }) => ((await root.get(key).exists()) ? [key] : [])));
    return found.flat();
  };
  /** What Dynamo leaves and nothing tells the owner of is for people to remove. */
  const removeUntold = async ({ keys }: Worker) => {
    for (const { key } of keys.filter((each) => each.told === "nothing")) await root.delete().key(key);
  };
  const dynamoFindings = async () =>
    (await findings(env)).filter(({ kind }) => kind === "dynamo").map((each) => each.name);

  it("is what the audit asks for", async () => assert.deepEqual(await dynamoFindings(), ["legacy", "legacy-chat"]));

  it("counts what a deployment has in each layout, while its workers serve on", async () => {
    for (const time of ["once", "again"]) {
      const { stdout } = await project.ringfence(0, "adopt", name(), "--dynamo-namespace", "legacy");
      assert.match(stdout, /^KEYS BELOW +COUNT\n/, time);
      for (const prefix of ["v1/instances/legacy/", "instances/legacy/", "legacy/components/", "public/components/"])
        assert.match(stdout, new RegExp(`^${prefix} +1$`, "m"));
      assert.match(stdout, new RegExp(`^${name()} has ${told(chat).length} keys of legacy, and is external: `, "m"));
      assert.match(stdout, /^next: bring pipeline 'chat' up with 'adopt: true'/m);
    }
    assert.equal(await chat.isServing(root), true);
    assert.equal((await left(chat)).length, told(chat).length);
    assert.deepEqual(await dynamoFindings(), ["legacy-chat"]);
  });

  it("refuses what is adopted already, and what is no name", async () => {
    const other = await project.ringfence(1, "adopt", `${project.realm}/other`, "--dynamo-namespace", "legacy");
    assert.match(other.output, /^error: tenant '\S+\/other' .*a deployment from outside/m);
    const wrong = await project.ringfence(1, "adopt", "Chat", "--dynamo-namespace", "legacy");
    assert.match(wrong.output, /^error: 'Chat' has the segment 'Chat', .*; a logical name is <realm>\/<pipeline>$/m);
    assert.match((await project.ringfence(1, "adopt", name())).output, /--dynamo-namespace/);
  });

  it("keeps it from every sweep", async () => {
    const { stdout } = await project.ringfence(0, "sweep", "--yes");
    const [id] = stdout.match(new RegExp(`^${name()}#\\w+(?= +active +\\S.* external +)`, "m")) ?? assert.fail(stdout);
    const { output } = await project.ringfence(1, "sweep", "--yes", "--claim", id);
    assert.match(output, /: is external, and sweep never takes such a claim: bring it up with 'adopt: true'/);
    assert.equal((await left(chat)).length, told(chat).length);
  });

  it("is taken over by a pipeline that says so, and by no other", async () => {
    assert.match(
      await project.refused("up", "--yes", "--skip-preview"),
      /a deployment from outside.* set 'adopt: true'/s,
    );
    project.configure({ pipelines: { chat: { vertices, adopt: true } } });
    await project.pulumi("up", "--yes", "--skip-preview");
    assert.equal(await chat.isServing(root), true);
    assert.equal((await left(chat)).length, told(chat).length);
  });

  it("goes with that pipeline, and its neighbour stays", async () => {
    await project.pulumi("destroy", "--yes", "--skip-preview");
    assert.deepEqual(await left(chat), []);
    assert.equal(await chat.isServing(root), false, "a worker whose lease is gone shuts down");
    assert.equal(await neighbour.isServing(root), true);
    await removeUntold(chat);
    assert.deepEqual(compareSnapshots(outside, await snapshot(env)), []);
    assert.deepEqual(await withStores(env, ({ etcd }) => listClaims(etcd)), []);

    await neighbour.stop();
    await removeUntold(neighbour);
    for (const key of await left(neighbour)) await root.delete().key(key);
    await assertUntouched(env, empty);
  });
});
