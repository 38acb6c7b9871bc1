import assert from "node:assert/strict";
import { statusText } from "../../cli/status.ts";
import { FIGURES_SUBJECT } from "../../components/plan/figures.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { requireInside } from "../../components/tenancy/inside.ts";
import { pipelineStatus } from "../../components/tenancy/status.ts";
import { flow, produce } from "../../runtime/index.ts";
import { access, etcdOf, natsOf, newProcess, type Tenant } from "../tenancy/scene.ts";
import { FlowScene } from "./flow-scene.ts";
import { eventually, Scene, sleep, untilAnswered } from "./scene.ts";

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
    let busy = await status();
    // It waits for half a second after each answer, which on a busy machine may be too short for the next one.
    await eventually("all have answered", async () => {
      busy = await status();
      return busy.vertices[0]?.instances === 2 && busy.edges.length === 1;
    });
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

describe("the status of a flow", () => {
  it("says of each vertex what came in and went out, how long that took, and what failed", async () => {
    const scene = await FlowScene.make();
    const stores = newProcess();
    await scene.apply({
      vertices: { in: { kind: "source" }, cat: { kind: "processor" }, out: { kind: "sink" } },
      edges: [
        { from: "in", to: "cat", edge: "stream" },
        { from: "cat", to: "out", edge: "stream" },
      ],
      buffers: { replicas: 1 },
    });
    const at = (vertex: string) =>
      ({ env: scene.env(vertex), port: false, handleSignals: false, log: () => {} }) as const;
    const came = new Set<number>();
    const processes = [
      await flow<number>(({ value }) => void came.add(value), at("out")),
      await flow<number>(({ value, deliveries }) => {
        if (value === 3 && deliveries === 1) throw new Error("not yet");
        return { value };
      }, at("cat")),
      await produce(async function* ({ signal }) {
        for (let n = 1; !signal.aborted; n++) {
          yield { id: String(n), value: n };
          await sleep(10);
        }
      }, at("in")),
    ];
    try {
      await eventually("the message that failed has come", () => came.has(3) && came.size >= 20, 60_000);
      const look = async () => pipelineStatus(stores, await requireInside(stores, scene.tenant.logicalName));
      let status = await look();
      await eventually("all have answered", async () => {
        status = await look();
        return status.vertices.filter(({ flow }) => flow?.processes === 1).length === 3;
      });
      const flows = Object.fromEntries(status.vertices.map(({ vertex, flow }) => [vertex, flow]));
      const told = Object.entries(flows).map(([vertex, flow]) => [vertex, flow?.kind, flow?.processes, flow?.failures]);
      assert.deepEqual(told, [
        ["cat", "processor", 1, 1],
        ["in", "source", 1, 0],
        ["out", "sink", 1, 0],
      ]);
      for (const { perSecond = 0, p50Ms = 0, p99Ms = 0 } of Object.values(flows).map((flow) => flow ?? assert.fail()))
        assert.ok(perSecond > 0 && p50Ms > 0 && p99Ms >= p50Ms);
      const { in: source, cat, out } = flows;
      assert.ok((source?.sentPerSecond ?? 0) > 0 && (cat?.sentPerSecond ?? 0) > 0);
      assert.equal(out?.sentPerSecond, 0);
      assert.ok((cat?.retries ?? 0) > 0);
      assert.match(statusText([status]), /^FLOW +KIND +PROCESSES +SENT \/s .*\n^cat +processor +1 /m);
    } finally {
      for (const each of processes.reverse()) await each.stop();
      await scene.close();
    }
  });
});
