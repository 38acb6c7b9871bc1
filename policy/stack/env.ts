/** A container's environment, as far as its manifest tells. */
import { at, isRecord, isUnknown, items, type Path, text } from "./value.ts";

export interface Variable {
  name: string;
  /** Its text where that is written down; undefined when it comes from a Secret or a field, or is not known yet. */
  value: string | undefined;
  /** To the text, or to the reference. */
  path: Path;
  /** What `valueFrom` says. */
  from: unknown;
}

interface List {
  value: unknown;
  path: Path;
}

export class Env {
  readonly variables: readonly Variable[];
  readonly #byName: ReadonlyMap<string, Variable>;
  readonly #lists: List[];
  /** Whether variables may come from elsewhere: `envFrom`, an operator, an unknown entry. */
  readonly #elsewhere: boolean;

  /** @param lists as `env` has them; of two variables with one name the later counts */
  constructor(lists: List[], elsewhere: boolean) {
    this.#lists = lists;
    this.variables = lists.flatMap(({ value, path }) =>
      items(value).flatMap((entry, index): Variable[] => {
        const name = text(at(entry, "name"));
        if (name === undefined) return [];
        const from = at(entry, "valueFrom");
        const written = from === undefined ? (at(entry, "value") ?? "") : undefined;
        const known = typeof written === "number" || typeof written === "boolean" ? String(written) : text(written);
        return [{ name, value: known, path: [...path, index, from === undefined ? "value" : "valueFrom"], from }];
      }),
    );
    this.#byName = new Map(this.variables.map((variable) => [variable.name, variable]));
    this.#elsewhere =
      elsewhere ||
      lists.some(
        ({ value }) =>
          isUnknown(value) || items(value).some((entry) => !isRecord(entry) || isUnknown(at(entry, "name"))),
      );
  }

  /** The same environment with another list before it. */
  after(list: List): Env {
    return new Env([list, ...this.#lists], this.#elsewhere);
  }

  get(name: string): Variable | undefined {
    return this.#byName.get(name);
  }

  value(name: string): string | undefined {
    return this.get(name)?.value;
  }

  /** Whether the variable is certainly not set. */
  lacks(...names: string[]): boolean {
    return !this.#elsewhere && names.every((name) => !this.#byName.has(name));
  }
}
