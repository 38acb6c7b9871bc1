/** The Grafana dashboard: one for all pipelines of a platform, told apart by their namespaces. */
import { type Metric, select } from "./metrics.ts";

/** What is shown of the chosen pipelines; Grafana puts their namespaces in. */
const HERE = { namespace: '=~"$namespace"' };

/** Grafana's own: Prometheus' scrape interval, four times. */
const WINDOW = "$__rate_interval";

const rate = (metric: Metric, matchers: Record<string, string> = {}, suffix = "") =>
  `rate(${select(metric, { ...HERE, ...matchers }, suffix)}[${WINDOW}])`;

const here = (metric: Metric) => select(metric, HERE);

const quantile = (q: number, metric: Metric) =>
  `histogram_quantile(${q}, sum by (namespace, le) (${rate(metric, {}, "_bucket")}))`;

interface Query {
  expr: string;
  legend: string;
}

interface View {
  title: string;
  description?: string;
  kind?: "timeseries" | "stat";
  unit?: string;
  queries: Query[];
}

interface Row {
  title: string;
  /** They share the row's width. */
  views: View[];
}

/** Of Grafana's grid. */
const COLUMNS = 24;
const HEIGHT = 8;

const ROWS: Row[] = [
  {
    title: "Platform",
    views: [
      {
        title: "Residue",
        description: "What no live claim accounts for: 'ringfence audit' names it.",
        kind: "stat",
        queries: [{ expr: `sum(${select("ringfence_residue")})`, legend: "found" }],
      },
      {
        title: "Tenants",
        kind: "stat",
        queries: [{ expr: `max by (state) (${select("ringfence_tenants")})`, legend: "{{state}}" }],
      },
      {
        title: "Time since the last audit",
        kind: "stat",
        unit: "s",
        queries: [{ expr: `time() - max(${select("ringfence_audit_timestamp_seconds")})`, legend: "age" }],
      },
      {
        title: "Leases that expired in etcd",
        description: "Of all tenants: etcd does not tell whose.",
        queries: [
          {
            expr: `sum(increase(${select("etcd_debugging_server_lease_expired_total")}[${WINDOW}]))`,
            legend: "expired",
          },
        ],
      },
    ],
  },
  {
    title: "Requests",
    views: [
      {
        title: "Requests",
        unit: "reqps",
        queries: [
          {
            expr: `sum by (namespace, status) (${rate("dynamo_frontend_requests_total")})`,
            legend: "{{namespace}} {{status}}",
          },
        ],
      },
      {
        title: "Waiting and in flight",
        queries: [
          {
            expr: `sum by (namespace) (${here("dynamo_frontend_queued_requests")})`,
            legend: "{{namespace}} waiting",
          },
          {
            expr: `sum by (namespace) (${here("dynamo_frontend_inflight_requests")})`,
            legend: "{{namespace}} in flight",
          },
        ],
      },
      {
        title: "Time to first token",
        unit: "s",
        queries: [0.5, 0.95].map((q) => ({
          expr: quantile(q, "dynamo_frontend_time_to_first_token_seconds"),
          legend: `{{namespace}} p${q * 100}`,
        })),
      },
      {
        title: "Time between tokens",
        unit: "s",
        queries: [0.5, 0.95].map((q) => ({
          expr: quantile(q, "dynamo_frontend_inter_token_latency_seconds"),
          legend: `{{namespace}} p${q * 100}`,
        })),
      },
    ],
  },
  {
    title: "Frontends and workers",
    views: [
      {
        title: "Requests that nobody took",
        queries: [
          {
            expr: `sum by (namespace) (${rate("dynamo_transport_nats_errors_total", { error_type: "request_failed" })})`,
            legend: "{{namespace}} NATS",
          },
          { expr: `sum by (namespace) (${rate("dynamo_transport_tcp_errors_total")})`, legend: "{{namespace}} TCP" },
        ],
      },
      {
        title: "Migrations",
        queries: [
          {
            expr: `sum by (namespace, migration_type) (${rate("dynamo_frontend_model_migration_total")})`,
            legend: "{{namespace}} {{migration_type}}",
          },
        ],
      },
      {
        title: "Requests at workers",
        unit: "reqps",
        queries: [
          {
            expr: `sum by (namespace, dynamo_component) (${rate("dynamo_component_requests_total")})`,
            legend: "{{namespace}} {{dynamo_component}}",
          },
        ],
      },
      {
        title: "Errors at workers",
        queries: [
          {
            expr: `sum by (namespace, error_type) (${rate("dynamo_component_errors_total")})`,
            legend: "{{namespace}} {{error_type}}",
          },
        ],
      },
    ],
  },
  {
    title: "Pods",
    views: [
      {
        title: "Pods that are ready, of those wanted",
        queries: [
          { expr: here("kube_deployment_status_replicas_ready"), legend: "{{namespace}} {{deployment}} ready" },
          { expr: here("kube_deployment_spec_replicas"), legend: "{{namespace}} {{deployment}} wanted" },
        ],
      },
      {
        title: "Restarts",
        queries: [
          {
            expr: `sum by (namespace, container) (increase(${here("kube_pod_container_status_restarts_total")}[${WINDOW}]))`,
            legend: "{{namespace}} {{container}}",
          },
        ],
      },
    ],
  },
];

/** The most characters of a dashboard's `uid`. */
export const UID_LENGTH = 40;

const DATASOURCE = { type: "prometheus", uid: "$datasource" };

/**
 * A dashboard as Grafana imports it.
 * @param uid its address in Grafana: the same for the same platform, at most UID_LENGTH characters
 * @param pipelines those to choose from
 */
export function dashboard(uid: string, title: string, pipelines: Array<{ pipeline: string; namespace: string }>) {
  const panels: object[] = [];
  let y = 0;
  for (const { title: rowTitle, views } of ROWS) {
    panels.push({
      id: panels.length + 1,
      type: "row",
      title: rowTitle,
      collapsed: false,
      gridPos: { x: 0, y, w: COLUMNS, h: 1 },
      panels: [],
    });
    y += 1;
    const w = COLUMNS / views.length;
    for (const [index, view] of views.entries()) {
      panels.push({ id: panels.length + 1, ...panel(view), gridPos: { x: index * w, y, w, h: HEIGHT } });
    }
    y += HEIGHT;
  }
  return {
    uid,
    title,
    tags: ["ringfence"],
    schemaVersion: 39,
    editable: false,
    refresh: "30s",
    time: { from: "now-3h", to: "now" },
    templating: {
      list: [
        { name: "datasource", label: "Prometheus", type: "datasource", query: "prometheus" },
        {
          name: "namespace",
          label: "Pipeline",
          type: "custom",
          query: pipelines.map(({ pipeline, namespace }) => `${pipeline} : ${namespace}`).join(","),
          multi: true,
          includeAll: true,
          current: { text: ["All"], value: ["$__all"] },
        },
      ],
    },
    panels,
  };
}

function panel({ title, description, kind = "timeseries", unit = "short", queries }: View) {
  return {
    type: kind,
    title,
    ...(description && { description }),
    datasource: DATASOURCE,
    fieldConfig: { defaults: { unit, min: 0 }, overrides: [] },
    options:
      kind === "stat"
        ? { reduceOptions: { calcs: ["lastNotNull"] }, textMode: "value_and_name" }
        : { legend: { displayMode: "list", placement: "bottom" } },
    targets: queries.map(({ expr, legend }, index) => ({
      refId: String.fromCharCode("A".charCodeAt(0) + index),
      datasource: DATASOURCE,
      expr,
      legendFormat: legend,
      ...(kind === "stat" && { instant: true }),
    })),
  };
}
