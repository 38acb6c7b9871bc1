import assert from "node:assert/strict";
import { listClaims } from "../../components/tenancy/registry.ts";
import { assertUntouched, type Config, chat, Project, snapshot, withStores } from "./scene.ts";

const worker = { image: "registry.example.com/worker:1" };

/** A mistake in a stack's config, and the one line that tells of it. */
const mistakes: Record<string, { config: (realm: string) => Config; told: (realm: string) => string }> = {
  "a vertex with a negative number of pods": {
    config: () => ({ pipelines: { chat: { vertices: { worker: { ...worker, replicas: -1 } } } } }),
    told: () => "ringfence:pipelines.chat.vertices.worker.replicas: found -1; expected a whole number, 0 or more",
  },
  "a vertex on a pool that is not declared": {
    config: () => ({ pipelines: { chat: { vertices: { worker: { ...worker, gpus: 1, pool: "a100" } } } } }),
    told: () => "ringfence:pipelines.chat.vertices.worker.pool: found 'a100'; expected one of ringfence:pools (h100)",
  },
  "a pipeline whose realm is another pipeline's name": {
    config: (realm) => ({ pipelines: { chat, x: { ...chat, realm: `${realm}/chat` } } }),
    told: (realm) =>
      `x-claim.logicalName: '${realm}/chat/x' overlaps '${realm}/chat' of 'chat-claim' on platform 'platform'; ` +
      "give one of the two tenants another realm or name.",
  },
};

describe("a config with a mistake", () => {
  const { env } = process;

  for (const [mistake, { config, told }] of Object.entries(mistakes))
    it(`is refused before anything exists, in one line: ${mistake}`, async () => {
      const outside = await snapshot(env);
      const project = new Project(env, { pipelines: {} });
      try {
        project.configure(config(project.realm));
        await project.pulumi("stack", "init");
        const output = await project.refused("up", "--yes", "--policy-pack", "policy");
        // Above it is the progress, which repeats.
        const summary = output.slice(output.indexOf("Policies:"));
        assert.equal(summary.split(told(project.realm)).length, 2, output);
        assert.doesNotMatch(output, /^\s+at /m, "no stack trace");
        assert.doesNotMatch(output, /^Updating/m, "refused by the preview");
        assert.deepEqual(await project.resources(), []);
        assert.deepEqual(await withStores(env, ({ etcd }) => listClaims(etcd)), []);
        await assertUntouched(env, outside);
      } finally {
        project.close();
      }
    });
});
