import assert from "node:assert/strict";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Snapshot } from "../../components/tenancy/outside.ts";
import { keys, listClaims } from "../../components/tenancy/registry.ts";
import { assertUntouched, Project, type Resource, ROOT, snapshot, withStores } from "./scene.ts";

const worker = { image: "registry.example.com/worker:1" };
const pipelines = { chat: { vertices: { worker } } };

describe("ringfence sweep", () => {
  const { env } = process;
  let outside: Snapshot;
  /** Two stacks of the same project and stack name, in backends of their own. */
  let kept: Project;
  let lost: Project;

  before(async () => {
    outside = await snapshot(env);
    kept = new Project(env, { pipelines });
    lost = new Project(env, { pipelines });
    for (const project of [kept, lost]) {
      await project.pulumi("stack", "init");
      await project.pulumi("up", "--yes", "--skip-preview");
    }
  });
  after(() => {
    for (const project of [kept, lost]) project?.close();
  });

  const sweep = async (code: number, ...args: string[]) => kept.ringfence(code, "sweep", ...args);
  const claimOf = ({ realm }: Project) =>
    withStores(env, async ({ etcd }) =>
      (await listClaims(etcd)).find(({ logicalName }) => logicalName === `${realm}/chat`),
    );
  /** As the table and Pulumi's state have it. */
  const idOf = async (project: Project) => {
    const { logicalName, claim } = (await claimOf(project)) ?? assert.fail("it has no claim");
    return `${logicalName}#${claim.generation}`;
  };
  const rename = async (stack: string, name: string) => {
    const { code, output } = await kept.run("pulumi", "stack", "rename", name, "--stack", stack, "--non-interactive");
    assert.equal(code, 0, output);
  };
  const stateOf = (project: Project) => join(project.directory, "state");

  it("lists nothing while every claim is in its stack's state", async () => {
    const { stdout } = await sweep(0, "--yes");
    assert.equal(stdout, "2 claims: 2 held by a stack, 0 external, 0 lost, 0 owner unknown\n");
  });

  it("finds a stack that was renamed, be it into another project", async () => {
    const [from, to] = ["organization/ringfence/dev", "organization/elsewhere/prod"];
    await rename(from, to);
    assert.match((await sweep(0, "--dry-run")).stdout, /^2 claims: 2 held by a stack/);
    await rename(to, from);
  });

  it("takes a creation that has begun for a holder", async () => {
    const file = join(stateOf(kept), ".pulumi/stacks/ringfence/dev.json");
    const text = readFileSync(file, "utf8");
    const { version, checkpoint } = JSON.parse(text);
    const { resources, ...latest } = checkpoint.latest;
    const at = resources.findIndex(({ type }: Resource) => type.endsWith(":TenantClaim"));
    const { urn, type, custom, inputs, parent } = resources[at];
    const creating = { type: "creating", resource: { urn, type, custom, inputs, parent } };
    // As it is when pulumi is killed in the claim's create: pulumi itself imports no pending operation.
    const note = (operations: object[]) => {
      const state = { ...latest, resources: resources.slice(0, at), pending_operations: operations };
      writeFileSync(file, JSON.stringify({ version, checkpoint: { ...checkpoint, latest: state } }));
    };
    note([creating]);
    assert.match((await sweep(0, "--dry-run")).stdout, /^2 claims: 2 held by a stack/);
    note([]);
    assert.match((await sweep(0, "--dry-run")).stdout, /^2 claims: 1 held by a stack, .* 1 lost,/m);
    writeFileSync(file, text);
  });

  it("leaves alone what it cannot read the state of, and says why", async () => {
    const [state, away] = [stateOf(kept), join(kept.directory, "away")];
    const id = await idOf(kept);
    const unknown = async (why: RegExp, sweeping = sweep(0, "--yes")) => {
      const { stdout } = await sweeping;
      const [line] = stdout.split("\n").filter((each) => each.startsWith(id));
      assert.match(line ?? stdout, /^\S+ +active +ringfence\/dev +owner unknown +/);
      assert.match(line ?? "", why);
      assert.match(stdout, /^2 claims: 1 held by a stack, 0 external, 0 lost, 1 owner unknown$/m);
    };
    renameSync(state, away);
    await unknown(/state\/\.pulumi\/stacks does not exist$/);
    // Nothing is mounted where it was, or something else is.
    mkdirSync(join(state, ".pulumi", "stacks"), { recursive: true });
    await unknown(/has no trace of ledger [-\w]+: it may not be the one that was recorded$/);
    rmSync(state, { recursive: true });
    renameSync(away, state);

    // As if the stack had got another name that cannot be read.
    await kept.pulumi("stack", "rename", "organization/elsewhere/prod");
    const bin = join(kept.directory, "bin");
    const { stdout: pulumi } = await kept.run("which", "pulumi");
    const script = [
      "#!/bin/sh",
      'case "$*" in *export*elsewhere*) echo "error: no access" >&2; exit 1;; esac',
      `exec ${pulumi.trim()} "$@"`,
    ];
    mkdirSync(bin);
    writeFileSync(join(bin, "pulumi"), script.join("\n"), { mode: 0o755 });
    // Not by bin.js, which puts npm's pulumi first.
    const ringfence = [process.execPath, join(ROOT, "cli/main.ts")];
    const blind = kept.run("env", `PATH=${bin}:${env.PATH}`, ...ringfence, "sweep", "--yes");
    await unknown(/pulumi stack export --stack organization\/elsewhere\/prod: error: no access \(file:/, blind);
    await rename("organization/elsewhere/prod", "organization/ringfence/dev");
  });

  it("releases no claim that has an owner, even by its id", async () => {
    const id = await idOf(kept);
    const held = await sweep(1, "--claim", id, "--yes");
    assert.match(held.output, /error: --claim \S+: stack 'organization\/ringfence\/dev' holds it: destroy it there$/m);
    const other = await sweep(1, "--claim", `${id}0`, "--yes");
    assert.match(other.output, /: no such claim; /);
    assert(await claimOf(kept));
  });

  it("releases what a removed stack has left, once it is told to, and nothing else", async () => {
    const id = await idOf(lost);
    const owner = (await claimOf(lost))?.claim.owner ?? "";
    await lost.pulumi("stack", "rm", "--force", "--yes");
    for (const [code, ...args] of [[0, "--dry-run"], [1]] as const) {
      const { output } = await sweep(code, ...args);
      assert.match(
        output,
        new RegExp(`^${id} +active +ringfence/dev +lost +no stack in file://${stateOf(lost)} has it$`, "m"),
      );
      assert.match(output, new RegExp(`^to be released, with all data:\n  ${id}$`, "m"));
      if (code === 1) assert.match(output, /^nothing was released: run again with --yes$/m);
      assert(await claimOf(lost));
    }
    const { stdout } = await sweep(0, "--yes");
    assert.match(stdout, new RegExp(`^released ${lost.realm}/chat: .*1 account, 1 namespace; residue 0`, "m"));
    assert.equal(await claimOf(lost), undefined);
    await withStores(env, async ({ etcd }) => assert.equal(await etcd.get(keys.stack(owner)), undefined));
    await kept.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes");
  });

  it("releases what nobody knows the owner of by its id only, and its stack carries on", async () => {
    const [state, away] = [stateOf(kept), join(kept.directory, "away")];
    renameSync(state, away);
    const { stdout } = await sweep(0, "--yes", "--claim", await idOf(kept));
    assert.match(stdout, new RegExp(`^released ${kept.realm}/chat: .*; residue 0`, "m"));
    renameSync(away, state);
    await kept.pulumi("destroy", "--yes", "--skip-preview");
    await assertUntouched(env, outside);
  });
});
