/** Keeps a vertex' adapters loaded in one engine, and keeps the pod's labels and its readiness gate true to that engine. */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type AdapterRecord, loadedLabel, loadedName } from "../components/plan/adapter.ts";
import { VisibleError } from "../components/plan/visible-error.ts";
import { backoff, pause } from "../components/stores/backoff.ts";
import { bring } from "./adapter-artifact.ts";
import { chosen, dispensable } from "./adapter-choice.ts";
import type { Cluster, View, Word } from "./adapter-cluster.ts";
import { type Engine, EngineGone, type Served } from "./adapter-engine.ts";

/** Milliseconds between two looks at the engine, when nothing else asks for one. */
const LOOK_EVERY_MS = 1_000;

/** Looks in a row that an engine may be late with before it counts as away. */
const LATE_LOOKS = 3;

/** Milliseconds before a failed load is tried again: half of the longest wait is what it comes to. */
const LOAD_AGAIN = { initialMs: 1_000, maxMs: 300_000 };

/** Milliseconds before a word that the API server refused, or did not answer, is said again. */
const SPEAK_AGAIN = { initialMs: 500, maxMs: 30_000 };

/** Milliseconds after which what the watch says of our pod is what our last word made of it. */
const HEARD_MS = 5_000;

/** An adapter's generation, and how it went with this engine. */
interface Held {
  record: AdapterRecord;
  /** Whether it was loaded, or a try failed, since the engine started. */
  tried: boolean;
  /** Whether it answered since it was loaded. */
  answered: boolean;
  failures: number;
  why: string | undefined;
  next: () => number;
  notBefore: number;
  /** When it was last wanted here; after its grace it is unloaded. */
  wantedAt: number;
}

export interface KeeperOptions {
  engine: Engine;
  cluster: Cluster;
  /** The pod's name. */
  pod: string;
  /** Where artifacts are, for the engine as well. */
  directory: string;
  say: (line: string) => void;
}

export class Keeper {
  readonly #options: KeeperOptions;
  readonly #stop = new AbortController();
  readonly #held = new Map<string, Held>();
  /** What a predecessor of this process loaded and nobody wants, and since when that is known. */
  readonly #unknown = new Map<string, number>();
  #wake: (() => void) | undefined;
  #again = false;
  #working: Promise<void> | undefined;
  #late = 0;
  #spoken: { text: string; at: number; labels: string[] } | undefined;
  #speakAgain = backoff(SPEAK_AGAIN);
  #unsettled: string | undefined = "the engine was not looked at yet";

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  /** Why the pod should get no request; undefined when it may. */
  get unsettled(): string | undefined {
    return this.#unsettled;
  }

  /** Looks now rather than at the next second. */
  wake(): void {
    this.#again = true;
    this.#wake?.();
  }

  stop(): void {
    this.#stop.abort();
  }

  /** Goes on until it is stopped. */
  async run(): Promise<void> {
    const { signal } = this.#stop;
    void this.#feelEngine();
    while (!signal.aborted) {
      this.#again = false;
      let wait = LOOK_EVERY_MS;
      try {
        await this.#pass();
        this.#speakAgain = backoff(SPEAK_AGAIN);
      } catch (error) {
        if (signal.aborted) return;
        wait = this.#speakAgain();
        this.#unsettled = (error as Error).message;
        this.#options.say(this.#unsettled);
      }
      if (this.#again) continue;
      const early = new AbortController();
      this.#wake = () => early.abort();
      await pause(wait, AbortSignal.any([signal, early.signal]));
      this.#wake = undefined;
    }
  }

  /** An engine that ends is noticed at once, long before another one is ready in its place. */
  async #feelEngine(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#options.engine.lifeline(signal);
      this.wake();
      await pause(LOOK_EVERY_MS / 4, signal);
    }
  }

  async #pass(): Promise<void> {
    const { cluster, pod } = this.#options;
    const view = cluster.view();
    if (!view) return;
    const models = await this.#look();
    if (models === "late") return;
    if (!models) return this.#say({ labels: [], open: false, failures: this.#failures() });
    const now = Date.now();
    const wanted = view.records.filter((record) => this.#wants(record, models, view, pod));
    for (const record of wanted) this.#hold(record).wantedAt = now;
    this.#retire(wanted, models, now);
    const loaded = wanted.filter((record) => {
      const held = this.#hold(record);
      if (!this.#has(record, models)) held.answered = false;
      return held.answered;
    });
    const due = wanted.find((record) => {
      const { answered, notBefore } = this.#hold(record);
      return !answered && notBefore <= now;
    });
    if (due) this.#atWork(() => this.#load(this.#hold(due), models));
    await this.#say({
      labels: loaded.map(loadedLabel).sort(),
      open: wanted.every((record) => this.#hold(record).tried),
      failures: this.#failures(),
    });
  }

  /** @returns what the engine has; undefined when it is away, and nothing that it had counts any more */
  async #look(): Promise<Served[] | "late" | undefined> {
    try {
      const models = await this.#options.engine.models();
      this.#late = 0;
      return models;
    } catch (error) {
      if (!(error instanceof EngineGone) && ++this.#late < LATE_LOOKS) return "late";
      for (const held of this.#held.values()) {
        held.answered = false;
        // What failed may be what ended it: the next one serves its base model meanwhile.
        if (held.why === undefined) held.tried = false;
      }
      return undefined;
    }
  }

  #wants(record: AdapterRecord, models: Served[], view: View, pod: string): boolean {
    if (chosen(record, pod, view.pods)) return true;
    return this.#has(record, models) && !dispensable(record, view.pods);
  }

  /** The name alone says nothing: it may have been loaded from elsewhere. */
  #has(record: AdapterRecord, models: Served[]): boolean {
    const name = loadedName(record);
    return models.some(({ id, root }) => id === name && root === this.#directoryOf(name));
  }

  #directoryOf(name: string): string {
    return join(this.#options.directory, name);
  }

  #hold(record: AdapterRecord): Held {
    const name = loadedName(record);
    const known = this.#held.get(name);
    if (known) {
      known.record = record;
      return known;
    }
    const held: Held = {
      record,
      tried: false,
      answered: false,
      failures: 0,
      why: undefined,
      next: backoff(LOAD_AGAIN),
      notBefore: 0,
      wantedAt: Date.now(),
    };
    this.#held.set(name, held);
    return held;
  }

  /** Unloads what is not wanted any more, a grace after its label went: requests that name it are still on their way. */
  #retire(wanted: AdapterRecord[], models: Served[], now: number): void {
    const names = new Set(wanted.map(loadedName));
    for (const { id, root } of models) {
      // What we did not load is not ours to unload.
      if (names.has(id) || root !== this.#directoryOf(id)) continue;
      const held = this.#held.get(id);
      if (!held) this.#unknown.set(id, this.#unknown.get(id) ?? now);
      const since = held?.wantedAt ?? this.#unknown.get(id) ?? now;
      if (now - since < 1000 * (held?.record.graceSeconds ?? UNKNOWN_GRACE_SECONDS)) continue;
      this.#atWork(() => this.#unload(id));
    }
    for (const [name] of this.#held)
      if (!names.has(name) && !models.some(({ id }) => id === name)) this.#held.delete(name);
    if (!this.#working) this.#sweep(names, models);
  }

  /** Removes artifacts that nobody wants, nor has: of a load that failed, or of an engine or a loader that was killed. */
  #sweep(wanted: Set<string>, models: Served[]): void {
    const has = new Set([...wanted, ...models.flatMap(({ id, root }) => (root === this.#directoryOf(id) ? [id] : []))]);
    for (const name of readdirSync(this.#options.directory))
      if (!has.has(name)) rmSync(this.#directoryOf(name), { recursive: true, force: true });
  }

  /** One thing at a time is asked of the engine; what finds it at work is found again by the next look. */
  #atWork(act: () => Promise<void>): void {
    this.#working ??= act()
      .catch((error: Error) => this.#options.say(error.message))
      .finally(() => {
        this.#working = undefined;
        this.wake();
      });
  }

  async #unload(name: string): Promise<void> {
    await this.#options.engine.unload(name);
    this.#unknown.delete(name);
    await this.#options.cluster.tell("Normal", "AdapterUnloaded", `unloaded ${name}`);
  }

  async #load(held: Held, models: Served[]): Promise<void> {
    const { engine, cluster } = this.#options;
    const { record } = held;
    const name = loadedName(record);
    const directory = this.#directoryOf(name);
    const { loadTimeoutSeconds, baseModel, maxBytes, artifact: url } = record;
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(1000 * loadTimeoutSeconds)]);
    try {
      if (!models.some(({ id }) => id === baseModel)) {
        const ids = models.flatMap(({ id, parent }) => (parent ? [] : [`'${id}'`])).join(", ");
        throw new VisibleError(`baseModel: found '${baseModel}'; the engine serves ${ids || "none"}: correct it`);
      }
      const listed = models.some(({ id }) => id === name);
      if (listed && !this.#has(record, models)) await engine.unload(name);
      if (!this.#has(record, models)) {
        await bring({ url, directory, credentials: await cluster.credentials(record.secret), maxBytes, signal });
        await engine.load(name, directory, signal);
      }
      if (!this.#has(record, await engine.models()))
        throw new VisibleError("the engine said that it loaded it, and does not list it as loaded from there");
      await engine.tryOut(name, signal);
      Object.assign(held, { tried: true, answered: true, failures: 0, why: undefined, next: backoff(LOAD_AGAIN) });
      await cluster.tell("Normal", "AdapterLoaded", `loaded ${name} from ${url}`);
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      // Its end is not the adapter's fault, and the next engine starts anew.
      if (error instanceof EngineGone) return;
      // Whatever it made of it: the next try finds nothing of this one.
      await engine.unload(name).catch(() => {});
      const wait = held.next();
      const why = (error as Error).message;
      Object.assign(held, { tried: true, answered: false, why, notBefore: Date.now() + wait });
      held.failures++;
      const again = `try ${held.failures}, the next in ${Math.ceil(wait / 1000)} s`;
      await cluster.tell("Warning", "AdapterLoadFailed", `${name} was not loaded: ${why} (${again})`);
    }
  }

  #failures(): Word["failures"] {
    return [...this.#held].flatMap(([name, { why }]): Word["failures"] => (why === undefined ? [] : [[name, why]]));
  }

  /** Says it when it is news, or when the pod says something else than we did. */
  async #say(word: Word): Promise<void> {
    const { cluster } = this.#options;
    const text = JSON.stringify(word);
    const own = cluster.own();
    const heard = own && own.open === word.open && String([...own.labels].sort()) === String(word.labels);
    const spoken = this.#spoken?.text === text && (heard || Date.now() - this.#spoken.at < HEARD_MS);
    if (!spoken) {
      await cluster.speak(word, [...(own?.labels ?? []), ...(this.#spoken?.labels ?? [])]);
      this.#spoken = { text, at: Date.now(), labels: word.labels };
    }
    this.#unsettled = word.open ? undefined : "the engine is away, or has an adapter that was not tried yet";
  }
}

/** Of an adapter that a predecessor of this process loaded: the default of ModelAdapter's graceSeconds. */
const UNKNOWN_GRACE_SECONDS = 30;
