/**
 * The instances of one endpoint, as a client knows them: by a watch of their keys, by health checks, and by what becomes
 * of its own requests. An etcd that is away changes nothing of it.
 */
import { backoff, pause } from "../components/stores/backoff.ts";
import { viewPrefix } from "../components/stores/etcd-view.ts";
import { Balancer, type Instance } from "./balance.ts";
import type { Connection } from "./connection.ts";
import type { Mailbox } from "./exchange.ts";
import type { Counter, Histogram, Metrics } from "./metrics.ts";
import { instancesOf, readRegistration } from "./registration.ts";
import { RetryBudget } from "./retry.ts";
import { write } from "./wire.ts";

export interface HealthOptions {
  /** Milliseconds between two health checks of an instance, and for its answer. */
  healthIntervalMs: number;
}

/** Checks in a row without an answer, after which an instance is dead. */
const MISSES = 2;

/** Requests in a row without an answer in time, after which an instance that passes its checks is ejected. */
const UNANSWERED = 3;

/** How long it is ejected at first, and at most, milliseconds; doubled each time in a row. */
const EJECTION_MS = { first: 5_000, most: 60_000 };

const EMPTY = new Uint8Array(0);

export class Directory {
  readonly budget = new RetryBudget();
  /** What keeps the view from being up to date; undefined while it is. */
  trouble: string | undefined;
  readonly #mailbox: Mailbox;
  readonly #connection: Connection;
  readonly #intervalMs: number;
  readonly #instances = new Map<string, Instance>();
  readonly #balancer = new Balancer();
  readonly #checks = new Map<Instance, { stop: AbortController; now: () => void }>();
  readonly #waiters = new Set<() => void>();
  readonly #stopView: () => void;
  readonly #ejected: Counter;
  readonly #ejectionSeconds: Histogram;
  #listed = false;

  constructor(
    endpoint: string,
    {
      connection,
      mailbox,
      metrics,
      options,
    }: { connection: Connection; mailbox: Mailbox; metrics: Metrics; options: HealthOptions },
  ) {
    this.#connection = connection;
    this.#mailbox = mailbox;
    this.#intervalMs = options.healthIntervalMs;
    const labels = { endpoint };
    metrics.gauge("ringfence_client_instances", "Instances that may be chosen.", labels, () => this.#balancer.size);
    this.#ejected = metrics.counter(
      "ringfence_client_ejections_total",
      "Instances that are not chosen any more.",
      labels,
    );
    this.#ejectionSeconds = metrics.histogram(
      "ringfence_client_ejection_seconds",
      "From the last sign of life of an instance to its ejection.",
      labels,
    );
    this.#stopView = viewPrefix(connection.etcd, instancesOf(connection.prefix, endpoint), {
      all: (entries) => {
        this.trouble = undefined;
        this.#listed = true;
        const there = new Set(entries.map(({ key }) => key));
        for (const key of this.#instances.keys()) if (!there.has(key)) this.#unregistered(key);
        for (const entry of entries) this.#registered(entry);
        this.#changed();
      },
      put: (entry) => {
        this.#registered(entry);
        this.#changed();
      },
      gone: (key) => {
        this.#unregistered(key);
        this.#changed();
      },
      trouble: (message) => {
        this.trouble = message;
      },
    });
  }

  /** All that are known. */
  get instances(): Instance[] {
    return [...this.#instances.values()];
  }

  /** How many may be chosen. */
  get usable(): number {
    return this.#balancer.size;
  }

  /** For errors: `3 instances known, 1 usable`. */
  get summary(): string {
    const { bus } = this.#connection;
    const trouble = `${this.trouble ? `; ${this.trouble}` : ""}${bus.connected ? "" : `; ${bus.label} is not connected`}`;
    if (!this.#listed) return `its instances were not found yet${trouble}`;
    return `${this.#instances.size} instances known, ${this.#balancer.size} usable${trouble}`;
  }

  /** @param tried chosen again only when there is no other */
  choose(tried?: ReadonlySet<Instance>): Instance | undefined {
    return this.#balancer.choose(tried);
  }

  /** Resolves at the next change, at the latest after the time given or at the signal. */
  change(withinMs: number, signal?: AbortSignal): Promise<void> {
    const changed = new AbortController();
    const wake = () => changed.abort();
    this.#waiters.add(wake);
    const signals = signal ? [changed.signal, signal] : [changed.signal];
    return pause(withinMs, AbortSignal.any(signals)).finally(() => this.#waiters.delete(wake));
  }

  /** It answered a request. */
  answered(instance: Instance): void {
    instance.heard = performance.now();
    instance.unanswered = 0;
    instance.ejections = 0;
  }

  /** It did not answer a request in time. */
  unanswered(instance: Instance): void {
    if (++instance.unanswered < UNANSWERED || instance.ejectedUntil > performance.now()) return;
    const span = Math.min(EJECTION_MS.first * 2 ** instance.ejections++, EJECTION_MS.most);
    instance.ejectedUntil = performance.now() + span;
    // When it is back, one more is enough.
    instance.unanswered = UNANSWERED - 1;
    this.#eject(instance);
    setTimeout(() => this.#changed(), span + 1).unref();
  }

  /** Nobody is subscribed there, or it ends. */
  turnedAway(instance: Instance, state: "draining" | "dead"): void {
    if (instance.state !== "ready") return;
    instance.state = state;
    if (state === "dead") this.#eject(instance);
    else this.#changed();
    this.#checks.get(instance)?.now();
  }

  /** Our own connection came or went: those who wait for it look again, and every instance has to answer first. */
  reconsider(): void {
    for (const instance of this.#instances.values()) if (instance.state === "ready") instance.state = "unheard";
    for (const { now } of this.#checks.values()) now();
    this.#changed();
  }

  close(): void {
    this.#stopView();
    for (const { stop } of this.#checks.values()) stop.abort();
    this.#changed();
  }

  #registered({ key, value }: { key: string; value: string }): void {
    const known = this.#instances.get(key);
    if (known) {
      known.registered = true;
      return;
    }
    const found = readRegistration(value);
    if (!found) {
      this.#connection.log(`${key} is no registration that this version reads; left alone`);
      return;
    }
    const instance: Instance = {
      ...found,
      registered: true,
      state: "ready",
      waiting: new Set(),
      unanswered: 0,
      ejections: 0,
      ejectedUntil: 0,
      heard: performance.now(),
    };
    this.#instances.set(key, instance);
    void this.#check(key, instance);
  }

  /** It has left, or its lease was lost; its next answer tells. */
  #unregistered(key: string): void {
    const instance = this.#instances.get(key);
    if (!instance) return;
    instance.registered = false;
    for (const request of instance.waiting) request.look();
    this.#checks.get(instance)?.now();
  }

  #forget(key: string, instance: Instance): void {
    this.#instances.delete(key);
    this.#checks.delete(instance);
    for (const request of instance.waiting) request.look();
    this.#changed();
  }

  #eject(instance: Instance): void {
    this.#ejected.value++;
    this.#ejectionSeconds.observe((performance.now() - instance.heard) / 1000);
    for (const request of instance.waiting) request.look();
    this.#changed();
  }

  #changed(): void {
    this.#balancer.update(this.#instances.values(), performance.now());
    for (const waiter of this.#waiters) waiter();
  }

  /** Asks an instance for its state, again and again, until it is known to be gone. */
  async #check(key: string, instance: Instance): Promise<void> {
    const stop = new AbortController();
    let hurry = new AbortController();
    this.#checks.set(instance, { stop, now: () => hurry.abort() });
    let quick = backoff({ initialMs: 50, maxMs: this.#intervalMs });
    let misses = 0;
    // Not all at once.
    let wait = Math.random() * this.#intervalMs;
    while (!stop.signal.aborted) {
      await pause(wait, AbortSignal.any([stop.signal, hurry.signal]));
      hurry = new AbortController();
      if (stop.signal.aborted) return;
      wait = this.#intervalMs;
      if (!this.#connection.bus.connected) continue;
      const exchange = this.#mailbox.send(instance.subject, write.ping, EMPTY);
      const heard = await exchange.next(this.#intervalMs);
      exchange.close();
      if (stop.signal.aborted) return;
      // Our own connection is no fault of the instance.
      if (heard.kind === "silence" && !this.#connection.bus.connected) continue;
      const before = instance.state;
      if (heard.kind === "pong") {
        misses = 0;
        quick = backoff({ initialMs: 50, maxMs: this.#intervalMs });
        instance.heard = performance.now();
        instance.state = heard.state;
      } else if (heard.kind === "nobody" || ++misses >= MISSES) instance.state = "dead";
      if (instance.state !== before) {
        if (instance.state === "dead") this.#eject(instance);
        else this.#changed();
      }
      if (instance.state === "dead") {
        if (!instance.registered) return this.#forget(key, instance);
        wait = heard.kind === "nobody" ? quick() : this.#intervalMs;
      } else if (!instance.registered && instance.state === "draining" && instance.waiting.size === 0)
        return this.#forget(key, instance);
    }
  }
}
