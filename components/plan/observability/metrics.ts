/** Every metric that alerts and the dashboard use, and what emits it. `test/observability` holds both to this list. */

/** Who has to be scraped for a metric to be there. */
export const EMITTERS = {
  frontend: "Dynamo's frontend, on its port 'http'",
  worker: "Dynamo's workers, on their port 'system' (DYN_SYSTEM_PORT)",
  "kube-state-metrics": "kube-state-metrics, as kube-prometheus-stack installs it",
  etcd: "the platform's etcd, on its client or metrics address",
  ringfence: "'ringfence audit --metrics', run by a timer and collected as a text file",
} as const;

/**
 * By name, without the suffixes of a histogram. Read in Dynamo 1.x (lib/runtime/src/metrics/prometheus_names.rs,
 * transport_metrics.rs), kube-state-metrics 2.x (docs/metrics/workload) and etcd 3.6 (server/etcdserver/metrics.go).
 */
export const METRICS = {
  dynamo_frontend_requests_total: "frontend",
  dynamo_frontend_queued_requests: "frontend",
  dynamo_frontend_inflight_requests: "frontend",
  dynamo_frontend_time_to_first_token_seconds: "frontend",
  dynamo_frontend_inter_token_latency_seconds: "frontend",
  /** `migration_type`: `new_request` found nobody to take it, `ongoing_request` lost its worker. */
  dynamo_frontend_model_migration_total: "frontend",
  /** `error_type`: `request_failed` is no responder, or no answer in time. */
  dynamo_transport_nats_errors_total: "frontend",
  /** A request that could not be sent, or got no answer in time. */
  dynamo_transport_tcp_errors_total: "frontend",
  dynamo_component_requests_total: "worker",
  dynamo_component_errors_total: "worker",
  kube_deployment_spec_replicas: "kube-state-metrics",
  kube_deployment_status_replicas_ready: "kube-state-metrics",
  kube_pod_container_status_restarts_total: "kube-state-metrics",
  etcd_debugging_server_lease_expired_total: "etcd",
  /** `kind` as in `ringfence audit`; every kind is there, with 0 where nothing was found. */
  ringfence_residue: "ringfence",
  /** `state`: creating, active, releasing. */
  ringfence_tenants: "ringfence",
  /** When the audit that the file is from ended, seconds since 1970. */
  ringfence_audit_timestamp_seconds: "ringfence",
} as const satisfies Record<string, keyof typeof EMITTERS>;

export type Metric = keyof typeof METRICS;

/**
 * A series as PromQL selects it.
 * @param matchers label → value, or a matcher in full (`=~"…"`)
 */
export function select(metric: Metric, matchers: Record<string, string> = {}, suffix = ""): string {
  const parts = Object.entries(matchers).map(([label, value]) =>
    /^(=~|!~|!=)/.test(value) ? `${label}${value}` : `${label}=${JSON.stringify(value)}`,
  );
  return `${metric}${suffix}${parts.length > 0 ? `{${parts.join(",")}}` : ""}`;
}
