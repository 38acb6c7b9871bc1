import Mocha from "mocha";
import { skipReason } from "./support/skip.ts";

/** What a run came to, sent to the process that started mocha. */
export interface Counts {
  passed: number;
  /** Full titles, each with the error: the closing lines are all that some of CI's readers see. */
  failed: string[];
  /** Full titles. The reasons are in the titles. */
  skipped: string[];
}

/** Mocha's spec reporter, which also counts. A failed hook is a failure, and so is a skip without a reason. */
export default class CountingReporter extends Mocha.reporters.Spec {
  constructor(runner: Mocha.Runner, options: Mocha.MochaOptions) {
    super(runner, options);
    const counts: Counts = { passed: 0, failed: [], skipped: [] };
    const { EVENT_TEST_PASS, EVENT_TEST_FAIL, EVENT_TEST_PENDING, EVENT_RUN_END } = Mocha.Runner.constants;
    runner.on(EVENT_TEST_PASS, () => {
      counts.passed++;
    });
    runner.on(EVENT_TEST_FAIL, (test, error: Error) => {
      counts.failed.push(`${test.fullTitle()}\n${error.message}`);
    });
    runner.on(EVENT_TEST_PENDING, (test) => {
      if (skipReason(test.title)) counts.skipped.push(test.fullTitle());
      else counts.failed.push(`${test.fullTitle()}: skipped without a reason, use test/support/skip.ts`);
    });
    runner.once(EVENT_RUN_END, () => process.send?.(counts));
    // So that an interrupted suite still stops what it started: the `after` hooks run.
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => runner.abort());
  }
}
