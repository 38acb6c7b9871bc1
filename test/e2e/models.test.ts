import assert from "node:assert/strict";
import { ALIAS_PREFIX } from "../../components/plan/models.ts";
import { until } from "../../components/stores/errors.ts";
import { listModels, type Registered } from "../../components/tenancy/models.ts";
import type { Snapshot } from "../../components/tenancy/outside.ts";
import { assertUntouched, chat, Project, snapshot, withStores } from "./scene.ts";

/** A model of a pipeline, through the engine. */
describe("a model route in a stack", () => {
  const { env } = process;
  let outside: Snapshot;
  let project: Project;
  let model: string;

  before(async () => {
    outside = await snapshot(env);
    project = new Project(env, { pipelines: {} });
    model = `${project.realm}/Llama-8B`;
    project.configure({ pipelines: { chat: { ...chat, models: { [model]: { legacyAlias: true } } } } });
    await project.pulumi("stack", "init");
  });
  after(() => project.close());

  const registered = (): Promise<Registered[]> =>
    withStores(env, async ({ etcd }) => (await listModels(etcd)).filter((one) => one.model === model)).then((served) =>
      served.flatMap(({ registrations }) => registrations),
    );
  const aliases = () =>
    withStores(env, async ({ etcd }) =>
      (await etcd.list(ALIAS_PREFIX))
        .filter(({ key }) => key.endsWith(`/${model}`))
        .map(({ value }) => JSON.parse(value)),
    );
  const deployments = async (namespace: string) => {
    const { code, output, stdout } = await project.run("kubectl", "get", "deployments", "-n", namespace, "-o", "json");
    assert.equal(code, 0, output);
    return (JSON.parse(stdout).items as Deployment[]).map(({ metadata, spec, status }) => ({
      name: metadata.name,
      ready: (status.readyReplicas ?? 0) >= spec.replicas,
    }));
  };
  /** Numbers of the lines in which the engine tells of a step with resources of a type. */
  const lines = (output: string, type: string, step: string): number[] =>
    output.split("\n").flatMap((line, i) => (line.includes(`:${type} `) && line.includes(` ${step} (`) ? [i] : []));

  it("is published when every vertex is ready, and not before", async () => {
    const up = project.pulumiSpawn("up", "--yes", "--skip-preview", "--policy-pack", "policy");
    const [seen] = await until(
      async () => {
        const found = await registered();
        if (found.length === 0 && !up.running) assert.fail(up.output);
        return found.length > 0 ? found : undefined;
      },
      { deadlineMs: 200_000, late: () => new Error(`nothing was published\n${up.output}`) },
    );
    // Asked while the up still runs: whatever was not ready before the publication may be so a moment later, but not missing.
    const vertices = await deployments(seen?.namespace ?? "");
    assert.deepEqual(vertices, [
      { name: "frontend", ready: true },
      { name: "worker", ready: true },
    ]);
    const { code, output } = await up.ended;
    assert.equal(code, 0, output);
    const [published = -1] = lines(output, "ModelRegistration", "creating");
    const made = lines(output, "Deployment", "created");
    assert.equal(made.length, 2, output);
    for (const line of made) assert.ok(line < published, output);
    const { url, namespace, dynamoNamespace, logicalName } = seen as Registered;
    assert.deepEqual(
      { url, dynamoNamespace, logicalName },
      { url: `http://frontend.${namespace}.svc:8000`, dynamoNamespace: "chat", logicalName: `${project.realm}/chat` },
    );
    assert.deepEqual(
      (await aliases()).map(({ ringfence }) => ringfence.url),
      [url, url],
    );
    await project.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes");
  });

  it("is withdrawn before the first vertex goes", async () => {
    const { output } = await project.pulumi("destroy", "--yes", "--skip-preview");
    const [withdrawn = Number.POSITIVE_INFINITY] = lines(output, "ModelRegistration", "deleted");
    const going = lines(output, "Deployment", "deleting");
    assert.ok(going.length >= 2, output);
    for (const line of going) assert.ok(withdrawn < line, output);
    assert.deepEqual([await registered(), await aliases()], [[], []]);
    await assertUntouched(env, outside);
  });
});

interface Deployment {
  metadata: { name: string };
  spec: { replicas: number };
  status: { readyReplicas?: number };
}
