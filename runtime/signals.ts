/** SIGTERM and SIGINT end the process once all that serves in it has ended. */

interface Stoppable {
  /** @returns whether it ended as it should */
  stop(): Promise<boolean>;
}

const serving = new Set<Stoppable>();
let ending = false;

/** The process exits with 0 when everything ended as it should, else with 1. */
export function endWithSignals(one: Stoppable): void {
  if (serving.size === 0) for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, end);
  serving.add(one);
}

function end(): void {
  // A second signal does not hurry it: Kubernetes kills when its own grace is over.
  if (ending) return;
  ending = true;
  Promise.all([...serving].map((one) => one.stop())).then(
    (ended) => process.exit(ended.every(Boolean) ? 0 : 1),
    (error: Error) => {
      process.stderr.write(`ringfence: ${error.message}\n`);
      process.exit(1);
    },
  );
}
