import assert from "node:assert/strict";
import type { PolicyResource } from "@pulumi/policy";
import fc from "fast-check";
import { overlap } from "../../components/plan/names.ts";
import { noOverlappingTenants as policy } from "../../policy/no-overlapping-tenants.ts";
import { ETCD_PREFIX, TENANT_CLAIM } from "../../policy/stack/ringfence.ts";
import { type Props, resource, UNKNOWN, verdicts } from "./stack.ts";

const claim = (name: string, props: Props) => resource(TENANT_CLAIM, name, { platform: "dev", ...props });
const grant = (name: string, props: Props) => resource(ETCD_PREFIX, name, { platform: "dev", ...props });

/** A tenant as it stands after `up`: its claim and its EtcdPrefix. */
function tenant(name: string, logicalName: string, generation: string, props: Props = {}): PolicyResource[] {
  const made = { logicalName, generation, prefix: `/ringfence/tenants/${generation}/`, ...props };
  return [
    claim(`${name}-claim`, made),
    grant(`${name}-etcd`, { ...made, username: `u-${generation}`, password: "hunter2" }),
  ];
}

const names = (resources: PolicyResource[]) => verdicts(policy, resources).map(({ name }) => name);
const messages = (resources: PolicyResource[]) => verdicts(policy, resources).map(({ message }) => message);

describe("policy no-overlapping-tenants", () => {
  it("is mandatory and says what it is about and how to comply", () => {
    assert.equal(policy.name, "no-overlapping-tenants");
    assert.equal(policy.enforcementLevel, "mandatory");
    assert.equal(policy.severity, "critical");
    assert.match(policy.description, /overlap/);
    assert.match(policy.remediationSteps ?? "", /realm/);
  });

  it("lets tenants side by side, names that only begin alike, and one name on two platforms", () => {
    assert.deepEqual(
      verdicts(policy, [
        ...tenant("chat", "acme/chat", "g1"),
        ...tenant("chat2", "acme/chat-2", "g2"),
        ...tenant("other", "acme/chat2", "g3"),
        ...tenant("prod", "acme/chat", "g1", { platform: "prod" }),
      ]),
      [],
    );
  });

  it("refuses a logical name within another's, at preview already", () => {
    const props = { prefix: UNKNOWN, generation: UNKNOWN };
    assert.deepEqual(
      verdicts(policy, [
        claim("a", { logicalName: "acme", ...props }),
        claim("b", { logicalName: "acme-b/x", ...props }),
        claim("c", { logicalName: "acme/chat", ...props }),
      ]),
      [
        {
          name: "c",
          message:
            "c.logicalName: 'acme/chat' overlaps 'acme' of 'a' on platform 'dev'; give one of the two tenants another realm or name.",
        },
      ],
    );
  });

  it("refuses a logical name claimed twice", () => {
    assert.deepEqual(names([claim("a", { logicalName: "acme/chat" }), claim("b", { logicalName: "acme/chat" })]), [
      "b",
    ]);
  });

  for (const [logicalName, problem] of [
    ["", /is the root/],
    ["ringfence/chat", /begins with 'ringfence', which is reserved/],
    ["registry", /reserved/],
    ["acme//chat", /segment ''/],
    ["acme/chat/", /segment ''/],
    ["Acme/chat", /RFC 1123/],
  ] as const) {
    it(`refuses the logical name '${logicalName}'`, () => {
      const [verdict, ...others] = verdicts(policy, [claim("a", { logicalName })]);
      assert.match(verdict?.message ?? "", problem);
      assert.ok(verdict?.message.startsWith(`a.logicalName: '${logicalName}' `));
      assert.deepEqual(others, []);
    });
  }

  for (const [prefix, problem] of [
    ["", /is the root/],
    ["/", /is the root/],
    ["/ringfence/tenants/g1", /does not end in '\/'/],
    ["/ringfence/", /overlaps the registry/],
    ["/ringfence/v1/claims/", /overlaps the registry/],
    ["/ringfence/tenants/", /holds every tenant's prefix/],
  ] as const) {
    it(`refuses the prefix '${prefix}'`, () => {
      const [verdict, ...others] = verdicts(policy, [grant("a", { logicalName: "acme/chat", prefix })]);
      assert.match(verdict?.message ?? "", problem);
      assert.ok(verdict?.message.startsWith(`a.prefix: '${prefix}' `));
      assert.deepEqual(others, []);
    });
  }

  it("refuses a prefix within another tenant's, however deep its own lie in between", () => {
    const found = verdicts(policy, [
      claim("outer", { logicalName: "acme/a", prefix: "/data/" }),
      claim("inner", { logicalName: "acme/b", prefix: "/data/b/" }),
      grant("inner-etcd", { logicalName: "acme/b", prefix: "/data/b/" }),
      claim("beside", { logicalName: "acme/c", prefix: "/data-c/" }),
    ]);
    assert.deepEqual(found.map(({ name }) => name).sort(), ["inner", "inner-etcd"]);
    assert.ok(
      found.every(({ message }) =>
        message.includes(".prefix: '/data/b/' overlaps '/data/' of 'outer' on platform 'dev'"),
      ),
    );
  });

  it("refuses an EtcdPrefix that opens another prefix than its claim's", () => {
    const [chatClaim] = tenant("chat", "acme/chat", "g1");
    const [, stale] = tenant("chat", "acme/chat", "g0");
    assert.deepEqual(verdicts(policy, [chatClaim, stale] as PolicyResource[]), [
      {
        name: "chat-etcd",
        message:
          "chat-etcd.prefix: '/ringfence/tenants/g0/' is not '/ringfence/tenants/g1/', which 'chat-claim' " +
          "claims for 'acme/chat' on platform 'dev'; take the prefix from the claim.",
      },
    ]);
  });

  it("refuses an EtcdPrefix of another generation than its claim's, though the prefix is the same", () => {
    const prefix = "/adopted/chat/";
    const resources = [
      claim("chat-claim", { logicalName: "acme/chat", generation: "g1", prefix }),
      grant("chat-etcd", { logicalName: "acme/chat", generation: "g0", prefix }),
    ];
    assert.match(messages(resources).join(), /^chat-etcd\.generation: 'g0' is not 'g1'/);
  });

  it("refuses an EtcdPrefix that opens another tenant's prefix, and says both what it is not and whose it is", () => {
    const [a, b] = [tenant("a", "acme/a", "g1"), tenant("b", "acme/b", "g2", { prefix: "/ringfence/tenants/g1/" })];
    const [bClaim] = tenant("b", "acme/b", "g2");
    const found = messages([...a, bClaim, b[1]] as PolicyResource[]);
    assert.equal(found.length, 2);
    assert.match(found[0] ?? "", /^b-etcd\.prefix: .* overlaps .* of 'a-/);
    assert.match(found[1] ?? "", /^b-etcd\.prefix: .* is not '\/ringfence\/tenants\/g2\/', which 'b-claim'/);
  });

  it("says nothing of a value that a preview does not know, nor of what has none", () => {
    for (const nothing of [UNKNOWN, undefined, null, 7, ["acme"], { a: UNKNOWN }]) {
      const props = { platform: nothing, logicalName: nothing, generation: nothing, prefix: nothing };
      assert.deepEqual(verdicts(policy, [claim("a", props), claim("b", props), grant("c", props)]), []);
    }
    assert.deepEqual(
      names([
        claim("a", { logicalName: "acme", platform: UNKNOWN }),
        claim("b", { logicalName: "acme", platform: UNKNOWN }),
      ]),
      [],
    );
  });

  it("does not hold an EtcdPrefix against a claim that a preview is about to make anew", () => {
    const made = { logicalName: "acme/chat", generation: "g1", prefix: "/ringfence/tenants/acme/chat/g1/" };
    const anew = { ...made, generation: UNKNOWN, prefix: undefined };
    assert.deepEqual(verdicts(policy, [claim("chat-claim", anew), grant("chat-etcd", made)]), []);
    assert.deepEqual(verdicts(policy, [claim("chat-claim", made), grant("chat-etcd", anew)]), []);
  });

  it("names the same resource in whichever order the engine lists them", () => {
    const resources = [claim("a", { logicalName: "acme/x" }), claim("b", { logicalName: "acme/x" })];
    assert.deepEqual(names(resources.toReversed()), names(resources));
  });

  it("lets an error of another kind through: only unknown values are excused", () => {
    const broken = claim("a", {});
    const props = new Proxy({}, { get: () => assert.fail("broken") });
    assert.throws(() => verdicts(policy, [{ ...broken, props }]), /broken/);
  });

  it("survives resources without props and resources of other types", () => {
    const bare = { ...claim("a", {}), props: undefined } as unknown as PolicyResource;
    const other = resource("kubernetes:core/v1:Secret", "s", { logicalName: "", prefix: "/" });
    assert.deepEqual(verdicts(policy, [bare, other]), []);
  });

  it("prints no secret, though packs see them unwrapped", () => {
    const resources = [...tenant("a", "acme/a", "g1"), ...tenant("b", "acme/a", "g1"), ...tenant("c", "", "g2")];
    assert.ok(messages(resources).length > 0);
    assert.doesNotMatch(messages(resources).join(), /hunter2/);
  });
});

describe("policy no-overlapping-tenants, whatever the stack", () => {
  const path = fc.array(fc.constantFrom("a", "a-b", "b", "c"), { minLength: 1, maxLength: 3 }).map((s) => s.join("/"));
  const part = fc.record({
    type: fc.constantFrom(TENANT_CLAIM, ETCD_PREFIX),
    platform: fc.constantFrom("dev", "prod"),
    logicalName: path,
    generation: fc.constantFrom("g1", "g2"),
    prefix: path.map((p) => `/${p}/`),
  });
  type Part = { type: string; platform: string; logicalName: string; generation: string; prefix: string };
  const asResource = ({ type, ...props }: Partial<Part>, i: number) => resource(type as string, `r${i}`, props);

  it("finds an overlap if and only if two claims have one", () => {
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
        const claims = parts.map((p) => ({ ...p, type: TENANT_CLAIM }));
        const pair = claims.some((a, i) =>
          claims.some(
            (b, j) =>
              i < j &&
              a.platform === b.platform &&
              (overlap(a.logicalName, b.logicalName) ||
                (a.logicalName !== b.logicalName && overlap(a.prefix, b.prefix))),
          ),
        );
        assert.equal(verdicts(policy, claims.map(asResource)).length > 0, pair);
      }),
      { numRuns: 500 },
    );
  });

  it("names each overlapped EtcdPrefix or claim, and no other", () => {
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
        const touched = new Set<string>();
        parts.forEach((a, i) => {
          for (const b of parts) {
            if (a.platform === b.platform && a.logicalName !== b.logicalName && overlap(a.prefix, b.prefix)) {
              touched.add(`r${i}`);
            }
          }
        });
        const named = verdicts(policy, parts.map(asResource)).filter(({ message }) =>
          /\.prefix: .* overlaps/.test(message),
        );
        assert.ok(named.every(({ name }) => touched.has(name as string)));
        assert.equal(named.length > 0, touched.size > 0);
      }),
      { numRuns: 500 },
    );
  });

  it("condemns no stack with unknown values that it would let pass with all of them known", () => {
    const hidden = fc.array(fc.constantFrom("platform", "logicalName", "generation", "prefix"));
    fc.assert(
      fc.property(fc.array(fc.tuple(part, hidden), { maxLength: 6 }), (parts) => {
        const full = parts.map(([p], i) => asResource(p, i));
        const masked = parts.map(([p, keys], i) =>
          asResource({ ...p, ...Object.fromEntries(keys.map((key) => [key, UNKNOWN])) }, i),
        );
        if (verdicts(policy, full).length === 0) assert.deepEqual(verdicts(policy, masked), []);
      }),
      { numRuns: 2000 },
    );
  });

  it("crashes on nothing that can stand in a property", () => {
    const anything = fc.oneof(fc.anything(), fc.string(), fc.constant(UNKNOWN));
    const malformed = fc.record(
      { platform: anything, logicalName: anything, generation: anything, prefix: anything },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom(TENANT_CLAIM, ETCD_PREFIX), malformed)), (parts) => {
        verdicts(
          policy,
          parts.map(([type, props], i) => resource(type, `r${i}`, props)),
        );
      }),
    );
  });
});
