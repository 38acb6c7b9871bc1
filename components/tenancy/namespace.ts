/** A tenant's part of Kubernetes, as a release sees it: one namespace, and all that is in it. */
import { GENERATION_LABEL } from "../plan/labels.ts";
import { StoreError, until } from "../stores/errors.ts";
import type { Stores } from "./access.ts";
import type { Caller } from "./hold.ts";

/** How long a namespace's pods and volumes have to go, milliseconds: Kubernetes' default grace is 30 s. */
const NAMESPACE_DEADLINE_MS = 180_000;

/**
 * Removes a namespace that carries the generation, and waits until it is gone.
 * @returns false when there was none, or one that is not ours
 */
export async function dropNamespace(stores: Stores, name: string, generation: string, call: Caller): Promise<boolean> {
  const kubernetes = await stores.kubernetes();
  const found = await kubernetes.namespace(name);
  if (found?.metadata.labels?.[GENERATION_LABEL] !== generation) return false;
  await call(() => kubernetes.deleteNamespace(name));
  await until(async () => ((await kubernetes.namespace(name)) ? undefined : true), {
    deadlineMs: NAMESPACE_DEADLINE_MS,
    everyMs: 250,
    late: async () => {
      const stuck = JSON.stringify((await kubernetes.namespace(name))?.status ?? {});
      return new StoreError(
        `${kubernetes.label}: namespace '${name}' is not gone after ${NAMESPACE_DEADLINE_MS / 1000} s (${stuck}): remove what holds it, then run again`,
      );
    },
  });
  return true;
}
