import assert from "node:assert/strict";
import { failureOf, run } from "./engine.ts";
import { chat } from "./scene.ts";

describe("a pipeline's rotation", () => {
  it("is nobody's business while none is asked for", async () => {
    const all = await run(() => chat());
    assert.equal(all.get("RetiredCredentials chat-retired"), undefined);
    for (const part of ["EtcdPrefix chat-etcd", "NatsAccount chat-nats"])
      assert.equal(all.get(part)?.inputs.rotation, undefined);
  });

  it("reaches both stores, and ends the earlier credentials after every workload", async () => {
    const all = await run(() => chat({ rotation: "2026-11" }));
    for (const part of ["EtcdPrefix chat-etcd", "NatsAccount chat-nats"])
      assert.equal(all.get(part)?.inputs.rotation, "2026-11");
    const { inputs, dependencies } = all.get("RetiredCredentials chat-retired") ?? assert.fail("nothing retires");
    const deployments = [...all.values()].filter(({ type }) => type === "kubernetes:apps/v1:Deployment");
    assert(deployments.length >= 2);
    for (const { name } of deployments) assert(dependencies.includes(name), `${name}: ${dependencies}`);
    const pods = deployments.map(
      ({ inputs }) => inputs.spec.template.metadata.annotations["ringfence.dev/credentials"],
    );
    assert.deepEqual([...new Set(pods)], [inputs.credentials]);
    assert.deepEqual([inputs.username, inputs.account], ["u", "A"]);
  });

  it("is a text", async () => {
    assert.match((await failureOf(() => chat({ rotation: "" }))).message, /^chat\.rotation: found ''; expected a text/);
  });
});
