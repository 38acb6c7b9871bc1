/** A plan that was saved, and applied after somebody else has changed the topology: the engine itself has to refuse it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { requireInside } from "../../components/tenancy/inside.ts";
import { topologyStatus } from "../../components/tenancy/topology-status.ts";
import { Project, withStores } from "./scene.ts";

describe("pulumi up --plan", () => {
  const env = { ...process.env, PULUMI_EXPERIMENTAL: "true" };
  const project = new Project(env, { pipelines: {} });
  after(() => project.close());

  const configure = (maxMessages: number) =>
    project.configure({
      pipelines: {
        flow: {
          vertices: {
            in: { image: "flow:1", kind: "source", replicas: 1 },
            out: { image: "flow:1", kind: "sink", replicas: 1 },
          },
          edges: [{ from: "in", to: "out", edge: "stream" }],
          buffers: { replicas: 1, maxMessages },
          lifecycle: { pauseGracePeriodSeconds: 1, deletionGracePeriodSeconds: 1 },
        },
      },
    });

  it("of an older topology generation is refused, and changes nothing", async () => {
    await project.pulumi("stack", "init");
    configure(40_000);
    await project.pulumi("up", "--yes", "--skip-preview");

    const plan = join(project.directory, "plan.json");
    configure(50_000);
    await project.pulumi("preview", "--save-plan", plan);
    configure(60_000);
    await project.pulumi("up", "--yes", "--skip-preview");

    configure(50_000);
    const output = await project.refused("up", "--yes", "--skip-preview", "--plan", plan);
    assert.match(output, /computedFrom/);
    const status = await withStores(env, async (stores) =>
      topologyStatus(stores, await requireInside(stores, `${project.realm}/flow`)),
    );
    assert.deepEqual([status?.generation, status?.agrees], [2, true]);
    await project.pulumi("destroy", "--yes", "--skip-preview");
  });
});
