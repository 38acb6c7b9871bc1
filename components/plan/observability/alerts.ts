/** Alerts, as Prometheus' rules have them. Each fires, and keeps quiet, in test/observability. */
import type { Planes } from "../planes.ts";
import { type Metric, select } from "./metrics.ts";

export interface Alert {
  alert: string;
  expr: string;
  /** How long it has to hold. */
  for?: string;
  labels: { severity: "critical" | "warning"; pipeline?: string };
  annotations: { summary: string; description: string };
}

export interface RuleGroup {
  name: string;
  rules: Alert[];
}

/** Requests in five minutes that nobody took: below it is a worker's exchange, which is retried (DYN_MIGRATION_LIMIT). */
const NO_RESPONDERS = 5;

/** Requests in ten minutes that were moved to another worker: below it is a rolling update. */
const MIGRATIONS = 20;

/** How old an audit may be before its silence is no news; the timer is to run a few times as often. */
const AUDIT_AGE_SECONDS = 2 * 60 * 60;

/**
 * What was counted in a window, also by a counter that has only come into being: Dynamo's counters with labels appear at
 * their first error, which `increase` alone does not see.
 */
const counted = (metric: Metric, matchers: Record<string, string>, window: string): string => {
  const series = select(metric, matchers);
  return `(increase(${series}[${window}]) > 0 or (${series} unless ${series} offset ${window}))`;
};

export interface Observed {
  /** What alerts call it. */
  pipeline: string;
  /** Its Kubernetes namespace. */
  namespace: string;
  /** Of its Dynamo; undefined for a pipeline without one. */
  planes?: Planes | undefined;
}

/** The alerts of one pipeline. */
export function pipelineAlerts({ pipeline, namespace, planes }: Observed): RuleGroup {
  const here = { namespace };
  const alert = (name: string, severity: "critical" | "warning", rest: Omit<Alert, "alert" | "labels">): Alert => ({
    alert: `Ringfence${name}`,
    labels: { severity, pipeline },
    ...rest,
  });
  const rules = [
    alert("PodsNotReady", "warning", {
      expr: `${select("kube_deployment_spec_replicas", here)} - ${select("kube_deployment_status_replicas_ready", here)} > 0`,
      // A large model takes this long to load.
      for: "30m",
      annotations: {
        summary: `${pipeline}: pods of {{ $labels.deployment }} are not ready`,
        description: `{{ $value }} pods of {{ $labels.deployment }} in ${namespace} have not been ready for 30 minutes. See 'kubectl -n ${namespace} get events' and the pods' logs.`,
      },
    }),
  ];
  if (planes) {
    const failed =
      planes.requests === "nats"
        ? counted("dynamo_transport_nats_errors_total", { ...here, error_type: "request_failed" }, "5m")
        : counted("dynamo_transport_tcp_errors_total", here, "5m");
    rules.push(
      alert("NoResponders", "critical", {
        expr: `sum(${failed}) > ${NO_RESPONDERS}`,
        annotations: {
          summary: `${pipeline}: requests find no responder`,
          description: `{{ $value | humanize }} requests from the frontends in ${namespace} reached no worker in 5 minutes. Workers are gone or not registered: compare ready pods with the instances below the pipeline's etcd prefix, or its DynamoWorkerMetadata objects.`,
        },
      }),
      alert("Migrations", "warning", {
        expr: `sum by (model, migration_type) (${counted("dynamo_frontend_model_migration_total", here, "10m")}) > ${MIGRATIONS}`,
        annotations: {
          summary: `${pipeline}: requests are moved from worker to worker`,
          description: `{{ $value | humanize }} requests for {{ $labels.model }} were moved in 10 minutes ({{ $labels.migration_type }}): workers come and go, or cannot be reached.`,
        },
      }),
    );
  }
  if (planes?.discovery === "etcd") {
    const restarts = counted("kube_pod_container_status_restarts_total", here, "10m");
    const expired = select("etcd_debugging_server_lease_expired_total");
    rules.push(
      alert("LeaseLost", "warning", {
        // A Dynamo worker ends itself when it loses its lease, and no metric of its own outlives that.
        expr: `sum by (pod, container) (${restarts}) > 0 and on () sum(increase(${expired}[10m])) > 0`,
        annotations: {
          summary: `${pipeline}: {{ $labels.pod }} restarted while leases expired`,
          description: `{{ $labels.container }} of {{ $labels.pod }} in ${namespace} restarted, and etcd expired leases at that time: keep-alives came too late. Look at etcd's latency, the proxies' and the node's load; ETCD_LEASE_TTL is how long a worker may be silent.`,
        },
      }),
    );
  }
  return { name: `ringfence.${pipeline}`, rules };
}

/** The alerts of a platform: what no pipeline can tell of itself, for it may be gone. */
export function platformAlerts(): RuleGroup {
  const residue = select("ringfence_residue");
  const audited = select("ringfence_audit_timestamp_seconds");
  return {
    name: "ringfence.platform",
    rules: [
      {
        alert: "RingfenceResidue",
        expr: `max by (kind) (${residue}) > 0`,
        labels: { severity: "warning" },
        annotations: {
          summary: "{{ $value }} × {{ $labels.kind }} that no live claim accounts for",
          description: "'ringfence audit' names each and says what to do.",
        },
      },
      {
        alert: "RingfenceReleaseUnfinished",
        expr: `max(${select("ringfence_tenants", { state: "releasing" })}) > 0`,
        // Longer than a release takes, pods' grace periods included.
        for: "1h",
        labels: { severity: "warning" },
        annotations: {
          summary: "{{ $value }} tenants are releasing, and no destroy has finished them",
          description:
            "A destroy was interrupted or refused. 'ringfence audit' names the tenants and their stacks: destroy again there.",
        },
      },
      {
        alert: "RingfenceAuditStale",
        expr: `time() - max(${audited}) > ${AUDIT_AGE_SECONDS} or absent(${audited})`,
        for: "1h",
        labels: { severity: "warning" },
        annotations: {
          summary: "no recent audit: residue would go unnoticed",
          description: "'ringfence audit --metrics' has not run, has failed, or its file is not collected.",
        },
      },
    ],
  };
}
