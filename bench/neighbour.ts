/** A neighbour: somebody else's client of the same etcd, at a steady rate, in a process of its own. */
import { Child } from "./child.ts";

export interface NeighbourOptions {
  /** `etcd3`: the plain client, which makes nothing again; `ringfence`: ours, which makes calls again when users changed. */
  client: "etcd3" | "ringfence";
  endpoint: string;
  username: string;
  /** A password, or files of a certificate whose name is the user's. */
  credentials: { password: string } | { ca: string; cert: string; key: string };
  /** What it may touch. */
  prefix: string;
  /** In turn, at this many requests a second. */
  requests: Array<"get" | "put">;
  rate: number;
  /** Watches its own keys. */
  watch: boolean;
}

export interface Sample {
  /** From when it was due to its answer: one that had to wait for the one before is late, too. */
  ms: number;
  /** What the error says; undefined when there was none. */
  failed?: string;
}

export interface Observed {
  samples: Sample[];
  /** Changes of its own that its watch was not told of. */
  missed: number;
  /** Errors of the watch. */
  watchFailures: string[];
}

export type Question = { start: NeighbourOptions } | { observe: "begin" | "end" };

export class Neighbour {
  readonly #child = new Child("neighbour-process.ts");

  /** Starts one, which works from now on. */
  static async start(options: NeighbourOptions): Promise<Neighbour> {
    const neighbour = new Neighbour();
    await neighbour.#child.ask({ start: options } satisfies Question);
    return neighbour;
  }

  /** What it saw while `work` went on. */
  async during(work: () => Promise<unknown>): Promise<Observed> {
    await this.#child.ask({ observe: "begin" } satisfies Question);
    await work();
    return this.#child.ask<Observed>({ observe: "end" } satisfies Question);
  }

  stop(): Promise<void> {
    return this.#child.stop();
  }
}

/** Of the requests that were answered, milliseconds. */
export const latencies = (samples: readonly Sample[]): number[] =>
  samples.filter(({ failed }) => failed === undefined).map(({ ms }) => ms);
