/**
 * What a worker remembers of requests: each runs at most once, and its reply is kept for a caller that asks again.
 * A request is forgotten when its caller says that it waits no more, or when its deadline is well over.
 */
import type { Run } from "./wire.ts";

/** One message of a reply. */
export interface Frame {
  header: string | undefined;
  data: Uint8Array;
}

/** A deadline is counted from the arrival here: a message may have been under way for this long, milliseconds. */
const MARGIN_MS = 5_000;

/** For so long a client's count of settled requests is kept after its last request, milliseconds: late messages are known by it. */
const CLIENT_MS = 600_000;

/** One reply may have this share of what is kept. */
const LARGEST_SHARE = 1 / 4;

export class Job {
  /** Names the request in logs. */
  readonly id: string;
  readonly begun = performance.now();
  /** When the caller stops waiting, milliseconds since 1970. */
  readonly deadline: number;
  /** Where the caller waits; the latest place, when it asked again. */
  replyTo: string;
  done = false;
  /** Its caller waits no more: nothing of it is kept. */
  dropped = false;
  readonly frames: Frame[] = [];
  /** The number of the first frame that is still kept. */
  first = 0;
  bytes = 0;
  #upTo: number;
  #room: (() => void) | undefined;
  #abort: AbortController | undefined;
  #aborted: Error | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor({ client, number, leftMs, upTo = Number.POSITIVE_INFINITY }: Run, replyTo: string) {
    this.id = `${client}.${number}`;
    this.deadline = Date.now() + leftMs;
    this.replyTo = replyTo;
    this.#upTo = upTo;
  }

  /** Made when a handler asks for it: most never do. */
  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController();
      if (this.#aborted) this.#abort.abort(this.#aborted);
      else if (!this.done) {
        const left = Math.min(Math.max(this.deadline - Date.now(), 0), 2 ** 31 - 1);
        this.#timer = setTimeout(() => this.abort("the caller's deadline is over"), left);
      }
    }
    return this.#abort.signal;
  }

  /** The caller takes the parts before this one. */
  takes(upTo: number): void {
    this.#upTo = Math.max(this.#upTo, upTo);
    this.#room?.();
  }

  /** Resolves when the caller takes this part, or waits no more. */
  async room(part: number): Promise<void> {
    if (part < this.#upTo) return;
    // Asked for, its deadline counts.
    void this.signal;
    while (part >= this.#upTo && !this.#aborted)
      await new Promise<void>((resolve) => {
        this.#room = resolve;
      });
  }

  get aborted(): boolean {
    return this.#aborted !== undefined;
  }

  abort(why: string): void {
    this.#aborted ??= new Error(why);
    this.#abort?.abort(this.#aborted);
    this.#room?.();
    clearTimeout(this.#timer);
  }

  end(): void {
    this.done = true;
    clearTimeout(this.#timer);
  }
}

interface ClientRecord {
  settled: number;
  seen: number;
  jobs: Map<number, Job>;
}

export class Jobs {
  readonly #clients = new Map<string, ClientRecord>();
  readonly #limit: number;
  /** Whose frames may go first. */
  readonly #finished = new Set<Job>();
  #bytes = 0;

  /** @param limit bytes of replies that are kept */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * @returns the job that the request has already; `settled` when its caller waits no more; undefined when it is new
   */
  find({ client, number, settled }: Run): Job | "settled" | undefined {
    const record = this.#record(client);
    if (settled > record.settled) {
      record.settled = settled;
      for (const [older, job] of record.jobs) {
        if (older >= settled) break;
        this.#drop(record, older, job);
      }
    }
    return number < record.settled ? "settled" : record.jobs.get(number);
  }

  add(run: Run, replyTo: string): Job {
    const job = new Job(run, replyTo);
    this.#record(run.client).jobs.set(run.number, job);
    return job;
  }

  get(client: string, number: number): Job | undefined {
    return this.#clients.get(client)?.jobs.get(number);
  }

  keep(job: Job, frame: Frame): void {
    if (job.dropped) return;
    job.frames.push(frame);
    job.bytes += frame.data.length;
    this.#bytes += frame.data.length;
    while (job.bytes > this.#limit * LARGEST_SHARE && job.frames.length > 1) this.#forgetFirst(job);
  }

  /** The caller has the frames before this one, and never asks for them again. */
  arrived(job: Job, from: number): void {
    while (job.first < from && job.frames.length > 0) this.#forgetFirst(job);
  }

  finish(job: Job): void {
    job.end();
    if (job.dropped) return;
    this.#finished.add(job);
    for (const oldest of this.#finished) {
      if (this.#bytes <= this.#limit) break;
      while (oldest.frames.length > 0) this.#forgetFirst(oldest);
      this.#finished.delete(oldest);
    }
  }

  /** Forgets what nobody can ask for any more. */
  sweep(): void {
    const now = Date.now();
    for (const [client, record] of this.#clients) {
      for (const [number, job] of record.jobs)
        if (job.done && job.deadline + MARGIN_MS < now) this.#drop(record, number, job);
      if (record.jobs.size === 0 && record.seen + CLIENT_MS < now) this.#clients.delete(client);
    }
  }

  #record(client: string): ClientRecord {
    let record = this.#clients.get(client);
    if (!record) {
      record = { settled: 0, seen: 0, jobs: new Map() };
      this.#clients.set(client, record);
    }
    record.seen = Date.now();
    return record;
  }

  #forgetFirst(job: Job): void {
    const size = job.frames.shift()?.data.length ?? 0;
    job.first++;
    job.bytes -= size;
    this.#bytes -= size;
  }

  #drop(record: ClientRecord, number: number, job: Job): void {
    job.dropped = true;
    record.jobs.delete(number);
    this.#finished.delete(job);
    this.#bytes -= job.bytes;
    job.bytes = 0;
    job.frames.length = 0;
  }
}
