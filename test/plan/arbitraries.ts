/** Names, paths and specs for properties. */
import fc from "fast-check";
import type { PipelineInput } from "../../components/plan/spec.ts";

const [edge, inner] = ["abcxyz019", "abcxyz019-"];

/** A label as Kubernetes, NATS and etcd take it, of at most `limit` characters; sometimes of just as many. */
export const label = (limit: number): fc.Arbitrary<string> =>
  fc
    .tuple(
      fc.string({ unit: fc.constantFrom(...edge), minLength: 1, maxLength: 1 }),
      fc.oneof(
        fc.string({ unit: fc.constantFrom(...inner), maxLength: 6 }),
        fc.string({ unit: fc.constantFrom(...inner), minLength: limit - 2, maxLength: limit - 2 }),
      ),
      fc.string({ unit: fc.constantFrom(...edge), maxLength: 1 }),
    )
    .map(([first, middle, last]) => `${first}${middle}${last}`.replace(/-+$/, ""));

/** Few letters and short segments, so that paths overlap often. */
export const segments = fc.array(fc.string({ unit: fc.constantFrom("a", "b"), minLength: 1, maxLength: 2 }), {
  minLength: 1,
  maxLength: 4,
});

const count = fc.nat({ max: 9 });

const vertex = fc.record(
  {
    image: fc.constantFrom("vllm:1.4.0", "frontend:1.4.0"),
    command: fc.array(fc.constantFrom("python3", "-m"), { maxLength: 3 }),
    args: fc.array(fc.constantFrom("--model", "llama"), { maxLength: 3 }),
    env: fc.dictionary(fc.constantFrom("LOG", "MODE", "_X"), fc.string(), { noNullPrototype: true }),
    replicas: count,
    gpus: count,
    pool: fc.constantFrom("h100", "a100"),
    ports: fc.constantFrom<Record<string, number>>({}, { http: 80 }, { metrics: 9090, http: 80 }),
    availability: fc.record(
      { leaseTtlSeconds: fc.integer({ min: 1, max: 9 }), propagationSeconds: count, shutdownGraceSeconds: count },
      { requiredKeys: [], noNullPrototype: true },
    ),
    // More than the longest of those ends take.
    terminationGracePeriodSeconds: fc.integer({ min: 90, max: 99 }),
  },
  { requiredKeys: ["image", "pool"], noNullPrototype: true },
);

/** Any spec that is right. */
export const spec: fc.Arbitrary<PipelineInput> = fc.record(
  {
    name: fc.constantFrom("chat", "summarize"),
    realm: fc.constantFrom("dev", "team/dev"),
    vertices: fc.dictionary(fc.constantFrom("prefill", "decode", "frontend"), vertex, {
      minKeys: 1,
      noNullPrototype: true,
    }),
    lifecycle: fc.record(
      { desiredPhase: fc.constantFrom("Running" as const, "Paused" as const) },
      { requiredKeys: [], noNullPrototype: true },
    ),
    jetStream: fc.record(
      { memoryBytes: count, diskBytes: count, streams: count, consumers: count },
      { requiredKeys: [], noNullPrototype: true },
    ),
  },
  { requiredKeys: ["name", "realm", "vertices"], noNullPrototype: true },
);
