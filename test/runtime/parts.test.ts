import assert from "node:assert/strict";
import { Balancer, type Instance } from "../../runtime/balance.ts";
import { told } from "../../runtime/errors.ts";
import { Metrics } from "../../runtime/metrics.ts";
import { RetryBudget } from "../../runtime/retry.ts";

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
  it("allows a burst, and one in five requests after it", () => {
    const budget = new RetryBudget();
    const spend = () => Array.from({ length: 1_000 }, () => budget.spend()).filter(Boolean).length;
    assert.equal(spend(), 20);
    for (let i = 0; i < 51; i++) budget.earn();
    assert.equal(spend(), 10);
    for (let i = 0; i < 10_000; i++) budget.earn();
    assert.equal(spend(), 20);
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
