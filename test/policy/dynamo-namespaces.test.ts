import assert from "node:assert/strict";
import fc from "fast-check";
import { dynamoNamespaces as policy } from "../../policy/dynamo-namespaces.ts";
import { brokered, deployment, env, frontend, graph, worker } from "./sketches.ts";
import { type Props, told } from "./stack.ts";

const inNamespace = (DYN_NAMESPACE: unknown, more: Props = {}) =>
  frontend({ namespace: "a" }, { ...(DYN_NAMESPACE !== undefined && { DYN_NAMESPACE }), ...more });
const shared = (namespace: string, DYN_NAMESPACE: string) => worker({ namespace }, { ...brokered, DYN_NAMESPACE });

describe("policy dynamo-namespaces", () => {
  for (const [name, problem] of [
    ["dynamo", /'dynamo' means all of them/],
    ["", /'' means all of them/],
    ["a_b", /has a '_'/],
    ["Chat", /other characters/],
  ] as const) {
    it(`refuses the namespace '${name}', wherever it is said`, () => {
      const said = [
        inNamespace(name),
        frontend({ container: { args: ["--namespace", name], env: [] } }),
        frontend({ container: { args: [`--namespace=${name}`], env: [] } }),
        graph({ services: { Frontend: { componentType: "frontend", dynamoNamespace: name } } }),
      ];
      for (const sketch of said) {
        const [message, ...others] = told(policy, [sketch]);
        assert.match(message ?? "", problem);
        assert.deepEqual(others, []);
      }
    });
  }

  it("takes a command without a namespace for what Dynamo takes it for, unless it may come from elsewhere", () => {
    const command = { command: ["python3", "-m", "dynamo.vllm"] };
    const without = (container: Props) => deployment({ container: { ...command, ...container } });
    assert.match(told(policy, [without({})]).join(), /no Dynamo namespace is set, and the default 'dynamo' means all/);
    assert.deepEqual(told(policy, [without({ envFrom: [{ configMapRef: { name: "dynamo" } }] })]), []);
    assert.deepEqual(
      told(policy, [without({ env: env({ DYN_NAMESPACE: { fieldRef: { fieldPath: "metadata.namespace" } } }) })]),
      [],
    );
    assert.deepEqual(told(policy, [without({ args: ["--endpoint", "dyn://chat.backend.generate"] })]), []);
    assert.equal(told(policy, [without({ args: ["--endpoint", "dyn://dynamo.backend.generate"] })]).length, 1);
  });

  it("refuses a prefix, unless it is strict", () => {
    assert.match(
      told(policy, [inNamespace("chat", { DYN_NAMESPACE_PREFIX: "chat" })]).join(),
      /sets a namespace prefix/,
    );
    const strict = { DYN_NAMESPACE_PREFIX: "chat", DYN_NAMESPACE_PREFIX_STRICT: "true" };
    assert.deepEqual(told(policy, [inNamespace("chat", strict)]), []);
    assert.equal(told(policy, [inNamespace("chat", { ...strict, DYN_NAMESPACE_PREFIX_STRICT: "false" })]).length, 1);
    assert.equal(told(policy, [frontend({ container: { args: ["--namespace-prefix", "chat"] } })]).length, 1);
  });

  it("refuses one namespace for two pipelines that share an etcd, and lets one pipeline's vertices share it", () => {
    assert.match(
      told(policy, [shared("a", "chat"), shared("b", "chat")]).join(),
      /^b\/worker\..* of namespace 'b' is also that of namespace 'a'/,
    );
    assert.deepEqual(told(policy, [shared("a", "chat"), { ...shared("a", "chat"), name: "second" }]), []);
  });

  it("lets native pipelines in two Kubernetes namespaces have one name: discovery ends there", () => {
    assert.deepEqual(told(policy, [worker({ namespace: "a" }), worker({ namespace: "b" })]), []);
  });

  it("refuses a name that begins with another pipeline's", () => {
    const found = told(policy, [shared("a", "chat"), shared("b", "chat-large"), shared("c", "chart")]);
    assert.equal(found.length, 1);
    assert.match(found[0] ?? "", /^b\/worker\..*'chat-large' begins with 'chat', that of namespace 'a'/);
  });

  it("finds a beginning if and only if there is one", () => {
    const name = fc
      .array(fc.constantFrom("a", "b", "-c"), { minLength: 1, maxLength: 4 })
      .map((parts) => `x${parts.join("")}`);
    fc.assert(
      fc.property(fc.uniqueArray(name, { maxLength: 7 }), (names) => {
        const begins = names.filter((inner) => names.some((outer) => outer !== inner && inner.startsWith(outer)));
        const found = told(
          policy,
          names.map((one, i) => shared(`n${i}`, one)),
        );
        assert.deepEqual(
          found.map((message) => message.replace(/\/.*/s, "")).sort(),
          begins.map((one) => `n${names.indexOf(one)}`).sort(),
        );
      }),
    );
  });
});
