/** Probes of a container, asked over HTTP as a kubelet asks. */
import { setTimeout as sleep } from "node:timers/promises";
import { httpRequest } from "../request.ts";
import { ConfigError } from "./environment.ts";
import type { ContainerSpec, Probe } from "./types.ts";

/** Answers whether the container passes, and why it does not. */
export type Ask = () => Promise<string | undefined>;

/** @throws ConfigError for a probe that is no GET over HTTP, or that names no port of the container */
export function asker(container: ContainerSpec, { httpGet, timeoutSeconds = 1 }: Probe, address: string): Ask {
  if (!httpGet) throw new ConfigError(`container "${container.name}": process pods know probes by httpGet only`);
  const named = container.ports?.find(({ name }) => name === httpGet.port)?.containerPort;
  const port = typeof httpGet.port === "number" ? httpGet.port : (named ?? Number(httpGet.port));
  if (Number.isNaN(port)) throw new ConfigError(`container "${container.name}": no port is named ${httpGet.port}`);
  const url = `http://${address}:${port}${httpGet.path ?? "/"}`;
  const headers = Object.fromEntries((httpGet.httpHeaders ?? []).map(({ name, value }) => [name, value]));
  return async () => {
    try {
      const { status } = await httpRequest(url, { headers, within: timeoutSeconds });
      return status >= 200 && status < 400 ? undefined : `HTTP probe failed with statuscode: ${status}`;
    } catch (error) {
      return `Get "${url}": ${(error as Error).message}`;
    }
  };
}

/**
 * Asks, period after period, until `judge` says that this is enough.
 * @param since when the container started, milliseconds since 1970
 * @param judge hears each verdict that the thresholds let pass: undefined, or why it fails
 */
export async function probe(
  ask: Ask,
  { initialDelaySeconds = 0, periodSeconds = 10, failureThreshold = 3, successThreshold = 1 }: Probe,
  since: number,
  signal: AbortSignal,
  judge: (failure: string | undefined) => "enough" | "again",
): Promise<void> {
  const pause = (milliseconds: number) => sleep(milliseconds, undefined, { signal }).catch(() => undefined);
  const rest = since + initialDelaySeconds * 1000 - Date.now();
  if (rest > 0) await pause(rest);
  let [passed, failed] = [0, 0];
  while (!signal.aborted) {
    const failure = await ask();
    if (signal.aborted) return;
    [passed, failed] = failure === undefined ? [passed + 1, 0] : [0, failed + 1];
    const judged = passed >= successThreshold || failed >= failureThreshold;
    if (judged && judge(failure) === "enough") return;
    await pause(periodSeconds * 1000);
  }
}
