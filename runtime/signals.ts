/** SIGTERM and SIGINT end the process once all that serves in it has ended. */

interface Stoppable {
  /**
   * May be asked more than once.
   * @returns whether it ended as it should
   */
  stop(): Promise<boolean>;
}

const serving = new Set<Stoppable>();
let ending = false;

/** The process exits with 0 when everything ended as it should, else with 1. */
export function endWithSignals(one: Stoppable): void {
  if (serving.size === 0) for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, end);
  serving.add(one);
  // It was starting when the signal came.
  if (ending) one.stop().catch(() => undefined);
}

function end(): void {
  // A second signal does not hurry it: Kubernetes kills when its own grace is over.
  if (ending) return;
  ending = true;
  allEnded().then(
    (ended) => process.exit(ended ? 0 : 1),
    (error: Error) => {
      process.stderr.write(`ringfence: ${error.message}\n`);
      process.exit(1);
    },
  );
}

/** Those that join meanwhile as well. */
async function allEnded(): Promise<boolean> {
  const seen = new Set<Stoppable>();
  let well = true;
  while (seen.size < serving.size) {
    const more = [...serving].filter((one) => !seen.has(one));
    for (const one of more) seen.add(one);
    const ended = await Promise.all(more.map((one) => one.stop()));
    well &&= ended.every(Boolean);
  }
  return well;
}
