import assert from "node:assert/strict";
import type { PolicyResource } from "@pulumi/policy";
import fc from "fast-check";
import { noSharedNatsAccount as policy } from "../../policy/no-shared-nats-account.ts";
import { NATS_ACCOUNT } from "../../policy/resources.ts";
import { resource, UNKNOWN, verdicts } from "./stack.ts";

const account = (name: string, props: Record<string, unknown>) =>
  resource(NATS_ACCOUNT, name, { platform: "dev", ...props });
const key = (letter: string) => `A${letter.repeat(55)}`;

describe("policy no-shared-nats-account", () => {
  it("is mandatory and says what it is about and how to comply", () => {
    assert.equal(policy.name, "no-shared-nats-account");
    assert.equal(policy.enforcementLevel, "mandatory");
    assert.equal(policy.severity, "critical");
    assert.match(policy.description, /share a NATS account/);
    assert.match(policy.remediationSteps ?? "", /one NatsAccount per tenant/);
  });

  it("lets each tenant have its own, also one name on two platforms", () => {
    assert.deepEqual(
      verdicts(policy, [
        account("a", { logicalName: "acme/a", account: key("A") }),
        account("b", { logicalName: "acme/b", account: key("B") }),
        account("c", { logicalName: "acme/a", account: key("C"), platform: "prod" }),
      ]),
      [],
    );
  });

  it("refuses one account key for two tenants", () => {
    assert.deepEqual(
      verdicts(policy, [
        account("a", { logicalName: "acme/a", account: key("A") }),
        account("b", { logicalName: "acme/b", account: key("A") }),
      ]),
      [
        {
          name: "b",
          message:
            `b.account: '${key("A")}' of 'acme/b' on platform 'dev' is also the account of 'a', ` +
            "'acme/a' on platform 'dev'; give each tenant an account of its own.",
        },
      ],
    );
  });

  it("refuses one account key on two platforms: a key belongs to one claim only, ever", () => {
    const shared = { logicalName: "acme/a", account: key("A") };
    const found = verdicts(policy, [account("a", shared), account("b", { ...shared, platform: "prod" })]);
    assert.deepEqual(
      found.map(({ name }) => name),
      ["b"],
    );
  });

  it("refuses two accounts for one tenant, at preview already", () => {
    assert.deepEqual(
      verdicts(policy, [
        account("a", { logicalName: "acme/a", account: UNKNOWN }),
        account("b", { logicalName: "acme/a" }),
      ]),
      [
        {
          name: "b",
          message: "b.logicalName: 'acme/a' on platform 'dev' has the account 'a' already; keep one of the two.",
        },
      ],
    );
  });

  it("has one verdict, not two, on a tenant's second account with the first one's key", () => {
    const same = { logicalName: "acme/a", account: key("A") };
    assert.equal(verdicts(policy, [account("a", same), account("b", same)]).length, 1);
  });

  it("says nothing of a value that a preview does not know, nor of what has none", () => {
    for (const nothing of [UNKNOWN, undefined, null, 7, [UNKNOWN]]) {
      assert.deepEqual(
        verdicts(policy, [
          account("a", { logicalName: "acme/a", account: nothing }),
          account("b", { logicalName: "acme/b", account: nothing }),
          account("c", { logicalName: nothing, account: key("A") }),
          account("d", { logicalName: nothing, account: key("A") }),
          account("e", { logicalName: "acme/a", platform: nothing, account: key("A") }),
        ]),
        [],
      );
    }
  });

  it("prints nothing in a key's place that is no public key", () => {
    const seed = "SAAGKZ5IMSNCEOPGXFNDMTZYUOYDX4OJ7S2TFKJVJCPUJVJXN6PVVZTZOM";
    const found = verdicts(policy, [
      account("a", { logicalName: "acme/a", account: seed, seed }),
      account("b", { logicalName: "acme/b", account: seed, seed }),
    ]);
    assert.equal(found.length, 1);
    assert.ok(!found[0]?.message.includes(seed));
    assert.match(found[0]?.message ?? "", /^b\.account: the value \(no public key, so not shown\) of 'acme\/b'/);
  });

  it("survives resources without props and resources of other types", () => {
    const bare = { ...account("a", {}), props: undefined } as unknown as PolicyResource;
    const other = (name: string) =>
      resource("kubernetes:core/v1:Secret", name, { platform: "dev", logicalName: "acme" });
    assert.deepEqual(verdicts(policy, [bare, other("s"), other("t")]), []);
  });

  it("condemns a stack exactly when two share a key or a name, and never because a value is unknown", () => {
    const text = (...texts: string[]) => fc.constantFrom(...texts, UNKNOWN);
    const part = fc.record({
      platform: text("dev", "prod"),
      logicalName: text("a", "b"),
      account: text(key("A"), key("B")),
    });
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
        const placed = parts.filter(({ platform, logicalName }) => platform !== UNKNOWN && logicalName !== UNKNOWN);
        const shared = placed.some((a, i) =>
          placed.some((b, j) => {
            const sameTenant = a.platform === b.platform && a.logicalName === b.logicalName;
            return i < j && (sameTenant || (a.account === b.account && a.account !== UNKNOWN));
          }),
        );
        assert.equal(
          verdicts(
            policy,
            parts.map((props, i) => account(`r${i}`, props)),
          ).length > 0,
          shared,
        );
      }),
      { numRuns: 1000 },
    );
  });

  it("crashes on nothing that can stand in a property", () => {
    const anything = fc.oneof(fc.anything(), fc.string(), fc.constant(UNKNOWN));
    const malformed = fc.record({ platform: anything, logicalName: anything, account: anything }, { requiredKeys: [] });
    fc.assert(
      fc.property(fc.array(malformed), (parts) => {
        verdicts(
          policy,
          parts.map((props, i) => account(`r${i}`, props)),
        );
      }),
    );
  });
});
