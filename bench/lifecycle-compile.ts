/**
 * How long `compile` takes of a pipeline of 1,000 vertices: what a preview waits for before it can ask for the first resource. Part of
 * `npm run bench:lifecycle`; alone: `node bench/lifecycle-compile.ts`. In a process of its own, for the first compile of a program is
 * the one that its user waits for, and it runs on code that the engine has not optimized yet.
 */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { compile } from "../components/plan/compile.ts";
import type { PipelineInput } from "../components/plan/spec.ts";
import { percentile, rounded } from "./statistics.ts";

const VERTICES = 1_000;
const ROUNDS = 50;

export interface CompileFigures {
  vertices: number;
  edges: number;
  buffers: number;
  buckets: number;
  rounds: number;
  /** Milliseconds on the clock: of the first one, the median and the 99th percentile of those after it. */
  firstMs: number;
  medianMs: number;
  p99Ms: number;
  /** Milliseconds of the processor, for each of those after the first: what a machine that is busy otherwise does not change. */
  cpuMs: number;
}

/** @returns the figures of a fresh process */
export const compileFigures = (): CompileFigures =>
  JSON.parse(execFileSync(process.execPath, [fileURLToPath(import.meta.url)], { encoding: "utf8" }));

/** Ten sources and ten sinks; what is between receives from its neighbour, and every second one from one far before it, too. */
function spec(): PipelineInput {
  const [ends, vertices, edges] = [10, {} as PipelineInput["vertices"], [] as NonNullable<PipelineInput["edges"]>];
  const name = (index: number) => `vertex-${index}`;
  for (let index = 0; index < VERTICES; index++) {
    const kind = index < ends ? "source" : index < VERTICES - ends ? "processor" : "sink";
    const env = { LOG: "info" };
    vertices[name(index)] = {
      image: "i",
      kind,
      env,
      ...(kind !== "source" && { partitions: 2, scale: { min: 1, max: 3 } }),
    };
    if (kind === "source") continue;
    // A sink has nothing behind it.
    const before = kind === "sink" ? index - ends : index === ends ? 0 : index - 1;
    edges.push({ from: name(before), to: name(index), edge: "stream" });
    if (kind === "processor" && index % 2 === 0 && index > 2 * ends)
      edges.push({ from: name(index - 2 * ends), to: name(index), edge: "stream" });
  }
  for (let index = 1; index < ends; index++) edges.push({ from: name(index), to: name(ends + index), edge: "stream" });
  return { name: "big", realm: "bench", vertices, edges, jetStream: { streams: 10_000, consumers: 10_000 } };
}

function measure(): CompileFigures {
  const input = spec();
  const timed = () => {
    const begun = performance.now();
    const plan = compile(input);
    return { plan, ms: performance.now() - begun };
  };
  const first = timed();
  // So that the figures after the first one are of optimized code.
  for (let round = 0; round < 10; round++) timed();
  const before = process.cpuUsage();
  const times = Array.from({ length: ROUNDS }, () => timed().ms);
  const { user, system } = process.cpuUsage(before);
  const { buffers = {}, buckets = {}, edges = [] } = first.plan.topology ?? {};
  return {
    vertices: VERTICES,
    edges: edges.length,
    buffers: Object.keys(buffers).length,
    buckets: Object.keys(buckets).length,
    rounds: ROUNDS,
    firstMs: rounded(first.ms),
    medianMs: rounded(percentile(times, 0.5)),
    p99Ms: rounded(percentile(times, 0.99)),
    cpuMs: rounded((user + system) / 1000 / ROUNDS),
  };
}

if (import.meta.main) console.log(JSON.stringify(measure(), null, 2));
