import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { textsOf } from "../observability/xml.ts";
import { chat, Project } from "./scene.ts";

describe("ringfence map and ringfence audit --metrics", () => {
  let project: Project;

  before(async () => {
    project = new Project(process.env, { pipelines: { chat } });
    await project.pulumi("stack", "init");
    await project.pulumi("up", "--yes", "--skip-preview");
  });
  after(() => project?.close());

  it("draws the stack that is up, from its state", async () => {
    const { stdout } = await project.ringfence(0, "map", "--stack", "dev");
    const { deployment } = JSON.parse((await project.pulumi("stack", "export")).stdout);
    const claim = deployment.resources.find(({ type }: { type: string }) => type.endsWith(":TenantClaim")).outputs;
    const texts = textsOf(stdout);
    for (const expected of [
      "chat (Running)",
      `${project.realm}/chat, in namespace ${claim.namespace}`,
      "network closed, but for the arrows",
      "frontend",
      "listens: http 8000",
      "any pod of the cluster",
      "worker",
      "1 of 1 pod ready",
      "1 GPU each, on h100",
      claim.prefix,
      "GPU pool h100: 1 GPU in use",
    ])
      assert.ok(texts.includes(expected), `'${expected}' is not among ${texts.join(" | ")}`);
  });

  it("draws an exported state, into a file", async () => {
    const [state, drawn] = [join(project.directory, "state.json"), join(project.directory, "map.svg")];
    await project.pulumi("stack", "export", "--file", state);
    await project.ringfence(0, "map", "--state", state, "--output", drawn);
    assert.ok(textsOf(readFileSync(drawn, "utf8")).includes("chat (Running)"));
  });

  it("says what is wrong with a state that is none, and draws nothing", async () => {
    const drawn = join(project.directory, "none.svg");
    const { output } = await project.ringfence(
      1,
      "map",
      "--state",
      join(project.directory, "Pulumi.yaml"),
      "--output",
      drawn,
    );
    assert.match(output, /^error: .*Pulumi\.yaml: expected the JSON of 'pulumi stack export'/m);
    assert.ok(!existsSync(drawn));
  });

  it("counts the tenant, and once it is destroyed neither tenant nor residue", async () => {
    const file = join(project.directory, "ringfence.prom");
    const measure = async () => {
      await project.ringfence(0, "audit", "--metrics", file);
      return readFileSync(file, "utf8");
    };
    assert.match(await measure(), /^ringfence_tenants\{state="active"\} 1$/m);
    await project.pulumi("destroy", "--yes", "--skip-preview");
    const after = await measure();
    assert.match(after, /^ringfence_tenants\{state="active"\} 0$/m);
    assert.doesNotMatch(after, /^ringfence_residue\S* [1-9]/m);
  });
});
