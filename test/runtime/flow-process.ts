/**
 * A vertex of a flow as a pod would run it: a source of numbered messages, a processor that passes them on, or a sink that
 * writes down what came: at once and to a file, so that the note outlives a kill.
 */
import { openSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { flow, type Produced, produce } from "../../runtime/index.ts";
import { lineOf } from "./flow-notes.ts";

export interface VertexSpec {
  kind: "source" | "processor" | "sink";
  /** A source says the numbers from 1 to this. */
  numbers?: number;
  /** A sink writes the numbers that came, one a line. */
  notes?: string;
  /** Milliseconds that a handler takes, or a source between two numbers. */
  workMs?: number;
  /** Of `/ready`. @default any */
  port?: number;
  startSeconds?: number;
}

interface Numbered {
  n: number;
}

const {
  kind,
  numbers = 0,
  notes = "",
  workMs = 0,
  startSeconds = 20,
  port = 0,
} = JSON.parse(process.argv[2] ?? "") as VertexSpec;
const options = { port, host: process.env.RINGFENCE_BIND_ADDRESS ?? "127.0.0.1", startSeconds };

async function* count(after: string | undefined): AsyncGenerator<Produced> {
  for (let n = Number(after ?? 0) + 1; n <= numbers; n++) {
    yield { id: String(n), value: { n } satisfies Numbered };
    if (workMs > 0) await sleep(workMs);
  }
}

const begin = () => {
  if (kind === "source") return produce(({ after }) => count(after), options);
  const file = kind === "sink" ? openSync(notes, "a") : undefined;
  return flow<Numbered>(async ({ value }) => {
    if (workMs > 0) await sleep(workMs);
    if (file === undefined) return { value };
    writeSync(file, lineOf(value.n));
    return undefined;
  }, options);
};

try {
  const begun = await begin();
  process.send?.({ port: begun.port });
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exit(2);
}
