/** `ringfence audit`: every tenant, and whatever no live claim accounts for. */
import { VisibleError } from "../components/plan/visible-error.ts";
import { type Audit, audit } from "../components/tenancy/audit.ts";
import { auditMetrics, writeMetrics } from "./audit-metrics.ts";
import { withStores } from "./stores.ts";
import { table } from "./table.ts";

/** The exit code when something is found. */
export const FOUND = 3;

export interface AuditOptions {
  json?: boolean;
  /** A file to write Prometheus' text to; `true` is stdout, in place of the text for people. */
  metrics?: string | true;
}

/**
 * @returns the exit code: 3 when something is found, else 1 when not everything could be looked at
 * @throws VisibleError rather than give figures of a part
 */
export async function auditCommand({ json, metrics }: AuditOptions): Promise<number> {
  const result = await withStores(audit);
  if (metrics && result.notes.length > 0)
    throw new VisibleError(`--metrics: no figures, for ${result.notes.join("; ")}`);
  const measured = metrics ? auditMetrics(result, Date.now()) : "";
  if (typeof metrics === "string") writeMetrics(metrics, measured);
  if (metrics === true) process.stdout.write(measured);
  else console.log(json ? JSON.stringify(result, null, 2) : auditText(result));
  if (result.findings.length > 0) return FOUND;
  return result.notes.length > 0 ? 1 : 0;
}

export function auditText({ tenants, findings, graves, notes }: Audit): string {
  const parts: string[] = [];
  if (tenants.length > 0) {
    const rows = tenants.map(({ logicalName, state, generation, keys, recorded }) => [
      logicalName,
      state,
      generation,
      String(keys),
      `${recorded.project}/${recorded.stack}`,
    ]);
    parts.push(table(["TENANT", "STATE", "GENERATION", "KEYS", "STACK"], rows));
  }
  if (findings.length > 0)
    parts.push(
      table(
        ["FOUND", "NAME", "DETAIL"],
        findings.map(({ kind, name, detail }) => [kind, name, detail]),
      ),
    );
  if (graves > 0) parts.push(`${graves} released tenants are watched for late calls`);
  parts.push(...notes);
  parts.push(`${tenants.length} tenants, residue ${findings.length}`);
  return parts.join("\n\n");
}
