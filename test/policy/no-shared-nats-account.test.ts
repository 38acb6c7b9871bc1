import assert from "node:assert/strict";
import type { PolicyResource } from "@pulumi/policy";
import fc from "fast-check";
import { GENERATION_LABEL, PIPELINE_LABEL } from "../../components/plan/labels.ts";
import { noSharedNatsAccount as policy } from "../../policy/no-shared-nats-account.ts";
import { NATS_ACCOUNT } from "../../policy/stack/ringfence.ts";
import { natsCreds } from "./creds.ts";
import { deployment, env, fromSecret, object, secret } from "./sketches.ts";
import { type Props, resource, told, UNKNOWN, verdicts } from "./stack.ts";

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

describe("policy no-shared-nats-account, in the cluster", () => {
  const A = key("A");
  const creds = (namespace: string, text: string) => secret({ "nats.creds": text }, { namespace });
  const client = (name: string, namespace: string, variables: Props, labels: Props = {}) =>
    deployment({
      name,
      namespace,
      labels,
      container: { env: env({ NATS_SERVER: "tls://nats.platform.svc:4222", ...variables }) },
    });

  it("knows an account by the JWT in a Secret, plain or base64, signed by the account or by a key of its", () => {
    const base64 = object({
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: "creds", namespace: "b" },
      data: { "nats.creds": Buffer.from(natsCreds(A, "worker", key("S"))).toString("base64") },
    });
    assert.deepEqual(told(policy, [creds("a", natsCreds(A)), base64]).length, 1);
    assert.deepEqual(told(policy, [creds("a", natsCreds(A)), creds("b", natsCreds(key("B")))]), []);
  });

  it("knows the tenant whose account it is, and lets the tenant's own Secrets be", () => {
    const account = {
      type: NATS_ACCOUNT,
      name: "chat-nats",
      props: { platform: "prod", logicalName: "acme/chat", account: A },
    };
    const own = secret(
      { "nats.creds": natsCreds(A) },
      { namespace: "chat-01234567", labels: { [PIPELINE_LABEL]: "chat" } },
    );
    assert.deepEqual(told(policy, [account, own]), []);
    assert.match(
      told(policy, [account, own, creds("other", natsCreds(A))]).join(),
      /^other\/creds\..* for namespace 'other'/,
    );
    const labels = { [PIPELINE_LABEL]: "other", [GENERATION_LABEL]: "0".repeat(24) };
    const known = secret({ "nats.creds": natsCreds(A) }, { namespace: "other-00000000", labels });
    assert.match(
      told(policy, [account, known]).join(),
      /^other-00000000\/creds/,
      "though more is known of it than of its owner",
    );
    assert.equal(
      told(policy, [account, creds("chat-0123456789", natsCreds(A))]).length,
      1,
      "nine characters, not eight",
    );
  });

  it("refuses one user for two pipelines, on one server", () => {
    const user = { NATS_AUTH_USERNAME: "worker" };
    assert.deepEqual(told(policy, [client("x", "a", user), client("y", "a", user)]), []);
    assert.match(
      told(policy, [client("x", "a", user), client("x", "b", user)]).join(),
      /^b\/x\..*holds the NATS user 'worker'/,
    );
    assert.deepEqual(
      told(policy, [client("x", "a", user), client("x", "b", { ...user, NATS_SERVER: "tls://other:4222" })]),
      [],
    );
  });

  it("refuses one creds Secret for two pipelines of a namespace", () => {
    const mounts = (pipeline: string) =>
      deployment({
        name: pipeline,
        namespace: "shared",
        labels: { [PIPELINE_LABEL]: pipeline },
        pod: { volumes: [{ name: "nats", secret: { secretName: "nats-creds" } }] },
      });
    assert.deepEqual(told(policy, [mounts("chat"), { ...mounts("chat"), name: "second" }]), []);
    assert.equal(told(policy, [mounts("chat"), mounts("summarize")]).length, 1);
    const refers = { NATS_AUTH_PASSWORD: fromSecret("nats-creds", "password") };
    assert.equal(told(policy, [mounts("chat"), client("x", "shared", refers, { [PIPELINE_LABEL]: "x" })]).length, 1);
  });

  it("refuses the admin's users and the system account, as config names them", () => {
    assert.match(told(policy, [client("x", "a", { NATS_AUTH_USERNAME: "sys" })]).join(), /'sys', which is the admin's/);
    assert.deepEqual(told(policy, [client("x", "a", { NATS_AUTH_USERNAME: "sys" })], { systemUsers: ["root"] }), []);
    assert.match(
      told(policy, [creds("a", natsCreds(A))], { systemAccounts: [A] }).join(),
      /which is of the system account; give the pipeline a user of its own account/,
    );
  });

  it("prints no seed and no JWT", () => {
    const found = told(policy, [creds("a", natsCreds(A)), creds("b", natsCreds(A))]).join();
    assert.doesNotMatch(found, /eyJ|SU[A-Z2-7]{20}/);
  });
});
