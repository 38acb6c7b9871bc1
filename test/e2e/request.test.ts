/** The demo pipeline, whose workers really run: requests to it, also while its Deployment is rolled. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { ask } from "../../cli/request.ts";
import { openStores, type Stores } from "../../components/tenancy/access.ts";
import { requireInside } from "../../components/tenancy/inside.ts";
import type { Snapshot } from "../../components/tenancy/outside.ts";
import { resolveAccess } from "../../components/tenancy/resolve-access.ts";
import { assertUntouched, Project, ROOT, STACK, snapshot } from "./scene.ts";
import { assertNoneIn, secretsOf } from "./secrets.ts";

describe("ringfence request", () => {
  const { env } = process;
  const { echo } = parse(readFileSync(join(ROOT, `Pulumi.${STACK}.yaml`), "utf8")).config["ringfence:pipelines"];
  const seen: Record<string, string> = {};
  let project: Project;
  let stores: Stores;
  let outside: Snapshot;

  before(async () => {
    outside = await snapshot(env);
    stores = openStores(resolveAccess("platform", () => undefined));
    project = new Project(env, { pools: {}, pipelines: { echo } });
    await project.pulumi("stack", "init");
    await project.pulumi("up", "--yes", "--skip-preview");
  });
  after(async () => {
    await stores?.close();
    project?.close();
  });

  const request = async (code: number, ...args: string[]) => {
    const ended = await project.ringfence(code, "request", `${project.realm}/echo`, ...args);
    seen[args.join(" ")] = ended.output;
    return ended;
  };

  it("prints the reply, and on stderr who gave it, how fast, and who was asked", async () => {
    const { stdout, output } = await request(0, '{"hello":"ring"}');
    const { echo: said, pod } = JSON.parse(stdout);
    assert.deepEqual(said, { hello: "ring" });
    assert.match(pod, /^worker-/);
    const path = new RegExp(
      `^answered in [\\d.]+ ms, discovery included: ${project.realm}/echo → echo → ${pod}, 1 attempt: \\w+ answered$`,
      "m",
    );
    assert.match(output, path);
  });

  it("ends with 1 and the reason when there is nothing to ask", async () => {
    assert.match(
      (await request(1, "1", "--endpoint", "nope")).output,
      /--endpoint: found 'nope'; expected .* \(echo\)/,
    );
    assert.match((await request(1, "{")).output, /^error: json: found \{; expected JSON/m);
    const stranger = await project.ringfence(1, "request", "nobody", "1");
    assert.match(stranger.output, /^error: pipeline: found 'nobody'; expected one that is up/m);
  });

  it("is answered throughout a rolling restart of the Deployment", async () => {
    const held = await requireInside(stores, `${project.realm}/echo`);
    const { namespace } = held.claim.intents;
    const kubectl = (...args: string[]) => project.run("kubectl", "-n", namespace, ...args);
    const podsNow = async () => (await kubectl("get", "pods", "-o", "name")).stdout;
    const before = await podsNow();
    assert.equal((await kubectl("rollout", "restart", "deployment/worker")).code, 0);
    const rolled = kubectl("rollout", "status", "deployment/worker", "--timeout=200s");
    let [rolling, answered] = [true, 0];
    void rolled.finally(() => {
      rolling = false;
    });
    // Another client each time, as people are: none has a connection from before. Those that were there may still answer
    // when the roll-out is through; then they end, and whoever is asked must be new.
    for (let isNew = false; rolling || answered < 5 || !isNew; ) {
      const { parts } = await ask(stores, held, "echo", answered++);
      isNew ||= !before.includes((parts[0] as { pod: string }).pod);
    }
    assert.equal((await rolled).code, 0);
  });

  it("tells no secret", async () => {
    assertNoneIn(seen, await secretsOf(project, env));
  });

  it("is over with the pipeline", async () => {
    await project.pulumi("destroy", "--yes", "--skip-preview");
    assert.match((await request(1, "1")).output, /^error: pipeline: found '\S+\/echo'; expected one that is up/m);
    await assertUntouched(env, outside);
  });
});
