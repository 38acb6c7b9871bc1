/**
 * `npm run bench:cleanup [-- KEYS … --rounds N]`: a prefix with many keys is emptied while a neighbour writes at a steady rate.
 * The purge at its own pace and at fixed ones, against `etcdctl del --prefix` and against removing key by key.
 */
import { parseArgs } from "node:util";
import { curveChart, type Point } from "./chart.ts";
import { type Trial, trial, type Way } from "./cleanup-trial.ts";
import { machine, percentile, rounded, saveResults } from "./statistics.ts";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: "string", default: "3" } },
});
/** One trial of each way after the other, so that a drift of the machine's speed hits all. */
const ROUNDS = Number(values.rounds);
const AMOUNTS = positionals.length > 0 ? positionals.map(Number) : [200_000, 1_000_000];
/** Keys of a removal, for the curve. */
const SIZES = [100, 300, 1_000, 3_000, 10_000, 20_000];

const ways: Record<string, Way> = {
  "etcdctl del --prefix": "etcdctl del --prefix",
  "one by one": "one by one",
  adaptive: { purge: {} },
  ...Object.fromEntries(SIZES.map((size) => [`${size}`, { purge: { size } }])),
};

interface Figures {
  /** The neighbour's p99 while its neighbour is purged, in times of its idle p99. */
  neighbourP99Ratio: number;
  neighbourMaxMs: number;
  /** Of the time that `etcdctl del --prefix` takes. */
  totalRatio: number;
  seconds: number;
  neighbourMs: { p50: number; p99: number };
  puts: number;
  failedPuts: number;
}

const before = machine();
const amounts: Record<string, ReturnType<typeof compare>> = {};
for (const keys of AMOUNTS) {
  amounts[keys] = compare(keys, await trials(keys));
  save();
}

function save(): void {
  const memory = Object.values(amounts).map(({ memoryMiB }) => memoryMiB);
  const result = {
    adaptive: Object.fromEntries(Object.entries(amounts).map(([keys, { adaptive }]) => [keys, adaptive])),
    memoryRatio: rounded(Math.max(...memory) / Math.min(...memory)),
    amounts,
    machine: before,
  };
  saveResults("cleanup", result, picture());
  console.log(JSON.stringify(result, null, 2));
}

async function trials(keys: number): Promise<Record<string, Trial[]>> {
  const made: Record<string, Trial[]> = {};
  for (let round = 1; round <= ROUNDS; round++) {
    for (const [name, way] of Object.entries(ways)) {
      const done = await trial(way, keys);
      made[name] = [...(made[name] ?? []), done];
      console.error(`${keys} keys, round ${round}, ${name}: ${rounded(done.seconds)} s`);
    }
  }
  return made;
}

function compare(keys: number, made: Record<string, Trial[]>) {
  const of = (name: string): Trial[] => made[name] ?? [];
  const seconds = (name: string) =>
    percentile(
      of(name).map((one) => one.seconds),
      0.5,
    );
  const base = seconds("etcdctl del --prefix");
  const idle = percentile(
    Object.values(made).flatMap((all) => all.flatMap((one) => one.idle)),
    0.99,
  );
  const figures = (name: string): Figures => {
    const busy = of(name).flatMap((one) => one.busy);
    const p99 = percentile(busy, 0.99);
    return {
      neighbourP99Ratio: rounded(p99 / idle),
      neighbourMaxMs: rounded(percentile(busy, 1)),
      totalRatio: rounded(seconds(name) / base),
      seconds: rounded(seconds(name)),
      neighbourMs: { p50: rounded(percentile(busy, 0.5)), p99: rounded(p99) },
      puts: busy.length,
      failedPuts: of(name).reduce((sum, one) => sum + one.failedPuts, 0),
    };
  };
  const oneByOne =
    percentile(
      of("one by one").map((one) => one.seconds / one.keys),
      0.5,
    ) * keys;
  const peaks = of("adaptive").flatMap((one) => one.memory?.peak ?? []);
  return {
    adaptive: { ...figures("adaptive"), timesFasterThanOneByOne: rounded(oneByOne / seconds("adaptive")) },
    "etcdctl del --prefix": figures("etcdctl del --prefix"),
    fixedSizes: Object.fromEntries(SIZES.map((size) => [size, figures(`${size}`)])),
    oneByOne: { extrapolatedSeconds: rounded(oneByOne), sampleKeys: of("one by one")[0]?.keys },
    idleMs: { p99: rounded(idle) },
    rounds: ROUNDS,
    memoryMiB: rounded(percentile(peaks, 0.5)),
  };
}

function picture(): string {
  const point = ({ totalRatio, neighbourP99Ratio }: Figures, label?: string): Point => ({
    x: totalRatio,
    y: neighbourP99Ratio,
    ...(label && { label }),
  });
  const all = Object.entries(amounts);
  return curveChart({
    title: "Emptying a prefix: how long it takes, and how much a neighbour waits",
    x: "total time, in times of `etcdctl del --prefix`",
    y: "the neighbour's p99, in times of idle",
    goal: { x: 2, y: 2 },
    curves: all.map(([keys, { fixedSizes }]) => ({
      name: `${Number(keys).toLocaleString("en")} keys, fixed batch sizes`,
      points: Object.entries(fixedSizes).map(([size, figures]) => point(figures, Number(size).toLocaleString("en"))),
    })),
    marks: all.flatMap(([, figures], curve) => [
      { ...point(figures.adaptive, "adaptive"), curve },
      { ...point(figures["etcdctl del --prefix"], "etcdctl del --prefix"), curve },
    ]),
  });
}
