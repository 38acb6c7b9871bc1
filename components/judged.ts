/**
 * What a component was told, judged: what is plain at once, so that a mistake shows before anything is made, the rest once
 * it is known.
 */
import * as pulumi from "@pulumi/pulumi";
import { InvalidSpec, type Problem } from "./plan/problem.ts";

/** One line for each problem. */
export const refusal = (problems: readonly Problem[], component: pulumi.Resource): pulumi.ResourceError =>
  new pulumi.ResourceError(new InvalidSpec(problems).message, component, true);

/**
 * @param problems what is wrong by now
 * @param spec what is still to be judged, parts of it perhaps not known yet
 * @param judge throws InvalidSpec
 * @throws pulumi.ResourceError; so does the output, once all is known
 */
export function judged<Known, Result>(
  component: pulumi.Resource,
  problems: readonly Problem[],
  spec: object,
  judge: (known: Known) => Result,
): pulumi.Output<Result> {
  if (problems.length > 0) throw refusal(problems, component);
  return pulumi.output(spec).apply((known) => {
    try {
      return judge(known as Known);
    } catch (error) {
      throw error instanceof InvalidSpec ? refusal(error.problems, component) : error;
    }
  }) as pulumi.Output<Result>;
}
