/**
 * `npm run bench:lifecycle [-- BACKLOG …] [--home DIR]`: how long a pause and a resume take, by the real engine, against the messages
 * that are unread when the pause begins: `pulumi up` from its start to its end, beside the time that the consumers themselves
 * need to handle them all. And how long `compile` takes for 1,000 vertices.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { PipelineInput } from "../components/plan/spec.ts";
import { openStores } from "../components/tenancy/access.ts";
import { requireInside } from "../components/tenancy/inside.ts";
import { resolveAccess } from "../components/tenancy/resolve-access.ts";
import { topologyStatus } from "../components/tenancy/topology-status.ts";
import { until } from "../dev/platform/wait.ts";
import { barChart } from "./chart.ts";
import { compileFigures } from "./lifecycle-compile.ts";
import type { BenchVertex } from "./lifecycle-vertex.ts";
import { installPackage } from "./package.ts";
import { openPlatform } from "./platform.ts";
import { Project } from "./scale-ways.ts";
import { machine, rounded, saveResults } from "./statistics.ts";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    /** Use a platform that runs already, of this home. */
    home: { type: "string" },
  },
});
const BACKLOGS = positionals.length > 0 ? positionals.map(Number) : [0, 1_000, 5_000, 20_000];
/** The sink handles a batch at a time: so many messages a second, at most. */
const [BATCH, WORK_MS] = [100, 50];
/** Messages that come after a resume. */
const AFTER = 100;
const REALM = "bench-lifecycle";

const PROGRAM = `import { readFileSync } from "node:fs";
import { Pipeline, Platform } from "ringfence";
const platform = Platform.fromConfig();
new Pipeline("flow", { platform, ...JSON.parse(readFileSync("pipeline.json", "utf8")) });
`;

const before = machine();
// Before there is a platform, which takes a processor's time.
const compile = compileFigures();
const { scratch, env, end } = await openPlatform(values.home);
const [goal, open, notes] = ["goal", "open", "notes"].map((name) => join(scratch, name)) as [string, string, string];
try {
  const project = new Project(
    join(scratch, "project"),
    { env, modules: installPackage(join(scratch, "package")) },
    PROGRAM,
  );
  setGoal(0);
  declare("Running");
  await project.up();
  const unchanged = await project.up();
  const sizes: Record<string, Awaited<ReturnType<typeof pauseAndResume>>> = {};
  for (const backlog of BACKLOGS) {
    sizes[backlog] = await pauseAndResume(project, env, backlog);
    console.error(`${backlog} unread messages: ${JSON.stringify(sizes[backlog])}`);
  }
  await project.destroy();
  save({
    backlogs: sizes,
    unchangedSeconds: rounded(unchanged.seconds),
    compile,
    sink: { batch: BATCH, workMs: WORK_MS },
    machine: before,
  });
} finally {
  await end();
}

/** Writes what the program makes. */
function declare(desiredPhase: "Running" | "Paused"): void {
  const vertex = (kind: BenchVertex["kind"]) => ({
    kind,
    image: "ringfence.dev/bench-lifecycle:1",
    command: [
      "node",
      "/ringfence/bench/lifecycle-vertex.ts",
      JSON.stringify({ kind, goal, open, notes, workMs: WORK_MS } satisfies BenchVertex),
    ],
  });
  const spec: Omit<PipelineInput, "name"> = {
    realm: REALM,
    vertices: { in: vertex("source"), out: vertex("sink") },
    edges: [{ from: "in", to: "out", edge: "stream" }],
    buffers: { replicas: 1 },
    limits: { readBatchSize: BATCH },
    availability: { propagationSeconds: 0 },
    lifecycle: { desiredPhase, pauseGracePeriodSeconds: 300, deletionGracePeriodSeconds: 300 },
  };
  writeFileSync(join(scratch, "project", "pipeline.json"), JSON.stringify(spec));
}

function setGoal(n: number): void {
  writeFileSync(goal, String(n));
}

/** When each message was handled. */
function handled(): number[] {
  return existsSync(notes) ? readFileSync(notes, "utf8").split("\n").filter(Boolean).map(Number) : [];
}

/** Lets so many messages wait, pauses, and resumes. */
async function pauseAndResume(project: Project, env: NodeJS.ProcessEnv, backlog: number) {
  const done = handled().length;
  rmSync(open, { force: true });
  setGoal(done + backlog);
  await unreadAre(env, backlog);

  declare("Paused");
  const pausing = Date.now();
  writeFileSync(open, "");
  const pause = await project.up();
  const last = handled().at(-1) ?? pausing;
  if (handled().length !== done + backlog)
    throw new Error(`${done + backlog - handled().length} messages were not handled`);

  setGoal(done + backlog + AFTER);
  declare("Running");
  const resuming = Date.now();
  const resume = await project.up();
  await until({
    what: "the messages after the resume",
    within: 60,
    attempt: async () => {
      if (handled().length < done + backlog + AFTER) throw new Error(`${handled().length} were handled`);
    },
  });
  const first = handled()[done + backlog] ?? Number.NaN;
  const consumers = backlog > 0 ? (last - pausing) / 1000 : 0;
  return {
    pauseSeconds: rounded(pause.seconds),
    /** From the pause's beginning to the last message. */
    consumersSeconds: rounded(consumers),
    overheadSeconds: rounded(pause.seconds - consumers),
    resumeSeconds: rounded(resume.seconds),
    resumeToFirstMessageSeconds: rounded((first - resuming) / 1000),
  };
}

async function unreadAre(env: NodeJS.ProcessEnv, backlog: number): Promise<void> {
  const before = process.env.RINGFENCE_PLATFORM;
  process.env.RINGFENCE_PLATFORM = env.RINGFENCE_PLATFORM;
  const stores = openStores(
    resolveAccess("platform", () => {
      throw new Error("the platform has no access file");
    }),
  );
  process.env.RINGFENCE_PLATFORM = before;
  try {
    await until({
      what: `${backlog} unread messages`,
      within: 120,
      attempt: async () => {
        const status = await topologyStatus(stores, await requireInside(stores, `${REALM}/flow`));
        const unread = (status?.buffers ?? []).reduce((sum, { pending, ackPending }) => sum + pending + ackPending, 0);
        if (unread < backlog) throw new Error(`${unread} are`);
      },
    });
  } finally {
    await stores.close();
  }
}

function save(
  result: { backlogs: Record<string, Awaited<ReturnType<typeof pauseAndResume>>> } & Record<string, unknown>,
): void {
  saveResults(
    "lifecycle",
    result,
    barChart({
      title: "Pause and resume against the backlog",
      bars: ["pause", "of it, consumers", "resume"],
      groups: Object.entries(result.backlogs).map(([backlog, { pauseSeconds, consumersSeconds, resumeSeconds }]) => ({
        label: `${backlog} unread`,
        bars: [pauseSeconds, consumersSeconds, resumeSeconds],
      })),
      unit: "seconds",
    }),
  );
  console.log(JSON.stringify(result, null, 2));
}
