import type { Context, Hook, Test } from "mocha";

/**
 * Skips the test, or from a `before` hook the whole suite, and says why. Mocha's own `this.skip()` takes no reason, so
 * the title carries it; the reporter counts a skip without one as a failure.
 * @param reason what is missing and how to bring it, for example `no Go here; install 1.26 from https://go.dev/dl`
 */
export function skip(context: Context, reason: string): never {
  const test = context.test as Test | Hook | undefined;
  if (test?.type === "test") explain(test, reason);
  else test?.parent?.eachTest((each) => explain(each, reason));
  return context.skip();
}

const mark = " — skipped: ";

/** Once only: a `beforeEach` comes by for every test. */
function explain(test: Test, reason: string): void {
  if (skipReason(test.title) === undefined) test.title += mark + reason;
}

/** The reason that `skip` left in a title. */
export const skipReason = (title: string): string | undefined => title.split(mark)[1];
