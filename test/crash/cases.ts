/** The matrix: which write of which act is struck how, on which side, and what comes after; and samples of it. */
import { novel, shuffled } from "../support/sample.ts";
import type { Point, Side } from "./gate.ts";
import { type Act, acts } from "./life.ts";

export const faults = [
  "the provider is killed",
  "pulumi is killed, it lands amid the next command",
  "pulumi is killed, it lands in the end",
  "the server is killed and comes back",
  "the connection breaks",
] as const;
export type Fault = (typeof faults)[number];

/** What comes straight after. */
export const sequels = ["up and destroy", "destroy"] as const;
export type Sequel = (typeof sequels)[number];

/** The fault of cases with the whole CLI. */
export const LATE = "pulumi is killed, it lands 5 s later";

export interface Case<F extends string = Fault> {
  act: Act;
  point: Point;
  side: Side;
  fault: F;
  sequel: Sequel;
}

/** What each act was seen to write. */
export type Recording = Record<Act, Point[]>;

export const titleOf = ({ act, point, side, fault, sequel }: Case<string>): string =>
  `${act}: ${side} ${point.name}, ${fault}; then ${sequel}`;

/** Every case there is. */
export function allCases(recording: Recording): Case[] {
  const points = { ...recording, "create without slots": makingSlots(recording) };
  const cases: Case[] = [];
  for (const act of acts)
    for (const point of points[act])
      for (const side of ["before", "after"] as const)
        for (const fault of faults) for (const sequel of sequels) cases.push({ act, point, side, fault, sequel });
  return cases;
}

/** What only an `up` without slots writes; of calls that are made side by side, dozens alike, the first. */
function makingSlots({ create, "create without slots": points }: Recording): Point[] {
  const kind = ({ name }: Point) => name.replace(/ #\d+$/, "");
  const known = new Set(create.map(kind));
  return points.filter((point) => !known.has(kind(point)) && known.add(kind(point)));
}

/** Drawn by the seed: every write of every act, on one of its sides, every fault and sequel of every act, and others up to a number. */
export function sample(cases: Case[], number: number): Case[] {
  const isNovel = novel(({ act, point, side, fault, sequel }: Case) => [
    `${act} ${point.name}`,
    `${act} ${side} ${fault} ${sequel}`,
  ]);
  const { chosen = [], others = [] } = Object.groupBy(shuffled(cases), (each) => (isNovel(each) ? "chosen" : "others"));
  return [...chosen, ...others.slice(0, Math.max(0, number - chosen.length))];
}

/** A few, drawn by the seed, for the whole Pulumi CLI: of each act as many, of writes that it makes in the same order. */
export function sampleForPulumi(cases: Case[], each: number): Array<Case<typeof LATE>> {
  const fit = shuffled(cases).filter(
    ({ point, fault }) => fault === faults[0] && point.store !== "kube-apiserver" && point.name.endsWith("#1"),
  );
  return (["create", "delete"] as const)
    .flatMap((act) => fit.filter((found) => found.act === act).slice(0, each))
    .map((found) => ({ ...found, fault: LATE }));
}
