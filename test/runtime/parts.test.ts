import assert from "node:assert/strict";
import { addedTimes, percentileOf, rateOf } from "../../components/plan/figures.ts";
import { Balancer, type Instance } from "../../runtime/balance.ts";
import { told } from "../../runtime/errors.ts";
import { Jobs } from "../../runtime/jobs.ts";
import { Metrics } from "../../runtime/metrics.ts";
import { Recent } from "../../runtime/recent.ts";
import { RetryBudget } from "../../runtime/retry.ts";
import type { Run } from "../../runtime/wire.ts";

const instance = (id: string, of: Partial<Instance> & { busy?: number } = {}): Instance => {
  const { busy = 0, ...rest } = of;
  return {
    id,
    subject: id,
    rollout: "",
    started: 0,
    registered: true,
    state: "ready",
    waiting: new Set(Array.from({ length: busy }, () => ({ look: () => undefined }))),
    unanswered: 0,
    ejections: 0,
    ejectedUntil: 0,
    heard: 0,
    ...rest,
  };
};

/** How often each is chosen of a thousand times. */
function shares(instances: Instance[], tried?: Set<Instance>): Record<string, number> {
  const balancer = new Balancer();
  balancer.update(instances, 100);
  const counts: Record<string, number> = Object.fromEntries(instances.map(({ id }) => [id, 0]));
  for (let i = 0; i < 1_000; i++) {
    const chosen = balancer.choose(tried);
    if (chosen) counts[chosen.id] = (counts[chosen.id] ?? 0) + 1;
  }
  return counts;
}

describe("the balancer", () => {
  it("takes the less busy of two, and so never the busiest of three", () => {
    const { a = 0, b = 0, c } = shares([instance("a"), instance("b", { busy: 3 }), instance("c", { busy: 9 })]);
    assert.equal(c, 0);
    assert.ok(a > b && b > 200, `a ${a}, b ${b}`);
  });

  it("leaves out what drains, is dead or ejected, and takes the unregistered only when there is no other", () => {
    const out = [
      instance("draining", { state: "draining" }),
      instance("dead", { state: "dead" }),
      instance("ejected", { ejectedUntil: 200 }),
    ];
    const lost = instance("lost", { registered: false });
    assert.equal(shares([...out, instance("ready"), lost]).ready, 1_000);
    assert.equal(shares([...out, lost]).lost, 1_000);
    assert.deepEqual(Object.values(shares(out)), [0, 0, 0]);
  });

  it("takes another than those that were tried, while there is one", () => {
    const [a, b] = [instance("a"), instance("b", { busy: 50 })];
    assert.equal(shares([a, b], new Set([a])).b, 1_000);
    assert.equal(shares([a], new Set([a])).a, 1_000);
  });

  it("prefers the newer rollout until it is twice as busy", () => {
    const old = instance("old", { rollout: "zz", started: 1, busy: 2 });
    const young = (busy: number) => instance("young", { rollout: "aa", started: 9, busy });
    assert.equal(shares([old, young(4)]).young, 1_000);
    assert.equal(shares([old, young(6)]).old, 1_000);
  });
});

describe("the retry budget", () => {
  let now = 0;
  const spent = (budget: RetryBudget) => Array.from({ length: 1_000 }, () => budget.spend()).filter(Boolean).length;

  it("allows a burst, and one in five requests after it, and a few a second whatever comes", () => {
    now = 0;
    const budget = new RetryBudget(() => now);
    assert.equal(spent(budget), 20);
    for (let i = 0; i < 51; i++) budget.earn(1);
    assert.equal(spent(budget), 10);
    for (let i = 0; i < 10_000; i++) budget.earn(1);
    assert.equal(spent(budget), 20);
    now = 3_000;
    assert.equal(spent(budget), 6);
    now = 1_000_000;
    assert.equal(spent(budget), 20);
  });

  it("has a try for each request under way, when whoever had them all dies", () => {
    now = 0;
    const budget = new RetryBudget(() => now);
    for (let underWay = 1; underWay <= 256; underWay++) budget.earn(underWay);
    assert.equal(spent(budget), 256);
    budget.earn(256);
    assert.equal(spent(budget), 0);
  });
});

describe("what a worker remembers of requests", () => {
  const run = (number: number, settled: number): Run => ({
    client: "c",
    number,
    settled,
    leftMs: 60_000,
    from: 0,
    tag: "j",
  });

  it("is nothing of those whose caller left before they ended", () => {
    const jobs = new Jobs(1_000_000);
    const left = jobs.add(run(0, 0), "inbox");
    const frame = { header: undefined, data: new Uint8Array(100) };
    jobs.keep(left, frame);
    assert.equal(jobs.find(run(1, 1)), undefined);
    jobs.keep(left, frame);
    jobs.finish(left);
    assert.equal(jobs.bytes, 0);
    assert.equal(left.frames.length, 0);
    assert.equal(jobs.find(run(0, 1)), "settled");
  });
});

describe("the figures of the last ten seconds", () => {
  it("count what is not older, to a twentieth", () => {
    const recent = new Recent(500);
    for (let i = 0; i < 100; i++) recent.observe(600, i < 90 ? 10 : 400);
    const { seconds, times } = recent.told(1_500);
    assert.equal(seconds, 1);
    assert.equal(rateOf([{ seconds, times }]), 100);
    const near = (ms: number | undefined, wanted: number) =>
      assert.ok(Math.abs((ms ?? 0) / wanted - 1) < 0.05, `${ms}`);
    near(percentileOf(times, 0.5), 10);
    near(percentileOf(times, 0.99), 400);
    recent.observe(9_900, 1);
    assert.equal(rateOf([recent.told(9_900)]).toFixed(2), (101 / 9.4).toFixed(2));
    assert.deepEqual(Object.values(recent.told(10_000).times), [1]);
    assert.deepEqual(recent.told(60_000), { seconds: 9, times: {} });
  });

  it("of several processes are those of all that they answered", () => {
    const [quick, slow] = [new Recent(0), new Recent(0)];
    for (let i = 0; i < 98; i++) quick.observe(1, 1);
    for (let i = 0; i < 2; i++) slow.observe(1, 1_000);
    const all = addedTimes([quick.told(1_000).times, slow.told(1_000).times]);
    assert.deepEqual(
      [0.5, 0.98, 0.99].map((share) => Math.round(percentileOf(all, share) ?? 0) > 500),
      [false, false, true],
    );
    assert.equal(percentileOf({}, 0.5), undefined);
  });
});

describe("what is written for people and for Prometheus", () => {
  it("an error's attempts are told in order, the same ones together", () => {
    const one = { instance: "a1", outcome: "no responders" };
    assert.equal(told([]), "nobody was asked");
    assert.equal(told([one]), "1 attempt: a1 no responders");
    assert.equal(
      told([one, one, { ...one, instance: "b2" }]),
      "3 attempts: a1 no responders (2 times), b2 no responders",
    );
  });

  it("metrics have help, type, escaped labels and cumulative buckets", () => {
    const metrics = new Metrics({ endpoint: 'a"b' });
    metrics.counter("n_total", "Things.", { kind: "x" }).value += 2;
    metrics.counter("n_total", "Things.", { kind: "x" }).value += 1;
    const seconds = metrics.histogram("s", "Spans.", {}, [1, 2]);
    for (const value of [0.5, 1.5, 9]) seconds.observe(value);
    assert.equal(
      metrics.text(),
      `# HELP n_total Things.
# TYPE n_total counter
n_total{endpoint="a\\"b",kind="x"} 3
# HELP s Spans.
# TYPE s histogram
s_bucket{endpoint="a\\"b",le="1"} 1
s_bucket{endpoint="a\\"b",le="2"} 2
s_bucket{endpoint="a\\"b",le="+Inf"} 3
s_sum{endpoint="a\\"b"} 11
s_count{endpoint="a\\"b"} 3
`,
    );
  });
});
