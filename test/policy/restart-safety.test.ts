import assert from "node:assert/strict";
import { VERTEX_LABEL } from "../../components/plan/labels.ts";
import { restartSafety as policy } from "../../policy/restart-safety.ts";
import { budget, deployment, frontend, graph, worker } from "./sketches.ts";
import { type Props, told, UNKNOWN } from "./stack.ts";

const lease = (ETCD_LEASE_TTL: string) => [worker({}, { ETCD_LEASE_TTL })];
const grace = (terminationGracePeriodSeconds: unknown, variables: Props = {}) => [
  worker({ pod: { terminationGracePeriodSeconds } }, variables),
];

describe("policy restart-safety", () => {
  it("lets a frontend and a worker be that have it all", () =>
    assert.deepEqual(told(policy, [frontend(), worker()]), []));

  it("wants a lease TTL within bounds, which config moves", () => {
    for (const fine of ["5", "10", "30"]) assert.deepEqual(told(policy, lease(fine)), []);
    assert.match(
      told(policy, lease("4")).join(),
      /a lease TTL of 4 s is not within 5 to 30 s: a short pause makes the worker disappear/,
    );
    assert.match(told(policy, lease("31")).join(), /a killed worker is sent requests for as long/);
    assert.deepEqual(told(policy, lease("1"), { leaseTtlMinSeconds: 1 }), []);
    assert.equal(told(policy, lease("20"), { leaseTtlMaxSeconds: 15 }).length, 1);
  });

  it("wants a pod's time to end to cover its shutdown grace and the margin", () => {
    assert.deepEqual(told(policy, grace(95)), []);
    assert.equal(told(policy, grace(94)).length, 1);
    assert.match(told(policy, grace(undefined)).join(), /30 s until the pod is killed \(the default\) are fewer/);
    assert.match(told(policy, grace(120, { DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS: "60" })).join(), /use 150 or more/);
    assert.deepEqual(told(policy, grace(35), { graceMarginSeconds: 30 }), []);
    assert.deepEqual(told(policy, grace(UNKNOWN)), []);
    assert.deepEqual(told(policy, grace(60, { DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS: UNKNOWN })), []);
  });

  it("wants frontends to wait for endpoints to propagate, and to migrate requests", () => {
    assert.match(
      told(policy, [frontend({ container: { lifecycle: undefined } })]).join(),
      /lifecycle\.preStop: is missing/,
    );
    assert.match(told(policy, [frontend({}, { DYN_MIGRATION_LIMIT: "0" })]).join(), /request migration is off/);
    const bare = (args: string[]) => frontend({ container: { args, env: [{ name: "DYN_NAMESPACE", value: "chat" }] } });
    assert.match(told(policy, [bare([])]).join(), /set DYN_MIGRATION_LIMIT=3/);
    assert.deepEqual(told(policy, [bare(["--migration-limit", "3"])]), []);
    assert.equal(told(policy, [bare(["--migration-limit=0"])]).length, 1);
  });

  it("wants probes", () => {
    const missing = told(policy, [worker({ container: { livenessProbe: undefined, startupProbe: undefined } })]);
    assert.match(missing.join(), /has no livenessProbe, no startupProbe; probe \/live and \/health/);
  });

  it("wants a PodDisruptionBudget for several pods, of their own namespace", () => {
    const pair = worker({ replicas: 2 });
    assert.match(told(policy, [pair]).join(), /no PodDisruptionBudget covers its 2 pods/);
    assert.deepEqual(told(policy, [pair, budget("worker")]), []);
    assert.deepEqual(told(policy, [worker({ replicas: 1 })]), []);
    assert.equal(told(policy, [pair, budget("worker", { namespace: "other" })]).length, 1);
    assert.equal(told(policy, [pair, budget("frontend")]).length, 1);
    assert.deepEqual(told(policy, [pair, budget("worker", { namespace: UNKNOWN })]), []);
    assert.deepEqual(told(policy, [worker({ replicas: UNKNOWN })]), []);
  });

  it("refuses a shell around Dynamo or a vertex, unless it hands over by exec", () => {
    const shell = (script: string) => worker({ container: { command: ["/bin/bash", "-ec"], args: [script] } });
    assert.match(
      told(policy, [shell("python3 -m dynamo.vllm")]).join(),
      /is run by the shell '\/bin\/bash', which passes no SIGTERM on/,
    );
    for (const fine of ["exec python3 -m dynamo.vllm", "ulimit -n 65536 && exec python3 -m dynamo.vllm"])
      assert.deepEqual(told(policy, [shell(fine)]), []);
    const command = { command: ["sh", "-c", "serve"] };
    assert.equal(told(policy, [deployment({ labels: { [VERTEX_LABEL]: "web" }, container: command })]).length, 1);
    assert.deepEqual(told(policy, [deployment({ container: command })]), []);
  });

  it("judges of an operator's graph only what is written in it", () => {
    const spec = (more: Props) => ({ services: { Frontend: { componentType: "frontend", replicas: 3, ...more } } });
    assert.deepEqual(told(policy, [graph(spec({}))]), []);
    assert.equal(told(policy, [graph(spec({ envs: [{ name: "ETCD_LEASE_TTL", value: "1" }] }))]).length, 1);
    assert.equal(told(policy, [graph(spec({ extraPodSpec: { terminationGracePeriodSeconds: 10 } }))]).length, 1);
  });
});
