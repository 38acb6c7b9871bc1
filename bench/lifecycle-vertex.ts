/** A vertex of `bench:lifecycle`, in a process pod: a source that goes as far as a file says, or a sink that waits for one to be there. */
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { flow, produce } from "../runtime/index.ts";

export interface BenchVertex {
  kind: "source" | "sink";
  /** How far the source goes. */
  goal: string;
  /** The sink handles nothing before this file is there. */
  open: string;
  /** When each message was handled, milliseconds since 1970, one a line. */
  notes: string;
  /** Milliseconds that the sink takes for a message. */
  workMs: number;
}

const { kind, goal, open, notes, workMs } = JSON.parse(process.argv[2] ?? "") as BenchVertex;
const LOOK_MS = 20;

if (kind === "source") {
  await produce(async function* ({ after, signal }) {
    for (let n = Number(after ?? 0) + 1; !signal.aborted; n++) {
      while (Number(readFileSync(goal, "utf8")) < n) await sleep(LOOK_MS, undefined, { signal });
      yield { id: String(n), value: n };
    }
  });
} else {
  await flow(async () => {
    while (!existsSync(open)) await sleep(LOOK_MS);
    await sleep(workMs);
    appendFileSync(notes, `${Date.now()}\n`);
  });
}
