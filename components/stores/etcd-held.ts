/** A key that lives as long as its holder, and comes back when etcd was away for longer than its lease. */
import { backoff, pause } from "./backoff.ts";
import { until } from "./errors.ts";
import type { EtcdSession, Lease } from "./etcd-session.ts";

export interface HolderListener {
  /** The key was gone with its lease, and is there again under a new one. */
  restored(awayMs: number): void;
  /** It could not be kept alive; it goes on trying. Told once for each time that etcd is away. */
  trouble(message: string): void;
}

export class HeldKey {
  readonly #etcd: EtcdSession;
  readonly #key: string;
  readonly #value: string;
  readonly #ttl: number;
  readonly #listener: HolderListener;
  readonly #stop = new AbortController();
  #lease: Lease;
  #wanted = true;
  #kept = performance.now();
  #troubled = false;
  #done: Promise<void> = Promise.resolve();

  private constructor(
    etcd: EtcdSession,
    args: { key: string; value: string; ttl: number; lease: Lease },
    listener: HolderListener,
  ) {
    this.#etcd = etcd;
    this.#key = args.key;
    this.#value = args.value;
    this.#ttl = args.ttl;
    this.#lease = args.lease;
    this.#listener = listener;
  }

  /**
   * Puts a key under a lease of its own, and keeps that alive.
   * @param args.ttl seconds that the key outlives its holder
   * @param args.value asked for right before it is written
   * @throws StoreError when etcd does not take it within `withinMs`
   */
  static async hold(
    etcd: EtcdSession,
    args: { key: string; value: () => string; ttl: number; withinMs: number },
    listener: HolderListener,
  ): Promise<HeldKey> {
    let last: Error = new Error("not tried");
    return until(
      async () => {
        try {
          const lease = await etcd.grantLease(args.ttl);
          const value = args.value();
          await etcd.put(args.key, value, lease.id);
          const held = new HeldKey(etcd, { ...args, value, lease }, listener);
          held.#done = held.#keep();
          return held;
        } catch (error) {
          last = error as Error;
          return undefined;
        }
      },
      { deadlineMs: args.withinMs, late: () => last },
    );
  }

  /** Removes the key; the lease stays until `release`. */
  async remove(): Promise<void> {
    this.#wanted = false;
    await this.#etcd.remove(this.#key);
  }

  /** Revokes the lease, and with it removes the key. An etcd that is away does so by itself. */
  async release(): Promise<void> {
    this.#wanted = false;
    this.#stop.abort();
    await this.#done;
    await this.#etcd.revokeLease(this.#lease.id).catch(() => undefined);
  }

  async #keep(): Promise<void> {
    const { signal } = this.#stop;
    const wait = backoff({ initialMs: 50, maxMs: 500 });
    while (!signal.aborted) {
      try {
        const why = await this.#beat(signal);
        if (signal.aborted) return;
        if (why !== "lost") this.#trouble(why);
        if (why === "lost" || !(await this.#etcd.hasLease(this.#lease.id))) await this.#restore();
      } catch (error) {
        this.#trouble((error as Error).message);
      }
      await pause(wait(), signal);
    }
  }

  /** Asks three times in each TTL, on one stream. @returns why it ended; "lost" when the lease is gone */
  async #beat(signal: AbortSignal): Promise<string> {
    const stream = await this.#etcd.keepAlive();
    return new Promise((resolve) => {
      const everyMs = (this.#lease.ttl * 1000) / 3;
      const end = (why: string) => {
        clearInterval(timer);
        signal.removeEventListener("abort", stop);
        stream.cancel();
        resolve(why);
      };
      const stop = () => end("stopped");
      let unanswered = 0;
      const ask = () => {
        // Nobody may be at the other end of a connection that was never closed.
        if (unanswered++ >= 3) end("etcd does not answer on the lease's stream");
        else stream.write({ ID: this.#lease.id });
      };
      const timer = setInterval(ask, everyMs);
      signal.addEventListener("abort", stop);
      stream.on("data", ({ TTL }) => {
        unanswered = 0;
        if (Number(TTL) <= 0) return end("lost");
        this.#kept = performance.now();
        this.#troubled = false;
      });
      stream.on("error", (error) => end(error?.message ?? "broken"));
      stream.on("end", () => end("closed by the server"));
      // While the stream was opened, which takes long where a log-in is due.
      if (signal.aborted) stop();
      else ask();
    });
  }

  /** The same key again: whoever holds it cannot be there twice. */
  async #restore(): Promise<void> {
    if (!this.#wanted) return;
    const lease = await this.#etcd.grantLease(this.#ttl);
    if (this.#wanted) await this.#etcd.put(this.#key, this.#value, lease.id);
    // Not before: a lease without the key would be kept alive as if all were well.
    this.#lease = lease;
    // `remove` may have come in between, and been overtaken.
    if (!this.#wanted) await this.#etcd.remove(this.#key);
    const away = performance.now() - this.#kept;
    this.#kept = performance.now();
    this.#troubled = false;
    this.#listener.restored(away);
  }

  #trouble(message: string): void {
    if (!this.#troubled) this.#listener.trouble(`${this.#etcd.label}: ${message}`);
    this.#troubled = true;
  }
}
