/** Flows over real JetStream: exactly what went in comes out, whatever is paused, changed or killed in between. */
import assert from "node:assert/strict";
import type { TopologySpec } from "../../components/plan/topology-spec.ts";
import { type FlowHandler, type FlowOptions, flow, type Message, type Produced, produce } from "../../runtime/index.ts";
import { assertOnce, FlowScene } from "./flow-scene.ts";
import { eventually, sleep } from "./scene.ts";

/** A message of a killed process comes again after 2 s. */
const buffers = { replicas: 1, ackWaitSeconds: 2, dedupWindowSeconds: 60 };

const straight: TopologySpec = {
  vertices: { in: { kind: "source" }, out: { kind: "sink" } },
  edges: [{ from: "in", to: "out", edge: "stream" }],
  buffers,
};

const through: TopologySpec = {
  vertices: { in: { kind: "source" }, cat: { kind: "processor", partitions: 2 }, out: { kind: "sink" } },
  edges: [
    { from: "in", to: "cat", edge: "stream" },
    { from: "cat", to: "out", edge: "stream" },
  ],
  buffers,
};

describe("a flow", () => {
  let scene: FlowScene;

  beforeEach(async () => {
    scene = await FlowScene.make();
  });

  afterEach(() => scene.close());

  it("gives out each of 100,000 messages once, over a pause in which a vertex was put in between", async () => {
    const numbers = 100_000;
    const notes = scene.notes("out");
    await scene.apply(straight);
    const before = {
      out: await scene.start("out", { kind: "sink", notes }),
      in: await scene.start("in", { kind: "source", numbers }),
    };
    await scene.untilArrived(notes, numbers / 5);

    await scene.end(before.in);
    await scene.drained();
    await scene.end(before.out);
    assert.ok(scene.arrived(notes).size < numbers, "the pause came too late to be one");

    await scene.apply(through);
    const after = {
      out: await scene.start("out", { kind: "sink", notes }),
      cats: await Promise.all([1, 2].map(() => scene.start("cat", { kind: "processor" }))),
      in: await scene.start("in", { kind: "source", numbers }),
    };
    await scene.untilArrived(notes, numbers);
    await scene.drained();
    assertOnce(scene.arrived(notes), numbers);
    await scene.end(after.in, ...after.cats, after.out);
  });

  it("loses nothing and sends nothing twice when processors and sources are killed", async () => {
    const numbers = 3_000;
    const notes = scene.notes("out");
    await scene.apply(through);
    const out = await scene.start("out", { kind: "sink", notes });
    const cat = () => scene.start("cat", { kind: "processor", workMs: 5 });
    const source = () => scene.start("in", { kind: "source", numbers });
    let [first, second, entry] = [await cat(), await cat(), await source()];
    for (const share of [1, 2]) {
      await scene.untilArrived(notes, (numbers * share) / 4);
      for (const killed of [first, entry]) killed.process.kill("SIGKILL");
      assert.equal(await first.ended, "SIGKILL");
      [first, second, entry] = [second, await cat(), await source()];
    }
    await scene.untilArrived(notes, numbers);
    await scene.drained();
    assertOnce(scene.arrived(notes), numbers);
    await scene.end(entry, first, second, out);
  });

  it("loses nothing and sends nothing twice when NATS is away for a while", async () => {
    const numbers = 4_000;
    const notes = scene.notes("out");
    await scene.apply(through);
    const out = await scene.start("out", { kind: "sink", notes });
    const cat = await scene.start("cat", { kind: "processor", workMs: 1 });
    const entry = await scene.start("in", { kind: "source", numbers });
    await scene.untilArrived(notes, numbers / 4);
    await scene.withoutNats(() => sleep(1_000));
    await scene.untilArrived(notes, numbers);
    await scene.drained();
    assertOnce(scene.arrived(notes), numbers);
    await scene.end(entry, cat, out);
  });

  it("lets writers wait when a buffer is full, and reads no more than is handled", async () => {
    await scene.apply({ ...straight, limits: { readBatchSize: 50, bufferMaxLength: 400, bufferUsageLimit: 50 } });
    const sources = await Promise.all([1, 2].map(() => scene.start("in", { kind: "source", numbers: 2_000 })));
    await eventually("the buffer is full", async () => (await scene.unread()) >= 200);
    const notes = scene.notes("out");
    const out = await scene.start("out", { kind: "sink", notes, workMs: 2 });
    let most = 0;
    await eventually("all came", async () => {
      most = Math.max(most, await scene.unread());
      return scene.arrived(notes).size === 2_000;
    });
    // Each of the writers may have a batch under way.
    assert.ok(most <= 200 + 2 * 50, `${most} messages were in a buffer that takes 200`);
    assertOnce(scene.arrived(notes), 2_000);
    await scene.end(...sources, out);
  });

  it("gives what a process did not finish to another at once", async () => {
    await scene.apply({ ...straight, buffers: { ...buffers, ackWaitSeconds: 60, dedupWindowSeconds: 120 } });
    const entry = await scene.start("in", { kind: "source", numbers: 40 });
    const notes = scene.notes("out");
    const stuck = await scene.start("out", { kind: "sink", notes: scene.notes("stuck"), workMs: 600_000 });
    await eventually("it has them", async () => (await scene.inFlight(stuck)) === 40);
    const out = await scene.start("out", { kind: "sink", notes });
    stuck.process.kill("SIGTERM");
    assert.equal(await stuck.ended, 1);
    assert.match(stuck.said(), /40 messages were not finished within the grace of 5 s; they come again/);
    // Before they would come by themselves.
    await scene.untilArrived(notes, 40, 50_000);
    await scene.end(entry, out);
  });
});

describe("a vertex of a flow", () => {
  let scene: FlowScene;
  const ending: Array<{ stop(): Promise<boolean> }> = [];

  before(async () => {
    scene = await FlowScene.make();
  });

  afterEach(async () => {
    await Promise.all(ending.splice(0).map((one) => one.stop()));
  });

  after(() => scene.close());

  const optionsOf = (vertex: string): FlowOptions => ({
    env: scene.env(vertex),
    port: false,
    handleSignals: false,
    startSeconds: 0.5,
    graceSeconds: 2,
    log: () => undefined,
  });
  const handle = async (vertex: string, handler: FlowHandler, options: { deadlineMs?: number } = {}) => {
    ending.push(await flow(handler, { ...optionsOf(vertex), ...options }));
  };
  const say = async (vertex: string, ...messages: Produced[]) => {
    ending.unshift(await produce(() => messages, optionsOf(vertex)));
  };
  /** What comes to a sink, by id. */
  const collect = async (vertex: string): Promise<Map<string, Message>> => {
    const came = new Map<string, Message>();
    await handle(vertex, (message) => {
      came.set(message.id, message);
    });
    return came;
  };

  it("sends on none, one or several messages, to the vertices that it names, with their keys", async () => {
    await scene.apply({
      vertices: {
        "s-1": { kind: "source" },
        split: { kind: "processor" },
        left: { kind: "sink" },
        right: { kind: "sink" },
      },
      edges: [
        { from: "s-1", to: "split", edge: "stream" },
        { from: "split", to: "left", edge: "stream" },
        { from: "split", to: "right", edge: "stream" },
      ],
      buffers,
    });
    const [left, right] = [await collect("left"), await collect("right")];
    await handle("split", ({ value, key }) => {
      if (value === "none") return undefined;
      if (value === "one") return { value: { was: key } };
      return [
        { value: new Uint8Array([1, 2]), to: "left" },
        { value: "b", to: ["right"], key: "a key/with ümlauts" },
      ];
    });
    await say(
      "s-1",
      { id: "1", value: "none" },
      { id: "2", value: "one", key: "k" },
      { id: "a:b#0", value: "several", key: "m" },
    );
    await eventually("all came", () => left.size === 2 && right.size === 2);
    await scene.drained();
    const plain = (value: unknown) => (value instanceof Uint8Array ? [...value] : value);
    const seen = (came: Map<string, Message>) =>
      [...came.values()].map(({ id, key, value }) => ({ id, key, value: plain(value) }));
    const both = { id: "split:s-1:2", key: "k", value: { was: "k" } };
    assert.deepEqual(new Set(seen(left)), new Set([both, { id: "split:s-1:a%3Ab%230#0", key: "m", value: [1, 2] }]));
    assert.deepEqual(
      new Set(seen(right)),
      new Set([both, { id: "split:s-1:a%3Ab%230#1", key: "a key/with ümlauts", value: "b" }]),
    );
  });

  it("handles again what failed or took too long, and keeps messages of one key in one partition", async () => {
    await scene.apply({
      vertices: { "s-2": { kind: "source" }, keyed: { kind: "sink", partitions: 4 } },
      edges: [{ from: "s-2", to: "keyed", edge: "stream" }],
      buffers,
    });
    const tries = new Map<unknown, number>();
    await handle(
      "keyed",
      async ({ value, deliveries }, { signal }) => {
        tries.set(value, (tries.get(value) ?? 0) + 1);
        if (value === 1 && deliveries < 3) throw new Error("not yet");
        // Longer than the buffer waits for an acknowledgement, all the same handled once.
        if (value === 2) await sleep(3_000);
        if (value === 3 && deliveries === 1) await new Promise((resolve) => signal.addEventListener("abort", resolve));
      },
      { deadlineMs: 4_000 },
    );
    await say("s-2", ...[1, 2, 3, 4, 5, 6].map((value) => ({ id: String(value), value, key: `k${value % 2}` })));
    await eventually("the last one is there", () => tries.size === 6);
    await scene.drained();
    assert.deepEqual(Object.fromEntries(tries), { 1: 3, 2: 1, 3: 2, 4: 1, 5: 1, 6: 1 });
    const lengths = await Promise.all([0, 1, 2, 3].map((partition) => scene.length(`keyed_${partition}`)));
    assert.ok(lengths.filter(Boolean).length <= 2, `two keys went to the partitions ${lengths}`);
  });

  it("carries messages through edges of requests, each answered when what came of it is stored", async () => {
    await scene.apply({
      vertices: { "s-3": { kind: "source" }, ask: { kind: "processor" }, told: { kind: "sink" } },
      edges: [
        { from: "s-3", to: "ask", edge: "request" },
        { from: "ask", to: "told", edge: "stream" },
      ],
      buffers,
    });
    const told = await collect("told");
    let failures = 0;
    await handle("ask", ({ value }) => {
      if (value === 7 && failures++ === 0) throw new Error("once");
      return { value: { doubled: Number(value) * 2 } };
    });
    await say("s-3", ...Array.from({ length: 20 }, (_, n) => ({ id: String(n), value: n })));
    await eventually("all came", () => told.size === 20);
    assert.deepEqual(told.get("ask:s-3:7")?.value, { doubled: 14 });
  });

  it("notes how far a source has come, which ends when it throws and goes on there", async () => {
    await scene.apply({
      vertices: { "s-5": { kind: "source" }, seen: { kind: "sink" } },
      edges: [{ from: "s-5", to: "seen", edge: "stream" }],
      buffers,
    });
    const seen = await collect("seen");
    const broken = await produce(function* () {
      yield { id: "1", value: 1 };
      throw new Error("the source broke");
    }, optionsOf("s-5"));
    assert.equal((await broken.closed)?.message, "the source broke");
    const starts: unknown[] = [];
    const next = await produce(function* ({ after }) {
      starts.push(after);
      yield { id: "1", value: "again" };
      yield { id: "2", value: 2, to: "nobody" };
    }, optionsOf("s-5"));
    assert.equal((await next.closed)?.message, "message '2': to: found 'nobody'; expected one of seen: correct it");
    assert.deepEqual(starts, ["1"]);
    await eventually("it came", () => seen.size === 1);
    await scene.drained();
    assert.deepEqual(
      [...seen.values()].map(({ value }) => value),
      [1],
    );
  });

  it("does not start before its topology is as it was told, and says what is not", async () => {
    const plan = await scene.apply({
      vertices: { "s-4": { kind: "source" }, last: { kind: "sink" } },
      edges: [{ from: "s-4", to: "last", edge: "stream" }],
      buffers,
    });
    const refused = async (message: RegExp, env: Record<string, string | undefined>) => {
      const start = flow(() => undefined, { ...optionsOf("last"), env });
      await assert.rejects(start, { name: "VisibleError", message });
    };
    const told = scene.env("last");
    const place = plan.vertices.last;
    assert.ok(place);
    const changed = (changes: object) => ({ ...told, RINGFENCE_FLOW: JSON.stringify({ ...place, ...changes }) });
    await refused(/^RINGFENCE_FLOW: not set; expected what Ringfence gives/, { ...told, RINGFENCE_FLOW: undefined });
    await refused(
      /topology generation \d+ \(committed\) is with digest '\w+', but this pod was made for 'older'/,
      changed({ digest: "older" }),
    );
    await refused(
      /has no buffer 'last_1', which it reads/,
      changed({ in: [...place.in, { buffer: "last_1", digest: "" }] }),
    );
    await refused(
      /buffer 'last_0' has digest '\w+', expected 'other'/,
      changed({ in: [{ buffer: "last_0", digest: "other" }] }),
    );
    await refused(/it is a source, which nothing leads to: use produce/, scene.env("s-4"));
    await assert.rejects(
      produce(() => [], optionsOf("last")),
      { message: /it is a sink, which messages lead to: use flow/ },
    );

    // One whose topology comes meanwhile starts.
    await scene.forget();
    const waiting = flow(() => undefined, { ...optionsOf("last"), startSeconds: 20 });
    await scene.write(plan);
    ending.push(await waiting);
  });
});
