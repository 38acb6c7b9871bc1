import assert from "node:assert/strict";
import type { Client } from "../../runtime/index.ts";
import { eventually, type Load, type Running, Scene, untilAnswered } from "./scene.ts";

describe("a restart of workers under load", () => {
  let scene: Scene;
  let client: Client;
  before(async () => {
    scene = await Scene.make();
    client = await scene.client();
  });
  after(() => scene.close());

  const stop = async (worker: Running): Promise<void> => {
    worker.process.kill("SIGTERM");
    assert.equal(await worker.ended, 0, worker.said());
  };

  /** Every request was answered, and its handler ran once. */
  const requireFlawless = async (load: Load, endpoint: string) => {
    await load.stop();
    assert.deepEqual(load.failures.map(String), []);
    assert.equal(load.answered, load.sent);
    const runs = scene.runs(endpoint);
    assert.equal(runs.size, load.sent);
    assert.deepEqual(
      [...runs].filter(([, times]) => times !== 1),
      [],
    );
  };

  it("loses none when one worker after the other is replaced, and ends with the new ones", async () => {
    const old = await scene.workers("rolling", 3, { rollout: "1" });
    const load = scene.load(client, "rolling", { task: { workMs: 20 } });
    await untilAnswered(load, 20);
    const young: Running[] = [];
    for (const worker of old) {
      young.push(await scene.worker("rolling", { rollout: "2" }));
      await stop(worker);
    }
    await untilAnswered(load, 20);
    await requireFlawless(load, "rolling");
    const ready = () => client.instances("rolling").flatMap(({ id, state }) => (state === "ready" ? [id] : []));
    const wanted = young.map(({ instance }) => instance).sort();
    // One that waits for a processor longer than a health check does is back with its next answer.
    await eventually("the new ones, and no others, are ready", () => ready().sort().join() === wanted.join());
  });

  it("loses none when all but one leave at once", async () => {
    const [, ...leaving] = await scene.workers("scale-in", 3);
    const load = scene.load(client, "scale-in", { task: { workMs: 20 } });
    await untilAnswered(load, 20);
    await Promise.all(leaving.map(stop));
    await untilAnswered(load, 20);
    await requireFlawless(load, "scale-in");
  });

  it("loses none when a node is drained: each leaves first, and its successor comes elsewhere", async () => {
    const [, ...onNode] = await scene.workers("drained", 3);
    const load = scene.load(client, "drained", { task: { workMs: 20 } });
    await untilAnswered(load, 20);
    // One at a time, as a budget of disruptions has it.
    for (const worker of onNode) await Promise.all([stop(worker), scene.worker("drained")]);
    await untilAnswered(load, 20);
    await requireFlawless(load, "drained");
  });

  it("serves on while it leaves, unready, and finishes what it had begun", async () => {
    const worker = await scene.worker("leaving", { propagationSeconds: 1 });
    const at = (path: string) => fetch(`http://127.0.0.1:${worker.port}${path}`);
    assert.deepEqual([(await at("/live")).status, (await at("/ready")).status], [200, 200]);
    const long = client.request("leaving", { key: "long", workMs: 2_000 });
    await eventually("the request runs", async () => /_in_flight\{.*\} 1\n/.test(await (await at("/metrics")).text()));
    worker.process.kill("SIGTERM");
    await eventually("it is unready", async () => (await at("/ready")).status === 503);
    assert.equal((await at("/live")).status, 200);
    await eventually("clients have heard", () =>
      client.instances("leaving").every(({ state }) => state === "draining"),
    );
    assert.deepEqual(await long, { key: "long", by: worker.instance });
    assert.equal(await worker.ended, 0);
  });

  it("says so when the grace is over before a request is", async () => {
    const worker = await scene.worker("hasty", { propagationSeconds: 0, graceSeconds: 0.2 });
    const answer = client.request("hasty", { key: "long", workMs: 30_000 });
    const failure = assert.rejects(answer, {
      code: "outcome-unknown",
      message: new RegExp(`'hasty': ${worker.instance} ended before its handler did; \\d attempts?: `),
    });
    await eventually("the request runs", () => scene.runs("hasty").size === 1);
    worker.process.kill("SIGTERM");
    await failure;
    assert.equal(await worker.ended, 1);
    assert.match(worker.said(), /1 requests were not finished within the grace of 0\.2 s/);
  });

  it("of a kill, loses only what was under way there and may not run twice, and says that", async () => {
    const workers = await scene.workers("killed", 3);
    const victim = workers[0] as Running;
    const twice = scene.load(client, "killed", { idempotent: true, task: { workMs: 30 }, perSecond: 50 });
    await untilAnswered(twice, 20);
    const once = scene.load(client, "killed-once", { task: { workMs: 30 }, perSecond: 50 });
    const others = await scene.workers("killed-once", 3);
    await untilAnswered(once, 20);
    victim.process.kill("SIGKILL");
    others[0]?.process.kill("SIGKILL");
    const isOut = (endpoint: string, worker?: Running) =>
      client.instances(endpoint).every(({ id, state }) => id !== worker?.instance || state === "dead");
    await eventually("one is ejected", () => isOut("killed-once", others[0]));
    // NATS takes requests for it until its connection is closed; from now on none goes there.
    const unanswered = once.sent - once.answered;
    await eventually("the other is ejected", () => isOut("killed", victim));
    await Promise.all([untilAnswered(twice, 20), untilAnswered(once, 20)]);
    await Promise.all([twice.stop(), once.stop()]);
    assert.deepEqual(twice.failures.map(String), []);
    for (const failure of once.failures) {
      assert.equal(failure.code, "outcome-unknown");
      assert.match(failure.message, /is gone; \d+ attempts?: .*no responders any more/);
      assert.ok(failure.attempts.every(({ instance }) => instance === others[0]?.instance));
    }
    assert.ok(once.failures.length <= unanswered, `${once.failures.length} failed, ${unanswered} may have gone there`);
    assert.equal(once.answered + once.failures.length, once.sent);
    assert.deepEqual(
      [...scene.runs("killed-once")].filter(([, times]) => times > 1),
      [],
    );
  });

  it("ejects a worker that accepts and never answers, and one that is frozen until it thaws", async () => {
    const [, frozen] = await scene.workers("hanging", 2);
    const hanging = await scene.worker("hanging", { hangs: true });
    const state = (worker?: Running) => client.instances("hanging").find(({ id }) => id === worker?.instance)?.state;
    const load = scene.load(client, "hanging", { idempotent: true, attemptTimeoutMs: 1_500, perSecond: 40 });
    await eventually("the one that hangs is ejected", () => state(hanging) === "ejected");
    frozen?.process.kill("SIGSTOP");
    await eventually("the frozen one is ejected", () => state(frozen) === "dead" || state(frozen) === "ejected");
    await untilAnswered(load, 20);
    frozen?.process.kill("SIGCONT");
    await eventually("it is back", () => state(frozen) === "ready");
    await load.stop();
    assert.deepEqual(load.failures.map(String), []);
    assert.match(client.metrics(), /ringfence_client_ejection_seconds_count\{endpoint="hanging"\} [1-9]/);
  });
});
