/** What a person writes of observability. */
import { z } from "zod";
import { labelProblem } from "../names.ts";
import { named } from "../numbers.ts";

const namespace = named((name) => labelProblem(name, 63));
const labels = z.record(z.string(), z.string("expected the value of a label"));

/** `ringfence:observability` of a stack, and the arguments of Observability. */
export const observabilitySpec = z
  .strictObject({
    prometheus: z.strictObject({ namespace, labels: labels.default({}) }).optional(),
    grafana: z.strictObject({ namespace, labels: labels.default({ grafana_dashboard: "1" }) }).optional(),
  })
  .refine(({ prometheus, grafana }) => prometheus || grafana, "expected 'prometheus', 'grafana' or both");
