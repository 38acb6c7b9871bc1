/** Which pods have an adapter that not all of them shall have: each loader tells for itself, from what all of them see. */
import { type AdapterRecord, loadedLabel, loadedName } from "../components/plan/adapter.ts";
import type { Sibling } from "./adapter-cluster.ts";

/**
 * Whether a pod shall load it: newer pods first, for a rolling upgrade takes the older ones away; those that failed last.
 * @param me the pod's name
 */
export const chosen = (record: AdapterRecord, me: string, pods: Sibling[]): boolean =>
  record.replicas === "all" || first(record, pods).some(({ name }) => name === me);

/** Whether a pod that is not chosen, and has it, may give it up: those that are chosen have it and are ready. */
export const dispensable = (record: AdapterRecord, pods: Sibling[]): boolean =>
  first(record, pods).every(({ ready, loaded }) => ready && loaded.has(loadedLabel(record)));

function first(record: AdapterRecord, pods: Sibling[]): Sibling[] {
  const failed = ({ failures }: Sibling) => (failures.has(loadedName(record)) ? 1 : 0);
  const order = pods
    .filter(({ stays }) => stays)
    .sort((a, b) => failed(a) - failed(b) || compare(b.createdAt, a.createdAt) || compare(a.name, b.name));
  return record.replicas === "all" ? order : order.slice(0, record.replicas);
}

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
