import assert from "node:assert/strict";
import { cpSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Snapshot } from "../../components/tenancy/outside.ts";
import { listClaims } from "../../components/tenancy/registry.ts";
import { layout } from "../../dev/platform/layout.ts";
import { until } from "../../dev/platform/wait.ts";
import { assertUntouched, findings, OwnPlatform, Project, ROOT, STACK, snapshot, withStores } from "./scene.ts";
import { publishAsTenant, type TenantEtcd, type TenantNats, writeAsTenant } from "./tenant.ts";

const vertices = { worker: { image: "registry.example.com/worker:1" } };

/** The commands of a section of docs/runbook.md. */
function commandsOf(heading: string): string {
  const runbook = readFileSync(join(ROOT, "docs/runbook.md"), "utf8");
  const [, section] = runbook.split(`\n## ${heading}\n`);
  const [, commands] = /```sh\n([\s\S]*?)```/.exec(section?.split("\n## ")[0] ?? "") ?? [];
  return commands ?? assert.fail(`docs/runbook.md has no commands under '${heading}'`);
}

interface Pipeline {
  namespace: string;
  etcd: TenantEtcd;
  nats: TenantNats;
}

/** Each thing is brought about on one platform; then the commands that docs/runbook.md has for it are run as they stand. */
describe("docs/runbook.md", () => {
  let platform: OwnPlatform;
  let project: Project;
  let outside: Snapshot;

  before(async () => {
    platform = await OwnPlatform.up();
    project = new Project(platform.env, { pipelines: { chat: { vertices } } });
    await project.pulumi("stack", "init");
    outside = await snapshot(platform.env);
  });
  after(async () => {
    project?.close();
    await platform?.close();
  });

  const runbook = async (heading: string): Promise<string> => {
    const { code, output } = await project.run("bash", "-euo", "pipefail", "-c", commandsOf(heading));
    assert.equal(code, 0, output);
    return output;
  };
  /** What the page says to do about a file that the kill tore: it is seldom enough to be no command of its own. */
  const dropWhatIsTorn = () => {
    const attributes = join(project.directory, "state/.pulumi/stacks/ringfence", `${STACK}.json.attrs`);
    try {
      JSON.parse(readFileSync(attributes, "utf8"));
    } catch {
      rmSync(attributes, { force: true });
    }
  };
  const up = () => project.pulumi("up", "--yes", "--skip-preview");
  const configure = (...names: string[]) =>
    project.configure({ pipelines: Object.fromEntries(names.map((name) => [name, { vertices }])) });
  const pipeline = async (name: string): Promise<Pipeline> =>
    JSON.parse((await project.pulumi("stack", "output", "--json", "--show-secrets")).stdout).pipelines[name];
  const assertServed = async ({ etcd, nats }: Pipeline) => {
    await writeAsTenant(etcd, `${etcd.prefix}greeting`);
    await publishAsTenant(nats, "greeting");
  };
  const tenants = () =>
    withStores(platform.env, async ({ etcd }) => (await listClaims(etcd)).map(({ logicalName }) => logicalName));
  const kubectl = async (...args: string[]) => {
    const { code, output } = await project.run("kubectl", ...args);
    assert.equal(code, 0, output);
    return output;
  };

  it("has a killed up carried on with", async () => {
    const running = project.pulumiSpawn("up", "--yes", "--skip-preview");
    await running.reaches("the name to be claimed", async () => (await tenants()).length > 0);
    running.child.kill("SIGKILL");
    await running.ended;
    dropWhatIsTorn();
    assert.match(await runbook("A command was killed"), /1 tenants, residue 0/);
    await assertServed(await pipeline("chat"));
  });

  it("has credentials changed, and the old ones ended", async () => {
    const old = await pipeline("chat");
    await runbook("Credentials are to be changed");
    const now = await pipeline("chat");
    await assertServed(now);
    assert.equal(now.nats.account, old.nats.account);
    assert.equal(now.etcd.prefix, old.etcd.prefix);
    await assert.rejects(writeAsTenant(old.etcd, `${old.etcd.prefix}late`), /authentication failed/);
    await assert.rejects(publishAsTenant(old.nats, "late"), /Authorization Violation/);
    await until({
      what: "the last pod with the old ones to be gone",
      within: 120,
      attempt: async () => {
        const found = await kubectl("get", "pods", "-n", now.namespace, "-o", "jsonpath={..metadata.annotations}");
        assert.equal(new Set(found.match(/"ringfence.dev\/credentials":"\w+"/g)).size, 1, found);
      },
    });
    await project.pulumi("up", "--yes", "--skip-preview", "--refresh", "--expect-no-changes");
  });

  it("has another realm refused at preview", async () => {
    const realm = `${project.realm}-2`;
    project.configure({ realm, pipelines: { chat: { vertices, rotation: "2026-11" } } });
    const output = await project.refused("preview");
    assert.match(output, new RegExp(`logicalName would become '${realm}/chat' .* set 'allowReplace: true'`));
  });

  it("has a restored etcd agree with the state again", async () => {
    configure("chat", "before");
    await up();
    const data = layout(platform.home).dataOf("etcd");
    const backup = join(project.directory, "backup");
    await platform.stop("etcd");
    cpSync(data, backup, { recursive: true });
    await platform.start("etcd");
    configure("chat", "one", "two");
    await up();
    const one = await pipeline("one");
    await assertServed(one);

    await platform.stop("etcd");
    rmSync(data, { recursive: true });
    cpSync(backup, data, { recursive: true });
    await platform.start("etcd");
    for (const command of [["preview"], ["up", "--yes", "--skip-preview"], ["refresh", "--yes", "--skip-preview"]]) {
      const output = await project.refused(...command);
      assert.match(
        output,
        new RegExp(`tenant '${project.realm}/(one|two)', .*ringfence adopt --from-state state.json`),
      );
      assert.doesNotMatch(output, /replac|\+ .*TenantClaim/);
    }
    const output = await runbook("etcd was restored from a backup");
    for (const name of ["one", "two"])
      assert.match(output, new RegExp(`${project.realm}/${name} +\\w+ +claimed again`));
    assert.match(output, new RegExp(`${project.realm}/chat +\\w+ +is claimed`));
    assert.match(output, new RegExp(`released ${project.realm}/before: .*; residue 0`));
    assert.match(output, /3 tenants, residue 0/);
    await assertServed(one);
  });

  it("has everything in etcd and NATS removed although the cluster is gone", async () => {
    const { namespace } = await pipeline("chat");
    await platform.stop("kube-apiserver");
    const output = await runbook("The cluster is gone");
    assert.match(output, new RegExp(`released ${project.realm}/chat: .*; residue 0; .* was not looked at`));
    assert.deepEqual(await project.resources(), []);
    await platform.start("kube-apiserver");
    const left = (await findings(platform.env)).map(({ kind, name }) => `${kind} ${name}`);
    assert(left.includes(`namespace ${namespace}`), left.join());
    await kubectl("delete", "namespace", ...left.map((each) => each.replace("namespace ", "")));
    // Nodes that nobody heard of for too long are tainted until they are heard of again.
    const asBefore = () => assertUntouched(platform.env, outside);
    await until({ what: "the cluster to be as it was", within: 180, attempt: asBefore });
  });

  it("has the claims of a lost state swept", async () => {
    configure("chat");
    await up();
    await project.pulumi("stack", "rm", "--yes", "--force");
    assert.match(await runbook("The state was lost"), new RegExp(`released ${project.realm}/chat: .*; residue 0`));
    await assertUntouched(platform.env, outside);
  });
});
