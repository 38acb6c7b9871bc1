/**
 * A worker as a pod would run it. Its handler does what a request's body says, and writes down that it ran: at once and
 * to a file, so that the note outlives a kill.
 */
import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { type ServeOptions, serve, type Worker } from "../../runtime/index.ts";

/** What a test asks of a handler. */
export interface Task {
  key: string;
  /** Milliseconds to work. */
  workMs?: number;
  fail?: string;
  /** Answers in this many parts, `workMs` before each. */
  parts?: number;
  /** Answers with this many bytes. */
  bytes?: number;
}

export interface WorkerSpec {
  endpoint: string;
  runs: string;
  /** Accepts and never answers. */
  hangs?: boolean;
  options: ServeOptions;
}

const { endpoint, runs, hangs, options } = JSON.parse(process.argv[2] ?? "") as WorkerSpec;

const worker: Worker = await serve<Task>(
  endpoint,
  async ({ key, workMs = 0, fail, parts, bytes }, { signal }) => {
    appendFileSync(runs, `${key}\n`);
    if (hangs) return new Promise(() => undefined);
    if (parts !== undefined) return inParts(parts, workMs, signal);
    if (workMs > 0) await sleep(workMs);
    if (fail) throw new TypeError(fail);
    return bytes === undefined ? { key, by: worker.instance } : new Uint8Array(bytes).fill(7);
  },
  { host: "127.0.0.1", port: 0, ...options },
);
process.send?.({ instance: worker.instance, port: worker.port });

async function* inParts(count: number, workMs: number, signal: AbortSignal) {
  signal.addEventListener("abort", () => appendFileSync(runs, "a stream's caller left\n"));
  for (let part = 0; part < count; part++) {
    await sleep(workMs);
    yield { part, by: worker.instance };
  }
}
