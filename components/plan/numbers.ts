/** Numbers, names and quantities as people write them; each schema says in words what it allows. */
import { z } from "zod";

export const whole = (what: string, least: number) => z.int({ error: what, abort: true }).min(least, what);
export const count = whole("expected a whole number, 0 or more", 0);
export const bytes = whole("expected a whole number of bytes, 0 or more", 0);
export const seconds = whole("expected a whole number of seconds, 0 or more", 0);

/** @param problemOf says what is wrong with a name, or nothing */
export const named = (problemOf: (name: string) => string | undefined) =>
  z.string().superRefine((name, context) => {
    const problem = problemOf(name);
    if (problem) context.addIssue({ code: "custom", message: `it ${problem}` });
  });

export const environmentName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "expected letters, digits and underscores, no digit first");

/** A Kubernetes quantity that is not negative. */
const quantity = (example: string) =>
  z
    .string(`expected a quantity such as '${example}'`)
    .regex(/^(\d+(\.\d*)?|\.\d+)([eE]\d+|[numkMGTPE]|[KMGTPE]i)?$/, `expected a quantity such as '${example}'`);

/** Processor time and memory, as Kubernetes writes them. */
export const amountsSpec = z.strictObject({ cpu: quantity("500m").optional(), memory: quantity("16Gi").optional() });
