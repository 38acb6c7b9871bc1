import assert from "node:assert/strict";
import { statusText } from "../../cli/status.ts";
import { FIGURES_SUBJECT } from "../../components/plan/figures.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { requireInside } from "../../components/tenancy/inside.ts";
import { pipelineStatus } from "../../components/tenancy/status.ts";
import { access, etcdOf, natsOf, newProcess, type Tenant } from "../tenancy/scene.ts";
import { eventually, Scene, untilAnswered } from "./scene.ts";

const KUBECONFIG = `apiVersion: v1
kind: Config
clusters: [{ name: gone, cluster: { server: "https://127.0.0.1:1" } }]
contexts: [{ name: gone, context: { cluster: gone, user: "" } }]
current-context: gone
`;

/** What the cluster has of a vertex. */
async function deploy(stores: Stores, tenant: Tenant, { replicas, phase }: { replicas: number; phase: string }) {
  const kubernetes = await stores.kubernetes();
  const { namespace: name } = tenant.claimed;
  const labels = { "ringfence.dev/owner": tenant.owner, "ringfence.dev/generation": tenant.generation };
  await kubernetes.create("/api/v1/namespaces", { metadata: { name, labels } });
  const selector = { "ringfence.dev/vertex": "worker" };
  const template = { metadata: { labels: selector }, spec: { containers: [{ name: "worker", image: "app" }] } };
  await kubernetes.create(`/apis/apps/v1/namespaces/${name}/deployments`, {
    metadata: { name: "worker", labels: selector, annotations: { "ringfence.dev/phase": phase } },
    spec: { replicas, selector: { matchLabels: selector }, template },
  });
}

describe("the status of a pipeline", () => {
  let scene: Scene;
  before(async () => {
    scene = await Scene.make();
  });
  after(() => scene.close());

  it("adds up what its processes say, and names who is silent", async () => {
    const stores = newProcess();
    const status = async () => pipelineStatus(stores, await requireInside(stores, scene.tenant.logicalName));
    const idle = await status();
    assert.deepEqual([idle.vertices, idle.edges, idle.notes], [[], [], []]);
    await deploy(stores, scene.tenant, { replicas: 2, phase: "Paused" });

    await scene.workers("told", 2);
    const client = await scene.client({ env: { ...scene.env, RINGFENCE_VERTEX: "frontend" } });
    await assert.rejects(client.request("told", { key: "bad", fail: "no" }), { code: "failed" });
    const load = scene.load(client, "told", { task: { workMs: 20 } });
    await untilAnswered(load, 50);
    // What other software sends there is left out, and a key without a process is told.
    const raw = await natsOf(scene.tenant);
    raw.subscribe(FIGURES_SUBJECT, { callback: (_, message) => void message.respond("nonsense") });
    await raw.flush();
    const key = `${scene.tenant.etcd.prefix}runtime/v1/instances/told/gone`;
    await etcdOf(scene.tenant).put(key).value("{}");
    const busy = await status();
    await load.stop();

    const [vertex] = busy.vertices;
    assert.deepEqual([busy.vertices.length, vertex?.vertex, vertex?.instances], [1, "worker", 2]);
    assert.deepEqual([vertex?.phase, vertex?.replicas?.wanted], ["Paused", 2]);
    const [edge] = busy.edges;
    assert.deepEqual([edge?.vertex, edge?.endpoint, edge?.clients], ["frontend", "told", 1]);
    for (const traffic of [vertex?.served, edge?.asked]) {
      assert.equal(traffic?.failures, 1);
      assert.ok(traffic.perSecond > 0);
      assert.ok((traffic.p50Ms ?? 0) > 18 && (traffic.p99Ms ?? 0) >= (traffic.p50Ms ?? 0));
    }
    assert.deepEqual(busy.notes, [
      "instance told/gone is registered and did not answer: it hangs, or its lease has not ended yet",
    ]);
    assert.match(statusText([busy]), /^FROM +ENDPOINT +CLIENTS .*\n^frontend +told +1 /m);

    await eventually("nothing is in flight any more", async () => {
      const after = await status();
      return after.vertices[0]?.served?.inFlight === 0 && after.edges[0]?.asked.inFlight === 0;
    });
  });

  it("says what it could not ask, and why", async () => {
    const stores = newProcess({ ...access, kubernetes: { kubeconfig: KUBECONFIG } });
    const held = await requireInside(stores, scene.tenant.logicalName);
    const claim = { ...held.claim, signerSeed: undefined };
    const { notes } = await pipelineStatus(stores, { ...held, claim });
    assert.deepEqual(notes.map((note) => note.replace(/\(.*\)/, "(…)")).sort(), [
      "Kubernetes at https://127.0.0.1:1 does not answer (…): start it, or correct the kubeconfig in the platform's access",
      `tenant '${scene.tenant.logicalName}': its claim should name a NATS account and its signing key, which an earlier version of Ringfence did not note: give the pipeline another rotation and run 'pulumi up'`,
    ]);
  });

  it("is refused by name where nothing is up", async () => {
    await assert.rejects(
      requireInside(newProcess(), "nowhere/chat"),
      /tenant 'nowhere\/chat': the registry has no claim of it/,
    );
  });
});
