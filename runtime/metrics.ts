/** Counters, gauges and histograms in Prometheus' text format (exposition format 0.0.4). */

/** Upper bounds, seconds: from a round trip in one machine to a long generation. */
const DURATION_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** One series: what is counted is bound to its labels once, so that counting costs an addition. */
export interface Counter {
  value: number;
}

export class Histogram {
  readonly #bounds: readonly number[];
  readonly counts: number[];
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.counts = new Array(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    let i = 0;
    while (i < this.#bounds.length && value > (this.#bounds[i] as number)) i++;
    this.counts[i] = (this.counts[i] as number) + 1;
    this.sum += value;
  }

  *lines(name: string, labels: string): Generator<string> {
    let cumulative = 0;
    for (const [i, count] of this.counts.entries()) {
      cumulative += count;
      const le = this.#bounds[i] ?? "+Inf";
      yield `${name}_bucket{${labels}${labels && ","}le="${le}"} ${cumulative}`;
    }
    yield `${name}_sum${braced(labels)} ${this.sum}`;
    yield `${name}_count${braced(labels)} ${cumulative}`;
  }
}

type Labels = Record<string, string>;
interface Family {
  help: string;
  type: "counter" | "gauge" | "histogram";
  series: Map<string, Counter | Histogram | (() => number)>;
}

export class Metrics {
  readonly #families = new Map<string, Family>();
  readonly #common: Labels;

  /** @param common labels of every series */
  constructor(common: Labels = {}) {
    this.#common = common;
  }

  counter(name: string, help: string, labels: Labels = {}): Counter {
    return this.#series(name, help, "counter", labels, () => ({ value: 0 }));
  }

  /** @param read gives the value when it is asked for */
  gauge(name: string, help: string, labels: Labels, read: () => number): void {
    this.#series(name, help, "gauge", labels, () => read);
  }

  histogram(name: string, help: string, labels: Labels = {}, bounds = DURATION_BUCKETS): Histogram {
    return this.#series(name, help, "histogram", labels, () => new Histogram(bounds));
  }

  /** All of it, as text. */
  text(): string {
    const lines: string[] = [];
    for (const [name, { help, type, series }] of this.#families) {
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
      for (const [labels, one] of series) {
        if (one instanceof Histogram) lines.push(...one.lines(name, labels));
        else lines.push(`${name}${braced(labels)} ${typeof one === "function" ? one() : one.value}`);
      }
    }
    return `${lines.join("\n")}\n`;
  }

  #series<T extends Counter | Histogram | (() => number)>(
    name: string,
    help: string,
    type: Family["type"],
    labels: Labels,
    make: () => T,
  ): T {
    const family = this.#families.get(name) ?? { help, type, series: new Map() };
    this.#families.set(name, family);
    const key = Object.entries({ ...this.#common, ...labels })
      .map(([label, value]) => `${label}="${escaped(value)}"`)
      .join(",");
    const found = (family.series.get(key) as T | undefined) ?? make();
    family.series.set(key, found);
    return found;
  }
}

const braced = (labels: string) => labels && `{${labels}}`;

const escaped = (value: string) => value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
