/** What the audit found, in Prometheus' text format: components/plan/observability has the alerts on it. */
import { renameSync, writeFileSync } from "node:fs";
import type { Metric } from "../components/plan/observability/metrics.ts";
import type { Audit, AuditedTenant, Finding } from "../components/tenancy/audit.ts";

/** All there are, so that each is told as 0 when nothing is found, and its alert ends. */
const KINDS: Record<Finding["kind"], true> = {
  keys: true,
  dynamo: true,
  user: true,
  role: true,
  account: true,
  namespace: true,
  claim: true,
  generation: true,
  model: true,
  alias: true,
  topology: true,
};
const STATES: Record<AuditedTenant["state"], true> = { creating: true, active: true, releasing: true };

/** @param now when the audit ended, milliseconds since 1970 */
export function auditMetrics({ tenants, findings }: Audit, now: number): string {
  return [
    ...gauge("ringfence_residue", "What no live claim accounts for, see 'ringfence audit'.", [
      ...Object.keys(KINDS).map((kind) => sample("kind", kind, findings.filter((found) => found.kind === kind).length)),
    ]),
    ...gauge("ringfence_tenants", "Tenants by the state of their claim.", [
      ...Object.keys(STATES).map((state) =>
        sample("state", state, tenants.filter((tenant) => tenant.state === state).length),
      ),
    ]),
    ...gauge("ringfence_audit_timestamp_seconds", "When the audit ended, seconds since 1970.", [
      ["", Math.floor(now / 1000)],
    ]),
    "",
  ].join("\n");
}

type Sample = [labels: string, value: number];

/** Names of kinds and states need no escaping. */
const sample = (label: string, name: string, value: number): Sample => [`{${label}="${name}"}`, value];

const gauge = (name: Metric, help: string, samples: Sample[]): string[] => [
  `# HELP ${name} ${help}`,
  `# TYPE ${name} gauge`,
  ...samples.map(([labels, value]) => `${name}${labels} ${value}`),
];

/** Whole or not at all: node_exporter's textfile collector may read at any moment, and reads `*.prom` only. */
export function writeMetrics(file: string, text: string): void {
  const beside = `${file}.${process.pid}.tmp`;
  writeFileSync(beside, text);
  renameSync(beside, file);
}
