/**
 * A new generation of an adapter: waited for until enough pods have it, and only then does traffic move. It reads alone: the
 * loaders do what is wanted, so a killed run leaves nothing half done.
 */
import { type AdapterRecord, loadedName } from "../plan/adapter.ts";
import { StoreError, until } from "../stores/errors.ts";
import type { Stores } from "./access.ts";
import { type AdapterStatus, countOf } from "./adapter-status.ts";

const POLL_MS = 500;

export interface AdapterRollout {
  /** The tenant's Kubernetes namespace. */
  namespace: string;
  vertex: string;
  /** What shall serve. */
  record: AdapterRecord;
  /** Pods that have to have it and be ready; fewer when the vertex has fewer. */
  minReady: number;
  /** Pods that the vertex shall have; none while its pipeline is paused. */
  pods: number;
  timeoutSeconds: number;
}

/** What serves, and how it came out. */
export interface RolledOut extends Pick<AdapterStatus, "wanted" | "loaded" | "ready"> {
  serving: AdapterRecord;
  /** Why what shall serve does not; empty when it does. */
  problem: string;
}

/**
 * @param earlier what has served so far, which goes on when its successor does not come
 * @throws StoreError that names the pods and why, when it does not come and there is nothing that served before
 */
export async function rollOut(stores: Stores, rollout: AdapterRollout, earlier?: AdapterRecord): Promise<RolledOut> {
  const { namespace, record, pods, timeoutSeconds } = rollout;
  const most = record.replicas === "all" ? pods : Math.min(record.replicas, pods);
  const needed = Math.min(rollout.minReady, most);
  const name = loadedName(record);
  let said = "";
  let count = { wanted: 0, loaded: 0, ready: 0, failures: [] as AdapterStatus["failures"] };
  const failures = () => count.failures.map(({ pod, why }) => `${pod}: ${why}`).join("; ");
  const late = () => {
    const reasons = failures() || "no pod says why: kubectl logs -c adapter-loader tells";
    return new StoreError(
      `adapter '${record.adapter}': ${count.ready} of at least ${needed} ready pods of '${rollout.vertex}' in namespace '${namespace}' have '${name}' after ${timeoutSeconds} s (${reasons})`,
    );
  };
  try {
    await until(
      async () => {
        count = await look(stores, rollout);
        const line = `adapter '${name}': loaded by ${count.loaded} of ${count.wanted} pods, ${count.ready} of them ready${count.failures.length > 0 ? ` (${failures()})` : ""}`;
        if (line !== said) stores.progress(line);
        said = line;
        return count.ready >= needed ? true : undefined;
      },
      { deadlineMs: 1000 * timeoutSeconds, everyMs: POLL_MS, late },
    );
    return { serving: record, problem: "", ...numbers(count) };
  } catch (error) {
    if (!earlier || !(error instanceof StoreError) || error.unreachable) throw error;
    // A generation of its own is kept; the same one with other settings serves already.
    const serving = earlier.generation === record.generation ? record : earlier;
    const problem = `${error.message}; '${loadedName(serving)}' goes on serving; run 'pulumi up' again when that is mended`;
    stores.progress(problem);
    return { serving, problem, ...numbers(count) };
  }
}

/** How far it has come by now. */
export async function look(
  stores: Stores,
  { namespace, vertex, record }: Pick<AdapterRollout, "namespace" | "vertex" | "record">,
) {
  const kubernetes = await stores.kubernetes();
  return countOf(record, vertex, await kubernetes.pods(namespace));
}

const numbers = ({ wanted, loaded, ready }: Pick<AdapterStatus, "wanted" | "loaded" | "ready">) => ({
  wanted,
  loaded,
  ready,
});
