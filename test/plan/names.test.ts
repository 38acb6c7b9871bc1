import assert from "node:assert/strict";
import fc from "fast-check";
import {
  labelProblem,
  logicalName,
  logicalNameProblem,
  MAX_SEGMENT,
  namespaceName,
  overlap,
  physicalPrefix,
  portNameProblem,
  prefixProblem,
  TENANTS_PREFIX,
  vertexNameProblem,
} from "../../components/plan/names.ts";
import { intents } from "../../components/tenancy/registry.ts";
import { label, segments } from "./arbitraries.ts";

const DNS_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

const generation = fc.string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: 16, maxLength: 32 });

/** Right ones, some as long as they may be, and ones that somebody may try. */
const candidate = fc.oneof(
  { weight: 3, arbitrary: fc.array(label(MAX_SEGMENT), { minLength: 1, maxLength: 5 }).map((path) => path.join("/")) },
  fc.array(label(64), { minLength: 1, maxLength: 3 }).map((path) => path.join("/")),
  fc.string({ unit: fc.constantFrom("a", "-", "/", ".", "A", " ", "\n", "\u0000", "é"), maxLength: 6 }),
);

describe("overlap", () => {
  /** Paths as lists: one lies within the other when it begins with all of its segments. */
  const within = (outer: string[], inner: string[]) => outer.every((segment, index) => segment === inner[index]);

  it("is what comparing segment by segment says, with or without slashes at the end", () => {
    fc.assert(
      fc.property(segments, segments, fc.constantFrom("", "/"), fc.constantFrom("", "/"), (a, b, endA, endB) => {
        const expected = within(a, b) || within(b, a);
        assert.equal(overlap(a.join("/") + endA, b.join("/") + endB), expected);
      }),
      { numRuns: 1000 },
    );
  });

  it("is symmetric, and everything overlaps itself and what lies within it", () => {
    fc.assert(
      fc.property(segments, segments, (a, b) => {
        const [x, y] = [a.join("/"), b.join("/")];
        assert.equal(overlap(x, y), overlap(y, x));
        assert.ok(overlap(x, x));
        assert.ok(overlap(x, `${x}/${y}`));
      }),
    );
  });

  it("tells a sibling with a longer name from a child", () => {
    assert.equal(overlap("a", "ab"), false);
    assert.equal(overlap("/t/a/", "/t/ab/"), false);
    assert.equal(overlap("a", "a/b"), true);
    assert.equal(overlap("dev/chat", "dev"), true);
  });
});

describe("a logical name that is accepted", () => {
  const accepted = candidate.filter((name) => logicalNameProblem(name) === undefined);

  it("gives a physical prefix that is fit, a namespace that is a DNS label, and an etcd user that is one word", () => {
    fc.assert(
      fc.property(accepted, generation, (name, random) => {
        assert.equal(prefixProblem(physicalPrefix(random)), undefined);
        assert.ok(physicalPrefix(random).startsWith(TENANTS_PREFIX));
        assert.match(namespaceName(name, random), DNS_LABEL);
        const { username } = intents(name, random);
        assert.match(username, /^[a-z0-9.-]+$/);
        assert.notEqual(username, "root");
      }),
    );
  });

  it("shares neither prefix nor user with another generation", () => {
    fc.assert(
      fc.property(accepted, accepted, generation, generation, (a, b, first, second) => {
        fc.pre(first !== second);
        assert.equal(overlap(physicalPrefix(first), physicalPrefix(second)), false);
        assert.notEqual(intents(a, first).username, intents(b, second).username);
      }),
    );
  });

  it("stays accepted below a realm, as long as the whole is not too deep", () => {
    fc.assert(
      fc.property(accepted, label(MAX_SEGMENT), (realm, pipeline) => {
        assert.equal(logicalNameProblem(logicalName(realm, pipeline)), undefined);
      }),
    );
  });
});

describe("names that are refused", () => {
  const tooDeep = Array(101).fill("a").join("/");
  const refused: Array<[problem: string | undefined, expected: RegExp]> = [
    [logicalNameProblem(""), /^is the root, which would hold every tenant$/],
    [logicalNameProblem("/"), /^has the segment '', which is empty$/],
    [logicalNameProblem("a//b"), /^has the segment '', which is empty$/],
    [logicalNameProblem("a/"), /^has the segment '', which is empty$/],
    [logicalNameProblem("a/../b"), /^has the segment '\.\.', which may hold lower-case letters/],
    [logicalNameProblem("a/b\n"), /^has the segment 'b\n', which may hold lower-case letters/],
    [logicalNameProblem("ringfence"), /^begins with 'ringfence', which is reserved$/],
    [logicalNameProblem("registry/pods"), /^begins with 'registry', which is reserved$/],
    [logicalNameProblem(tooDeep), /^has 101 segments, at most 100 are allowed$/],
    [logicalNameProblem(`dev/${"a".repeat(55)}`), /which has 55 characters, at most 54 are allowed$/],
    [labelProblem("-a", 9), /RFC 1123/],
    [labelProblem("a-", 9), /RFC 1123/],
    [labelProblem("a_b", 9), /RFC 1123/],
    [vertexNameProblem("3d"), /^does not begin with a letter \(RFC 1035\)$/],
    [portNameProblem("80"), /^needs a letter/],
    [portNameProblem("a--b"), /no two hyphens in a row/],
    [portNameProblem("a".repeat(16)), /^has 16 characters, at most 15 are allowed$/],
    [prefixProblem(""), /^is the root/],
    [prefixProblem("/"), /^is the root/],
    [prefixProblem("/ringfence/tenants/a"), /^does not end in '\/'/],
    [prefixProblem("/ringfence/tenants/"), /^holds every tenant's prefix/],
    [prefixProblem("/ringfence/"), /^overlaps the registry/],
    [prefixProblem("/ringfence/v1/claims/"), /^overlaps the registry/],
  ];
  for (const [index, [problem, expected]] of refused.entries()) {
    it(`${index + 1}: ${expected.source}`, () => assert.match(problem ?? "accepted", expected));
  }

  it("are no neighbours of the reserved ones", () => {
    for (const name of ["ringfences", "dev/ringfence", "registry-2"]) assert.equal(logicalNameProblem(name), undefined);
    assert.equal(prefixProblem("/ringfence/v12/"), undefined);
  });
});
