/** A prefix of etcd as it is now: listed, then watched, and listed again whenever the watch cannot tell. */
import { backoff, pause } from "./backoff.ts";
import type { EtcdSession } from "./etcd-session.ts";
import { type Entry, entryOf } from "./etcd-txn.ts";

export interface ViewListener {
  /** Everything that is there; what was told before and is not in it is gone. */
  all(entries: Entry[]): void;
  put(entry: Entry): void;
  gone(key: string): void;
  /** The view is behind until the next `all`; it tries on its own. */
  trouble(message: string): void;
}

/**
 * A watch may fall silent without an end: behind an `etcd grpc-proxy` after a token has expired (etcd#19296). So
 * everything is listed again after this time, milliseconds.
 */
const RELIST_MS = 30_000;

/** @returns a function that ends the view */
export function viewPrefix(etcd: EtcdSession, prefix: string, listener: ViewListener): () => void {
  const stopped = new AbortController();
  const { signal } = stopped;
  void (async () => {
    let wait = backoff({ initialMs: 50, maxMs: 1_000 });
    while (!signal.aborted) {
      try {
        const { entries, revision } = await etcd.list(prefix);
        if (signal.aborted) return;
        listener.all(entries);
        wait = backoff({ initialMs: 50, maxMs: 1_000 });
        const ended = await follow(etcd, prefix, revision, listener, signal);
        if (ended === "time to list") continue;
        if (!signal.aborted) listener.trouble(`${etcd.label}: the watch ended (${ended}); listing again`);
      } catch (error) {
        if (!signal.aborted) listener.trouble((error as Error).message);
      }
      await pause(wait(), signal);
    }
  })();
  return () => stopped.abort();
}

/** @returns why there is no more to follow: a compaction, a refusal, a connection that ended */
async function follow(
  etcd: EtcdSession,
  prefix: string,
  revision: string,
  listener: ViewListener,
  signal: AbortSignal,
): Promise<string> {
  const stream = await etcd.watch(prefix, revision);
  return new Promise((resolve) => {
    const end = (why: string) => {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      stream.cancel();
      resolve(why);
    };
    const stop = () => end("stopped");
    const timer = setTimeout(() => end("time to list"), RELIST_MS);
    timer.unref();
    signal.addEventListener("abort", stop);
    // A refused watch is answered with both `created` and `canceled`.
    stream.on("data", (answer) => {
      if (signal.aborted) return;
      if (answer.compact_revision !== "0") return end(`compacted at ${answer.compact_revision}`);
      if (answer.canceled) return end(answer.cancel_reason || "cancelled");
      for (const { type, kv } of answer.events) {
        const entry = entryOf(kv);
        if (type === "Delete") listener.gone(entry.key);
        else listener.put(entry);
      }
    });
    stream.on("error", (error) => end(error?.message ?? "broken"));
    stream.on("end", () => end("closed by the server"));
    // Last: a cancelled stream tells an error, which ends the process where nobody listens.
    if (signal.aborted) stop();
  });
}
