import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type AvailabilityInput,
  availabilitySpec,
  dynamoEnv,
  graceProblem,
  leaseWarning,
  restartOf,
  runtimeEnv,
} from "../../components/plan/availability.ts";
import { compile } from "../../components/plan/compile.ts";
import { planesOf } from "../../components/plan/planes.ts";
import { InvalidSpec, parse } from "../../components/plan/problem.ts";

const http = { http: 80 };
const usual = { leaseTtlSeconds: 10, propagationSeconds: 5, shutdownGraceSeconds: 30, migrationLimit: 3 };

/** Any that a person may write. */
const written: fc.Arbitrary<AvailabilityInput> = fc.record(
  {
    leaseTtlSeconds: fc.integer({ min: 1, max: 3600 }),
    propagationSeconds: fc.integer({ min: 0, max: 300 }),
    shutdownGraceSeconds: fc.integer({ min: 0, max: 3600 }),
    migrationLimit: fc.integer({ min: 0, max: 100 }),
  },
  { requiredKeys: [], noNullPrototype: true },
);

describe("the availability of a vertex", () => {
  it("is its own word before the pipeline's before the default, field by field", () => {
    assert.deepEqual(restartOf({}).availability, usual);
    const pipeline = { leaseTtlSeconds: 20, propagationSeconds: 0 };
    const { availability } = restartOf({ availability: { leaseTtlSeconds: 15, migrationLimit: undefined } }, pipeline);
    assert.deepEqual(availability, { ...usual, leaseTtlSeconds: 15, propagationSeconds: 0 });
  });

  it("makes a vertex with ports sleep before SIGTERM, but not Dynamo's workers, which leave discovery by themselves", () => {
    const sleep = (vertex: object, pipeline?: AvailabilityInput) => restartOf(vertex, pipeline).preStopSleepSeconds;
    assert.equal(sleep({ ports: http }), 5);
    assert.equal(sleep({ ports: http }, { propagationSeconds: 9 }), 9);
    assert.equal(sleep({ ports: {} }), 0);
    assert.equal(sleep({ ports: http, component: "frontend" }), 5);
    assert.equal(sleep({ ports: http, component: "backend" }), 0);
    assert.equal(sleep({ ports: http, preStopSleepSeconds: 0 }), 0);
    assert.equal(sleep({ component: "backend", preStopSleepSeconds: 4 }), 4);
  });

  it("leaves time for sleep, propagation, grace and a margin until SIGKILL", () => {
    const least = (vertex: object) => restartOf(vertex).leastGraceSeconds;
    assert.deepEqual([least({}), least({ ports: http })], [45, 50]);
    assert.deepEqual([least({ component: "frontend", ports: http }), least({ component: "prefill" })], [125, 120]);
    fc.assert(
      fc.property(
        written,
        fc.option(fc.constantFrom("frontend", "backend")),
        fc.boolean(),
        (given, component, open) => {
          const vertex = { component: component ?? undefined, ports: open ? http : {}, availability: given };
          const restart = restartOf(vertex);
          const { preStopSleepSeconds: sleep, leastGraceSeconds, availability } = restart;
          assert.ok(leastGraceSeconds > sleep + availability.shutdownGraceSeconds);
          if (component === null) assert.ok(leastGraceSeconds > availability.propagationSeconds + sleep);
          assert.equal(graceProblem(leastGraceSeconds, restart), undefined);
          assert.match(
            graceProblem(leastGraceSeconds - 1, restart) ?? "",
            new RegExp(`^expected ${leastGraceSeconds} `),
          );
        },
      ),
    );
  });

  it("is judged where the vertex' own time until SIGKILL is written, by the pipeline's word too", () => {
    const chat = (availability: AvailabilityInput) => {
      const vertices = { web: { image: "i", terminationGracePeriodSeconds: 50 } };
      return compile({ name: "chat", realm: "dev", vertices, availability }, "chat").vertices.web;
    };
    assert.equal(chat({})?.terminationGracePeriodSeconds, 50);
    assert.throws(
      () => chat({ shutdownGraceSeconds: 60 }),
      (error) =>
        error instanceof InvalidSpec &&
        error.message ===
          "chat.vertices.web.terminationGracePeriodSeconds: found 50; expected 75 or more (sleep before SIGTERM 0 + " +
            "propagation 5 + shutdown grace 60 + margin 10), or a smaller availability.shutdownGraceSeconds",
    );
  });

  it("takes what is within its bounds, all of it", () => {
    fc.assert(fc.property(written, (given) => assert.deepEqual(parse(availabilitySpec, given, "a"), given)));
  });

  it("warns of a lease that is lost too easily, or kept too long", () => {
    const warning = (leaseTtlSeconds: number) => leaseWarning({ ...usual, leaseTtlSeconds });
    assert.match(warning(4) ?? "", /^found 4; a pause .* that long takes its registration away: use 5 to 30$/);
    assert.match(
      warning(31) ?? "",
      /^found 31; a pod that is killed is sent requests for so many seconds: use 5 to 30$/,
    );
    assert.deepEqual([warning(5), warning(10), warning(30)], [undefined, undefined, undefined]);
  });

  it("tells our runtime, and each part of Dynamo what it reads", () => {
    assert.deepEqual(runtimeEnv(usual), {
      RINGFENCE_LEASE_TTL: "10",
      RINGFENCE_PROPAGATION_SECONDS: "5",
      RINGFENCE_GRACE_SECONDS: "30",
    });
    const told = (component: string, planes: "brokered" | "native") => dynamoEnv(component, planesOf(planes), usual);
    assert.deepEqual(told("backend", "brokered"), {
      ETCD_LEASE_TTL: "10",
      DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS: "30",
    });
    const frontend = { DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS: "30", DYN_MIGRATION_LIMIT: "3" };
    assert.deepEqual(told("frontend", "brokered"), { ETCD_LEASE_TTL: "10", ...frontend });
    // Nobody has a lease without etcd.
    assert.deepEqual(told("frontend", "native"), frontend);
  });
});
