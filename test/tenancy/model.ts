/**
 * The model of the model-based test: who holds which name, and what each act may make of it. Nothing here talks to a
 * server. An act takes a name through steps: it ends at the last one, and at any of them when it is stopped.
 */
import { overlap } from "../../components/plan/names.ts";
import type { OnResidue } from "../../components/plan/spec.ts";
import { type Claim, EXTERNAL } from "../../components/tenancy/registry.ts";

/** A parent, its child, and a sibling that begins with the same letters. Each is the name of a Dynamo namespace, too. */
export const NAMES = ["a", "a/b", "ab"] as const;
export type Name = (typeof NAMES)[number];

export interface Held {
  /** A ledger's id, or EXTERNAL. */
  owner: string;
  generation: string;
  attempt: number;
  state: Claim["state"];
  /** The Dynamo namespaces that belong to it. */
  dynamo: readonly Name[];
  modRevision: string;
}

/** In a step: any generation that was never seen before. */
const FRESH = "fresh";

/** What the registry has under a name; undefined for no claim. */
export type Step = Omit<Held, "modRevision"> | undefined;

export interface Stack {
  ledger: string;
  state: "open" | "closing" | "gone";
  /** Of its record in the registry; undefined when there is none. */
  modRevision: string | undefined;
}

/** What Pulumi's state says of a tenant. */
export interface Note {
  stack: Stack;
  name: Name;
  owner: string;
  generation: string;
  attempt: number;
  account: string;
}

/** What an act does. */
export interface Effects {
  /** By name; the others are not touched. */
  steps: Map<Name, Step[]>;
  /** It is refused with this message, unless it is stopped first. */
  refused?: RegExp;
  /** Lost generations of this name are removed or claimed. */
  takes?: Name;
  /** Dynamo namespaces whose keys go. */
  clears: readonly Name[];
  /** The act writes this stack's record, which has this state afterwards. */
  stack?: { of: Stack; state: Stack["state"] };
}

/** What an act does that leaves everything as it was. */
export const NOTHING: Effects = { steps: new Map(), clears: [] };

/** An act that hangs at one of its writes. */
export interface Stalled {
  /** For messages. */
  what: string;
  /** Its stack's ledger, and the revision of that one's record when it hung. */
  ledger: string;
  epoch: string | undefined;
  /** The write that it hangs at. */
  write: string;
  /** What it was about to do when it began. */
  effects: Effects;
  /** What it would do if it began now. */
  plan: () => Effects;
  /** Lets it go on, and waits for its end. */
  goOn: () => Promise<unknown>;
  /** Takes note of its success. */
  succeed: (result: unknown) => void;
}

export class Model {
  readonly stacks: Stack[];
  readonly claims = new Map<Name, Held>();
  /** Generations whose claim somebody deleted by hand. */
  readonly lost = new Map<Name, string[]>(NAMES.map((name) => [name, []]));
  /** Keys below the prefix of each generation that there ever was. */
  readonly keys = new Map<string, number>();
  /** Dynamo's keys at etcd's root. */
  readonly dynamo = new Map<Name, number>(NAMES.map((name) => [name, 0]));
  /** Pulumi's states. */
  notes: Note[] = [];
  /** Generations whose newest tenant has all its parts. */
  readonly whole = new Set<string>();
  readonly stalled: Stalled[] = [];

  constructor(stacks: Stack[]) {
    this.stacks = stacks;
  }

  /** Pulumi takes note of a tenant that came up. */
  note(note: Note): void {
    const others = this.notes.filter(({ stack, name }) => stack !== note.stack || name !== note.name);
    this.notes = [...others, note];
    this.whole.add(note.generation);
  }

  isLive(generation: string): boolean {
    return [...this.claims.values()].some((held) => held.generation === generation && held.state !== "releasing");
  }

  /** Released. */
  isDead(generation: string): boolean {
    const claimed = [...this.claims.values()].some((held) => held.generation === generation);
    return !claimed && ![...this.lost.values()].flat().includes(generation);
  }

  /** Whether a claim has a Dynamo namespace. */
  isReserved(namespace: Name): boolean {
    return [...this.claims.values()].some(({ dynamo }) => dynamo.includes(namespace));
  }

  /** What an act still has ahead that was stopped: a generation that it has made is no longer any that is fresh. */
  settled(effects: Effects, seenBefore: ReadonlySet<string>): Effects {
    const steps = new Map(effects.steps);
    for (const [name, all] of effects.steps) {
      const held = this.claims.get(name);
      if (!held || seenBefore.has(held.generation)) continue;
      const isOf = (step: Step): step is NonNullable<Step> =>
        step?.generation === FRESH && (step.state === "releasing") === (held.state === "releasing");
      steps.set(
        name,
        all.map((step) => (isOf(step) ? { ...step, generation: held.generation } : step)),
      );
    }
    return { ...effects, steps };
  }

  /** After an act was stopped, nobody knows whether its tenants still have all their parts. */
  doubt(effects: Effects): void {
    for (const [name, steps] of effects.steps)
      if (steps.length > 1) this.whole.delete(this.claims.get(name)?.generation ?? "");
  }

  /** Whether a step is what the registry has. */
  matches(step: Step, held: Held | undefined): boolean {
    if (!step || !held) return !step && !held;
    const known = step.generation === FRESH ? !this.keys.has(held.generation) : held.generation === step.generation;
    const same = (["owner", "attempt", "state"] as const).every((field) => step[field] === held[field]);
    return known && same && String(step.dynamo) === String(held.dynamo);
  }

  up(stack: Stack, name: Name, { onResidue, adopt }: { onResidue: OnResidue; adopt: boolean }): Effects {
    const held = this.claims.get(name);
    const steps: Step[] = [held];
    const effects: Effects = { steps: new Map([[name, steps]]), clears: [], stack: { of: stack, state: stack.state } };
    const refused = (message: RegExp): Effects => ({ ...effects, refused: message });
    const made = (claim: { generation: string; attempt: number; dynamo: readonly Name[] }, from: Claim["state"]) => {
      const { generation, attempt, dynamo } = claim;
      for (const state of [from, "active"] as const)
        steps.push({ owner: stack.ledger, attempt, state, dynamo, generation });
    };

    if (stack.state === "gone") return refused(/is not in the registry, so nothing may be claimed for it/);
    if (stack.state === "closing") return refused(/is being destroyed, so nothing may be claimed for it/);
    if (held?.owner === EXTERNAL && adopt) {
      made({ ...held, generation: FRESH, attempt: 1 }, "creating");
      return effects;
    }
    if (held && held.owner !== stack.ledger) return refused(/ is held by /);
    if (held && held.state !== "releasing") {
      made({ ...held, attempt: held.attempt + 1 }, held.state);
      return effects;
    }
    if (held) {
      steps.push(undefined);
      effects.clears = held.dynamo;
    }
    const lost = this.lost.get(name) ?? [];
    const cleared = effects.clears.includes(name);
    const dynamo = !cleared && this.dynamo.get(name) !== 0 && (held?.dynamo.includes(name) || !this.isReserved(name));
    const adopted = dynamo ? [name] : [];
    const inTheWay = [...this.claims.keys()].some((other) => other !== name && overlap(other, name));
    const residue = lost.length > 0 || dynamo;
    if (residue && onResidue === "fail") return refused(/found residue of earlier deployments/);
    if (residue && onResidue === "adopt" && lost.length > 1) return refused(/and one can be adopted/);
    if (inTheWay) return refused(/ overlaps /);
    if (residue) effects.takes = name;
    if (residue && onResidue === "purge") {
      effects.clears = [...effects.clears, ...adopted];
      for (const generation of lost.length > 0 ? lost : [FRESH]) {
        // Dynamo's keys go with the first of them.
        const dynamos = generation === lost[0] || lost.length === 0 ? adopted : [];
        steps.push({ owner: stack.ledger, generation, attempt: 1, state: "releasing", dynamo: dynamos }, undefined);
      }
    }
    const dynamos = onResidue === "adopt" ? adopted : [];
    const generation = (onResidue === "adopt" && lost[0]) || FRESH;
    made({ generation, attempt: 1, dynamo: dynamos }, "creating");
    return effects;
  }

  /** Deletes of a tenant's resources as Pulumi's state has them: those of an earlier create do nothing. */
  down({ stack, name, owner, generation, attempt }: Note): Effects {
    const held = this.claims.get(name);
    if (held?.owner !== owner || held.generation !== generation || held.attempt !== attempt)
      return { ...NOTHING, stack: { of: stack, state: stack.state } };
    const fenced: Step[] = held.state === "releasing" ? [] : [{ ...held, state: "creating" }];
    return { ...this.#released([[name, held]], fenced), stack: { of: stack, state: stack.state } };
  }

  destroy(stack: Stack): Effects {
    const mine = [...this.claims].filter(([, { owner }]) => owner === stack.ledger);
    return { ...this.#released(mine), stack: { of: stack, state: "gone" } };
  }

  /** @param seen the claim as it was looked at */
  sweep(name: Name, seen: Pick<Held, "owner" | "modRevision">, ledgerGone: boolean): Effects {
    const held = this.claims.get(name);
    if (seen.owner === EXTERNAL) return { ...NOTHING, refused: /which no sweep takes/ };
    if (!held || held.modRevision !== seen.modRevision)
      return { ...NOTHING, refused: /its claim has changed since it was looked at/ };
    const effects = this.#released([[name, held]]);
    const stack = this.stacks.find(({ ledger }) => ledger === held.owner);
    const others = [...this.claims].some(([other, { owner }]) => other !== name && owner === held.owner);
    return stack && ledgerGone && !others ? { ...effects, stack: { of: stack, state: "gone" } } : effects;
  }

  /** Registers a deployment from outside under a name. */
  register(name: Name, namespace: Name): Effects {
    const held = this.claims.get(name);
    if (held?.owner === EXTERNAL && String(held.dynamo) === namespace) return NOTHING;
    if (held) return { ...NOTHING, refused: / is held by / };
    if ([...this.claims.keys()].some((other) => overlap(other, name))) return { ...NOTHING, refused: / overlaps / };
    if (this.isReserved(namespace)) return { ...NOTHING, refused: /, which belongs to / };
    const registered: Step = { owner: EXTERNAL, generation: FRESH, attempt: 1, state: "active", dynamo: [namespace] };
    return { ...NOTHING, steps: new Map([[name, [undefined, registered]]]) };
  }

  #released(claims: Array<[Name, Held]>, between: Step[] = []): Effects {
    const steps = claims.map(([name, held]): [Name, Step[]] => [
      name,
      [held, ...between, { ...held, state: "releasing" }, undefined],
    ]);
    return { steps: new Map(steps), clears: claims.flatMap(([, { dynamo }]) => dynamo) };
  }
}
