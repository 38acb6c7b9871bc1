import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { auditMetrics, writeMetrics } from "../../cli/audit-metrics.ts";
import { pipelineAlerts, platformAlerts } from "../../components/plan/observability/alerts.ts";
import { dashboard } from "../../components/plan/observability/dashboard.ts";
import { EMITTERS, METRICS } from "../../components/plan/observability/metrics.ts";
import { planesOf } from "../../components/plan/planes.ts";
import type { Audit } from "../../components/tenancy/audit.ts";
import { Promtool } from "./promtool.ts";

const recorded = { project: "p", stack: "s", resource: "chat" };
const tenant = (state: "active" | "releasing") => ({
  logicalName: "prod/chat",
  generation: "5c21aedf0123456789abcdef",
  state,
  owner: "ledger",
  recorded,
  keys: 3,
  dynamo: [],
});
const found: Audit = {
  tenants: [tenant("active"), tenant("active"), tenant("releasing")],
  findings: [
    { kind: "keys", name: "/ringfence/tenants/x/", detail: '2 keys, "no" claim\n' },
    { kind: "keys", name: "/ringfence/tenants/y/", detail: "" },
    { kind: "account", name: "A1", detail: "" },
  ],
  graves: 1,
  notes: [],
};

const boards = dashboard("ringfence", "Inference pipelines", [
  { pipeline: "chat", namespace: "chat-5c21aedf" },
  { pipeline: "embed", namespace: "embed-00c0ffee" },
]);
interface Panel {
  id: number;
  title: string;
  type: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: Array<{ expr: string }>;
}
const panels = boards.panels as Panel[];
const queries = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));

describe("what is observed", () => {
  let promtool: Promtool;
  before(async function () {
    promtool = await Promtool.bring(this);
  });

  it("has each metric of alerts and dashboard from somebody named", () => {
    const planes = ["brokered", "native"] as const;
    const groups = [
      platformAlerts(),
      ...planes.map((name) => pipelineAlerts({ pipeline: "a", namespace: "b", planes: planesOf(name) })),
    ];
    const expressions = [...queries, ...groups.flatMap(({ rules }) => rules.map(({ expr }) => expr))];
    const bare = expressions.map((expr) => expr.replaceAll(/by \([^)]*\)|\{[^}]*\}|\[[^\]]*\]/g, ""));
    const names = bare.flatMap((expr) => expr.match(/[a-z]+(_[a-z]+)+/g) ?? []);
    const used = new Set(names.map((name) => name.replace(/_bucket$/, "")));
    used.delete("histogram_quantile");
    assert.deepEqual([...used].sort(), Object.keys(METRICS).sort());
    assert.deepEqual(new Set(Object.values(METRICS)), new Set(Object.keys(EMITTERS)));
  });

  it("is written down: every alert, and every metric that one needs", () => {
    const text = readFileSync(new URL("../../docs/observability.md", import.meta.url), "utf8");
    const alerts = [
      platformAlerts(),
      ...["brokered" as const, "native" as const].map((name) =>
        pipelineAlerts({ pipeline: "a", namespace: "b", planes: planesOf(name) }),
      ),
    ].flatMap(({ rules }) => rules);
    const names = Object.keys(METRICS).filter((metric) => alerts.some(({ expr }) => expr.includes(metric)));
    for (const name of [...alerts.map(({ alert }) => alert), ...names]) assert.ok(text.includes(name), name);
    const documented = text.match(/^\| Ringfence\w+/gm)?.map((cell) => cell.slice(2));
    assert.deepEqual(new Set(documented), new Set(alerts.map(({ alert }) => alert)));
  });

  it("is asked by the dashboard in queries that Prometheus takes", () =>
    promtool.accepts([
      {
        name: "dashboard",
        rules: queries.map((expr, index) => ({
          record: `query:${index}`,
          expr: expr.replaceAll("$__rate_interval", "1m").replaceAll("$namespace", "chat-5c21aedf|embed-00c0ffee"),
        })),
      },
    ]));

  it("is on a dashboard whose panels do not lie on each other, each with an id of its own", () => {
    assert.ok(panels.length > 10);
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
    for (const [index, { title, gridPos: a }] of panels.entries()) {
      assert.ok(a.x >= 0 && a.x + a.w <= 24, title);
      for (const { title: other, gridPos: b } of panels.slice(index + 1)) {
        const apart = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y;
        assert.ok(apart, `${title} and ${other}`);
      }
    }
  });

  it("is chosen by the pipelines' names", () => {
    const [, variable] = boards.templating.list;
    assert.equal(variable?.query, "chat : chat-5c21aedf,embed : embed-00c0ffee");
  });

  it("is told by the audit in text that Prometheus takes, a kind without findings as 0", async () => {
    const text = auditMetrics(found, 1_800_000_000_999);
    await promtool.acceptsMetrics(text);
    assert.match(text, /^ringfence_residue\{kind="keys"\} 2$/m);
    assert.match(text, /^ringfence_residue\{kind="account"\} 1$/m);
    assert.match(text, /^ringfence_residue\{kind="namespace"\} 0$/m);
    assert.match(text, /^ringfence_tenants\{state="active"\} 2$/m);
    assert.match(text, /^ringfence_tenants\{state="creating"\} 0$/m);
    assert.match(text, /^ringfence_audit_timestamp_seconds 1800000000$/m);
  });

  it("is in a file that is never half written", () => {
    const directory = mkdtempSync(join(tmpdir(), "ringfence-metrics-"));
    try {
      const file = join(directory, "ringfence.prom");
      writeMetrics(file, "first\n");
      writeMetrics(file, "second\n");
      assert.equal(readFileSync(file, "utf8"), "second\n");
      assert.deepEqual(readdirSync(directory), ["ringfence.prom"]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it("has the lease counter that etcd really has", async () => {
    const { platform } = JSON.parse(readFileSync(process.env.RINGFENCE_PLATFORM ?? "", "utf8"));
    const answer = await fetch(new URL("/metrics", platform.etcd.endpoints[0]));
    assert.match(await answer.text(), /^etcd_debugging_server_lease_expired_total \d+$/m);
  });
});
