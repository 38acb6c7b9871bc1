/**
 * A small engine: what `pulumi up`, `refresh` and `destroy` ask of the provider for one tenant, in their order, with the
 * state that is kept. A create that did not answer is not in state; a delete that did not answer still is.
 */
import type { Properties, Provider } from "./provider.ts";

/** In the order of their creation; the last two are made side by side. */
const NAMES = ["ledger", "claim", "prefix", "account"] as const;
export type Name = (typeof NAMES)[number];

export interface Resource {
  id: string;
  outs: Properties;
}

/** What the backend has of a stack. */
export type State = Partial<Record<Name, Resource>>;

/** The providers that the components serialize, by resource. */
export type Stubs = Record<Name, string>;

/** What a program asks for. */
export interface Program {
  logicalName: string;
  stack: string;
  users: string[];
}

const MIB = 2 ** 20;
const jetStream = { memoryBytes: 0, diskBytes: 4 * MIB, streams: 4, consumers: 4 };

export class Engine {
  readonly state: State;
  /** Settled when it has created, updated or deleted something. */
  readonly begun: Promise<void>;
  readonly #acted: () => void;
  readonly #provider: Provider;
  readonly #stubs: Stubs;
  #gone = false;

  /** @param state what an earlier command left; this one keeps its own from there */
  constructor(provider: Provider, stubs: Stubs, state: State = {}) {
    this.#provider = provider;
    this.#stubs = stubs;
    this.state = { ...state };
    const { promise, resolve } = Promise.withResolvers<void>();
    this.begun = promise;
    this.#acted = resolve;
  }

  /** SIGKILL of pulumi: nothing more is asked, and no answer noted. The provider lives on. */
  vanish(): void {
    this.#gone = true;
  }

  async up({ logicalName, stack, users }: Program): Promise<void> {
    const platform = "platform";
    const owner = (await this.#apply("ledger", { platform })).id;
    const recorded = { project: "crash", stack, resource: "chat" };
    const claim = await this.#apply("claim", { platform, owner, logicalName, ...recorded });
    const part = { platform, owner, logicalName, generation: claim.outs.generation };
    await both(this.#apply("prefix", part), this.#apply("account", { ...part, users, jetStream }));
  }

  async refresh(): Promise<void> {
    for (const name of NAMES) {
      const { id, outs } = this.state[name] ?? { id: "", outs: {} };
      if (id === "") continue;
      const found = await this.#note(this.#provider.read(id, outs));
      if (found.id === "") delete this.state[name];
      else this.state[name] = found;
    }
  }

  async destroy(): Promise<void> {
    await this.#removeTenant();
    await this.#remove("ledger");
  }

  async #removeTenant(): Promise<void> {
    await both(this.#remove("account"), this.#remove("prefix"));
    await this.#remove("claim");
  }

  async #remove(name: Name): Promise<void> {
    const found = this.state[name];
    if (!found) return;
    await this.#note(this.#provider.delete(found.id, found.outs));
    delete this.state[name];
    this.#acted();
  }

  async #apply(name: Name, program: Properties): Promise<Resource> {
    const inputs = await this.#note(this.#provider.check({ ...program, __provider: this.#stubs[name] }));
    const old = this.state[name];
    const applied = await this.#applyChecked(name, inputs);
    this.state[name] = applied;
    if (applied !== old) this.#acted();
    return applied;
  }

  async #applyChecked(name: Name, inputs: Properties): Promise<Resource> {
    const old = this.state[name];
    if (!old) return this.#note(this.#provider.create(inputs));
    const { changes, replaces } = await this.#note(this.#provider.diff(old.id, old.outs, inputs));
    if (!changes) return old;
    if (!replaces) return { id: old.id, outs: await this.#note(this.#provider.update(old.id, old.outs, inputs)) };
    // Everything is deleted before it is replaced, and so is what depends on it.
    await (name === "claim" ? this.#removeTenant() : this.#remove(name));
    return this.#note(this.#provider.create(inputs));
  }

  /** The provider's answer, if there still is somebody to hear it. */
  async #note<T>(answer: Promise<T>): Promise<T> {
    const heard = await answer;
    return this.#gone ? new Promise<never>(() => {}) : heard;
  }
}

/** Like the engine, waits for what it has begun when one of the two fails. */
async function both(one: Promise<unknown>, other: Promise<unknown>): Promise<void> {
  await Promise.allSettled([one, other]);
  await Promise.all([one, other]);
}
