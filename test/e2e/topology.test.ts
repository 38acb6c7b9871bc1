/**
 * Articles 003 and 004, step by step: the real engine, real JetStream, and pods that really produce and consume. In article 003 a
 * pipeline's topology is changed while it is paused, one vertex' write fails, and buffers are computed from what lives; in 004
 * its vertices' phases and replicas are decided in several places. Here everything comes from the spec.
 */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { connect, credsAuthenticator } from "nats";
import { PHASE_ANNOTATION } from "../../components/plan/labels.ts";
import { topologyOf } from "../../components/plan/topology.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { natsInside, requireInside } from "../../components/tenancy/inside.ts";
import type { Snapshot } from "../../components/tenancy/outside.ts";
import { topologyStatus } from "../../components/tenancy/topology-status.ts";
import { send } from "../../dev/platform/processes.ts";
import { until } from "../../dev/platform/wait.ts";
import { readNotes } from "../runtime/flow-notes.ts";
import type { VertexSpec } from "../runtime/flow-process.ts";
import { type Change, Events } from "./events.ts";
import { assertUntouched, Project, snapshot, temporary, withStores } from "./scene.ts";

type Phase = "Running" | "Paused";

const PORT = 9090;

/** A vertex whose pods run as processes. */
const vertex = (spec: VertexSpec, others: object = {}) => ({
  image: "ringfence.dev/test-flow:1",
  command: ["node", "/ringfence/test/runtime/flow-process.ts", JSON.stringify({ ...spec, port: PORT })],
  ports: { health: PORT },
  probes: { readiness: { path: "/ready", port: "health", periodSeconds: 1 } },
  kind: spec.kind,
  ...others,
});

describe("a pipeline's topology and lifecycle (articles 003 and 004)", () => {
  const { env } = process;
  let project: Project;
  let outside: Snapshot;
  let events: Events;
  let directory: string;
  let notes: string;

  before(async () => {
    outside = await snapshot(env);
    directory = temporary("e2e-flow");
  });
  after(() => rmSync(directory, { recursive: true, maxRetries: 10 }));
  beforeEach(async () => {
    notes = `${directory}/${Math.random()}`;
    project = new Project(env, { pipelines: {} });
    await project.pulumi("stack", "init");
    events = await Events.of(env, "flow");
  });
  afterEach(() => {
    events.close();
    project.close();
  });

  const source = (workMs = 5) => vertex({ kind: "source", numbers: 1e9, workMs });
  const sink = (workMs = 0, others = {}) => vertex({ kind: "sink", notes, workMs }, others);
  const common = {
    buffers: { replicas: 1, ackWaitSeconds: 20 },
    limits: { readBatchSize: 50 },
    availability: { propagationSeconds: 0, shutdownGraceSeconds: 10 },
  };
  const straight = () => ({
    ...common,
    vertices: { in: source(), out: sink() },
    edges: [{ from: "in", to: "out", edge: "stream" as const }],
  });
  const through = () => ({
    ...common,
    vertices: { in: source(), cat: vertex({ kind: "processor" }, { partitions: 2 }), out: sink() },
    edges: [
      { from: "in", to: "cat", edge: "stream" as const },
      { from: "cat", to: "out", edge: "stream" as const },
    ],
  });
  type Spec = ReturnType<typeof straight> | ReturnType<typeof through>;

  const declare = (spec: Spec, desiredPhase: Phase) => {
    const lifecycle = { desiredPhase, pauseGracePeriodSeconds: 60, deletionGracePeriodSeconds: 60 };
    project.configure({ pipelines: { flow: { ...spec, lifecycle } } });
  };
  /** @returns the API server's revision from before */
  const up = async (spec: Spec, phase: Phase): Promise<number> => {
    const from = events.now;
    declare(spec, phase);
    await project.pulumi("up", "--yes", "--skip-preview");
    await assertAgrees(spec, phase);
    return from;
  };
  const kubectl = async (...args: string[]) => {
    const { code, output, stdout } = await project.run("kubectl", ...args);
    assert.equal(code, 0, output);
    return stdout;
  };
  const inside = <T>(work: (stores: Stores, held: Awaited<ReturnType<typeof requireInside>>) => Promise<T>) =>
    withStores(env, async (stores) => work(stores, await requireInside(stores, `${project.realm}/flow`)));

  /** Every live object is of the pipeline's phase and plan, and the account holds what the plan has and nothing else. */
  const assertAgrees = (spec: Spec, phase: Phase) =>
    inside(async (stores, held) => {
      const plan = topologyOf(spec as Parameters<typeof topologyOf>[0]) ?? assert.fail();
      const status = await topologyStatus(stores, held);
      assert.equal(status?.agrees, true, JSON.stringify(status));
      assert.equal(status?.digest, plan.digest);
      const streams = (await stores.nats().then((nats) => nats.streams(held.claim.handedOut.account ?? ""))).map(
        ({ name }) => name,
      );
      const wanted = [...Object.keys(plan.buffers), ...Object.keys(plan.buckets).map((name) => `KV_${name}_OT`)];
      assert.deepEqual(streams.sort(), wanted.sort());
      const { items } = JSON.parse(
        await kubectl("get", "deployments", "-n", held.claim.intents.namespace, "-o", "json"),
      );
      type Live = { metadata: { name: string; annotations: Record<string, string> }; spec: { replicas: number } };
      const seen = (items as Live[]).map(({ metadata, spec }) => [
        metadata.name,
        metadata.annotations[PHASE_ANNOTATION],
        spec.replicas,
        metadata.annotations["ringfence.dev/topology-digest"],
      ]);
      const pods = phase === "Running" ? 1 : 0;
      assert.deepEqual(
        new Set(seen),
        new Set(Object.keys(spec.vertices).map((name) => [name, phase, pods, plan.digest])),
      );
    });

  /** What the source says was stored last, with all before it. */
  const position = () =>
    inside(async (stores, held) => {
      const { servers, creds } = await natsInside(stores, held, "test");
      const connection = await connect({ servers, authenticator: credsAuthenticator(new TextEncoder().encode(creds)) });
      try {
        const entry = await connection.jetstream().views.kv("in_SOURCE_OT", { bindOnly: true });
        return Number((await entry.get("position"))?.string());
      } finally {
        await connection.close();
      }
    });
  /** All that was ever sent came out, once. */
  const assertAllCame = async () => {
    const came = readNotes(notes);
    const sent = await position();
    assert.ok(sent > 0, "nothing was sent");
    assert.deepEqual(
      came.toSorted((a, b) => a - b),
      Array.from({ length: sent }, (_, index) => index + 1),
    );
  };
  const flowing = (more = 20) => {
    const goal = readNotes(notes).length + more;
    return until({
      what: `${more} more messages`,
      within: 120,
      attempt: async () => assert.ok(readNotes(notes).length >= goal, `${goal - readNotes(notes).length} are missing`),
    });
  };
  const outcome = async (): Promise<unknown> =>
    (await project.resources()).find(({ urn }) => urn.endsWith("::flow-drain"))?.outputs.outcome;

  const pod = (vertex: string) => (change: Change) => change.kind === "Pod" && change.vertex === vertex;
  const scaled = (vertex: string, replicas: number) => (change: Change) =>
    change.kind === "Deployment" &&
    change.vertex === vertex &&
    change.type !== "DELETED" &&
    change.replicas === replicas;
  const gone = (vertex: string) => (change: Change) => change.type === "DELETED" && pod(vertex)(change);
  const ready = (vertex: string) => (change: Change) => change.ready && pod(vertex)(change);
  const removed = (vertex: string) => (change: Change) =>
    change.kind === "Deployment" && change.vertex === vertex && change.type === "DELETED";

  /** The rest was ready before a source was begun. */
  const assertResumed = async (from: number, ...rest: string[]) => {
    const begun = await events.first(from, "the source is scaled up", scaled("in", 1));
    for (const vertex of rest) {
      const at = await events.first(from, `${vertex} is ready`, ready(vertex));
      assert.ok(at < begun, `'${vertex}' was ready at ${at}, after the source was begun at ${begun}`);
    }
  };
  /** Sources were told, and their pods gone, before any other vertex was told. */
  const assertPaused = async (
    from: number,
    told: (vertex: string) => (change: Change) => boolean,
    ...rest: string[]
  ) => {
    await events.first(from, "the source's pod is gone", gone("in"));
    const last = events.last(from, gone("in"));
    for (const vertex of rest) {
      const at = await events.first(from, `${vertex} is told`, told(vertex));
      assert.ok(at > last, `'${vertex}' was told at ${at}, before the source's pods were gone at ${last}`);
    }
  };
  const toZero = (vertex: string) => scaled(vertex, 0);

  it("changes in → out to in → cat → out while paused, though a vertex' write fails, and loses nothing", async () => {
    const created = await up(straight(), "Running");
    await assertResumed(created, "out");
    await flowing();

    // A simple change: the sink's pods are exchanged, nobody else's.
    const changing = straight();
    const updated = await up({ ...changing, vertices: { ...changing.vertices, out: sink(1) } }, "Running");
    await flowing();
    assert.deepEqual(events.since(updated).filter(gone("in")), []);

    const pausing = await up({ ...changing, vertices: { ...changing.vertices, out: sink(1) } }, "Paused");
    await assertPaused(pausing, toZero, "out");
    assert.equal(await outcome(), "drained");
    await assertAllCame();

    // Somebody else owns what this update writes of 'out': 'in' and 'cat' are written, 'out' is refused.
    const namespace = await inside(async (_, { claim }) => claim.intents.namespace);
    const other = ["annotate", "deployment/out", "-n", namespace, "--field-manager=somebody", "--overwrite"];
    await kubectl(...other, "ringfence.dev/topology-digest=theirs");
    declare(through(), "Paused");
    assert.match(await project.refused("up", "--yes", "--skip-preview"), /conflict/i);
    // Whatever of it failed, what there is to make is computed from the spec again.
    await kubectl(...other, "ringfence.dev/topology-digest-");
    await up(through(), "Paused");

    const resuming = await up(through(), "Running");
    await assertResumed(resuming, "cat", "out");
    await flowing();

    // The change and the pause in one: what was sent is drained by the vertices as they were.
    const both = await up(straight(), "Paused");
    await assertPaused(both, toZero, "out");
    await assertPaused(both, removed, "cat");
    assert.equal(await outcome(), "drained");
    await assertAllCame();

    await project.pulumi("destroy", "--yes", "--skip-preview");
    await assertUntouched(env, outside);
  });

  it("goes on with a pause that was killed, and drains before it destroys", async () => {
    const slow = () => ({ ...straight(), vertices: { in: source(1), out: sink(500, { scale: { min: 1 } }) } });
    await up(slow(), "Running");
    await flowing(100);

    declare(slow(), "Paused");
    const from = events.now;
    const command = project.pulumiSpawn("up", "--yes", "--skip-preview");
    await command.reaches("it drains", async () => /draining .*messages? left in out_0/.test(command.output));
    for (const pid of project.processes()) send(pid, "SIGKILL");
    await command.ended;
    await events.first(from, "the source is told", toZero("in"));
    assert.deepEqual(events.since(from).filter(toZero("out")), [], "'out' was told to end before all was drained");

    await project.pulumi("cancel", "--yes");
    await project.pulumi("refresh", "--yes", "--skip-preview", "--clear-pending-creates");
    const resumed = await up({ ...straight(), vertices: { in: source(1), out: sink(20) } }, "Running");
    await events.first(resumed, "the source is scaled up", scaled("in", 1));
    await flowing(100);

    const destroying = events.now;
    await project.pulumi("destroy", "--yes", "--skip-preview");
    await assertPaused(destroying, removed, "out");
    // Its note is gone with the tenant: what came is without a gap, and nothing came twice.
    const came = readNotes(notes);
    assert.deepEqual(
      came.toSorted((a, b) => a - b),
      Array.from({ length: came.length }, (_, index) => index + 1),
    );
    await assertUntouched(env, outside);
  });
});
