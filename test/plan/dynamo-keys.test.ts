import assert from "node:assert/strict";
import fc from "fast-check";
import {
  dynamoNamespaceProblem,
  GLOBAL_PREFIXES,
  NAMESPACE_HEADS,
  namespaceOfKey,
  namespaceOfValue,
  namespacePrefixes,
  valueNames,
} from "../../components/plan/dynamo-keys.ts";
import { overlap, prefixProblem, REGISTRY_PREFIX, TENANTS_PREFIX } from "../../components/plan/names.ts";

/** Keys as Dynamo's sources write them, and whose they are. */
const KEYS: Array<[key: string, owner: ReturnType<typeof namespaceOfKey>]> = [
  ["v1/instances/chat/backend/generate/694d9a1bfa2c5e03", { namespace: "chat" }],
  ["v1/mdc/chat/backend/generate/694d9a1bfa2c5e03", { namespace: "chat" }],
  ["v1/mdc/chat/backend/generate/694d9a1bfa2c5e03/my-lora", { namespace: "chat" }],
  ["v1/event_channels/namespace/chat/topic/kv-events/1f", { namespace: "chat" }],
  ["v1/event_channels/namespace/chat/component/backend/topic/kv-events/1f", { namespace: "chat" }],
  ["v1/event_channels/chat/backend/kv-events/1f", { namespace: "chat" }],
  ["v1/event_sources/namespace/chat/component/backend/endpoint/generate/topic/kv/1f", { namespace: "chat" }],
  ["v1/kv_routers/chat/backend/0b5c2c6e-uuid", { namespace: "chat" }],
  ["v1/kv-routers/chat/backend/0b5c2c6e-uuid", { namespace: "chat" }],
  ["v1/chat/planner/num_prefill_workers", { namespace: "chat" }],
  ["v1/chat/ports/10.0.0.7/20001", { namespace: "chat" }],
  ["dyn://chat/ports/10.0.0.7/20001", { namespace: "chat" }],
  ["dynamo://chat/_component_/backend/_endpoint_/generate:694d9a1bfa2c5e03", { namespace: "chat" }],
  ["instances/chat/backend/generate:694d9a1bfa2c5e03", { namespace: "chat" }],
  ["chat/components/VllmWorker/generate:694d9a1bfa2c5e03", { namespace: "chat" }],
  ["dynamo-init/nixl_metadata/4f1d6c1e-engine", { namespace: "dynamo-init" }],
  ["/chat/planner/decision_id", { namespace: "chat" }],
  ["/chat/processor/router", { namespace: "chat" }],
  ["/chat/disagg_router/max_local_prefill_length", { namespace: "chat" }],
  // Article 000's namespaces; `dynamo` is one, though Dynamo also keeps global keys below its name.
  ["dynamo/components/VllmWorker/generate:694d9a1bfa2c5e03", { namespace: "dynamo" }],
  ["dynamo2/components/VllmWorker/generate:694d9a1bfa2c5e03", { namespace: "dynamo2" }],
  ["/dynamo/planner/decision_id", { namespace: "dynamo" }],
  ["dynamo/nixl_metadata/4f1d6c1e-engine", "global"],
  ["/dynamo/disagg_router/max_local_prefill_length", "global"],
  ["/dynamo/processor/router", "global"],
  ["public/components/http/models/chat/deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "global"],
  ["public/components/disagg_router/models/chat/deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "global"],
  ["dynamo://public/_component_/http/models/chat/llama", "global"],
  ["models/6f0ae2f6-uuid", "global"],
  ["mdc/deepseek-ai_deepseek-r1-distill-llama-8b", "global"],
  ["barrier/kvbm/worker/3", "global"],
  ["kv_routers/llama/0b5c2c6e-uuid", "global"],
  ["router-snapshot-lock/namespace.chat.component.backend/694d9a1b", "global"],
  ["/router-snapshot-lock/backend/694d9a1b", "global"],
  ["v1/router-snapshot-lock/namespace.chat.component.backend/writer", "global"],
  ["router-cleanup-lock/namespace.chat.component.backend/694d9a1b", "global"],
  // Dynamo's, but in a namespace that no DYN_NAMESPACE can be.
  ["v1/instances/team.chat/backend/generate/1", "global"],
  ["v1/event_channels/namespace/team%2Echat/topic/kv-events/1f", "global"],
  // Others' keys that look alike.
  ["chat/settings", undefined],
  ["/chat/components/VllmWorker/generate:1", undefined],
  ["Chat/components/VllmWorker", undefined],
  ["v1/chat", undefined],
  ["v1/chat/settings", undefined],
  ["/registry/planner/x", undefined],
  ["ringfence/components/x", undefined],
  ["/ringfence/v1/claims/dev/chat/", undefined],
  ["", undefined],
];

/** The words of the layouts, and names that one may take for another's. */
const words = [...KEYS.flatMap(([key]) => key.split("/")), "registry", "ringfence", "chat-a", "chat2", "cha", "a_b"];
const word = fc.oneof(fc.constantFrom(...words), fc.string({ unit: fc.constantFrom(..."ab-_1"), maxLength: 3 }));
const namespace = word.filter((name) => dynamoNamespaceProblem(name) === undefined);
const rest = fc.array(word, { maxLength: 4 }).map((path) => path.join("/"));

/** Paths below something that Dynamo writes, or below anything. */
const key = fc
  .tuple(fc.constantFrom(...NAMESPACE_HEADS, ...GLOBAL_PREFIXES, "/ringfence/"), rest)
  .map(([head, path]) => head + path);

const holds = (prefix: string, inner: string) => inner.startsWith(prefix);

describe("a key at etcd's root", () => {
  for (const [written, owner] of KEYS) {
    it(`'${written}' is ${owner === undefined ? "not Dynamo's" : JSON.stringify(owner)}`, () =>
      assert.deepEqual(namespaceOfKey(written), owner));
  }

  it("lies in exactly one prefix of the namespace that owns it, and in none of any other", () => {
    fc.assert(
      fc.property(key, namespace, (written, other) => {
        const owner = namespaceOfKey(written);
        const candidates = [other, ...written.split("/")];
        for (const candidate of candidates) {
          const within = namespacePrefixes(candidate).filter((prefix) => holds(prefix, written));
          const owned = typeof owner === "object" && owner.namespace === candidate;
          assert.equal(within.length, owned ? 1 : 0, `${within} ${candidate}`);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("is found by walking the segments below the heads", () => {
    fc.assert(
      fc.property(key, (written) => {
        const owner = namespaceOfKey(written);
        fc.pre(typeof owner === "object");
        const heads = NAMESPACE_HEADS.filter((head) => holds(head, written));
        assert.ok(heads.some((head) => written.slice(head.length).split("/")[0] === owner.namespace));
      }),
    );
  });
});

describe("a namespace's prefixes", () => {
  it("hold its keys, whatever follows, and no global one", () => {
    fc.assert(
      fc.property(namespace, rest, (own, path) => {
        const prefixes = namespacePrefixes(own);
        assert.ok(prefixes.length >= 14);
        for (const prefix of prefixes) {
          assert.deepEqual(namespaceOfKey(prefix + path), { namespace: own });
          for (const global of GLOBAL_PREFIXES) assert.equal(overlap(prefix, global), false, `${prefix} ${global}`);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it("neither hold nor lie within another namespace's, nor Ringfence's own, and are fit to be claimed", () => {
    fc.assert(
      fc.property(namespace, namespace, (a, b) => {
        for (const [i, x] of namespacePrefixes(a).entries()) {
          assert.equal(prefixProblem(x), undefined);
          for (const own of [REGISTRY_PREFIX, TENANTS_PREFIX]) assert.equal(overlap(x, own), false);
          for (const [j, y] of namespacePrefixes(b).entries())
            if (a !== b || i !== j) assert.equal(holds(x, y), false, `${x} ${y}`);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it("leave the global keys below 'dynamo' out, and those alone", () => {
    const expected = namespacePrefixes("chat").map((prefix) => prefix.replace("chat", "dynamo"));
    const left = ["dynamo/nixl_metadata/", "/dynamo/processor/", "/dynamo/disagg_router/"];
    assert.deepEqual(
      namespacePrefixes("dynamo"),
      expected.filter((prefix) => !left.includes(prefix)),
    );
  });

  it("are none for a name that cannot be one", () => {
    for (const name of ["", "Chat", "team.chat", "a/b"]) assert.deepEqual(namespacePrefixes(name), []);
  });
});

describe("a namespace that is refused", () => {
  const refused: Array<[name: string, problem: RegExp]> = [
    ["", /^is empty$/],
    ["Chat", /^may hold lower-case letters, digits, '-' and '_' only, as in Dynamo$/],
    ["team.chat", /^may hold/],
    ["a/b", /^may hold/],
    ["chat\n", /^may hold/],
    ["v1", /^is reserved: others' keys lie under that name$/],
  ];
  for (const [name, problem] of refused)
    it(JSON.stringify(name), () => assert.match(dynamoNamespaceProblem(name) ?? "accepted", problem));

  it("is each segment where all namespaces' keys lie, and each root that is another system's", () => {
    const roots = "v1 instances mdc models public barrier kv_routers router-snapshot-lock router-cleanup-lock";
    const buckets = "namespace event_channels event_sources kv-routers";
    for (const name of `${roots} ${buckets} ringfence registry`.split(" ")) {
      assert.match(dynamoNamespaceProblem(name) ?? "accepted", /^is reserved/, name);
      assert.deepEqual(namespacePrefixes(name), []);
    }
  });

  it("is no neighbour of the reserved ones, and not 'dynamo', which article 000 deploys in", () => {
    for (const name of ["dynamo", "dynamo2", "v1-chat", "public2", "a_b", "0"])
      assert.equal(dynamoNamespaceProblem(name), undefined);
  });
});

describe("the prefixes whose keys only their values tell apart", () => {
  it("are where a release looks for model entries of every version", () => {
    for (const prefix of ["public/components/", "dynamo://public/", "models/"])
      assert.ok(GLOBAL_PREFIXES.includes(prefix), prefix);
  });
});

describe("the value of a global key", () => {
  const entry = (ns: string) => ({
    name: "llama",
    endpoint: { namespace: ns, component: "backend", name: "generate" },
    model_type: "Chat",
  });
  const instance = { component: "backend", endpoint: "generate", namespace: "foo", instance_id: 7 };
  const router = { name: "llama", component: { name: "router", namespace: "foo" }, router_type: "push_random" };

  for (const [what, value] of [
    ["a model entry", JSON.stringify(entry("foo"))],
    ["a model entry as llmctl printed it", JSON.stringify(entry("foo"), null, 2)],
    [
      "a model entry with its endpoint as a URL",
      JSON.stringify({ name: "llama", endpoint: "dyn://foo.backend.generate" }),
    ],
    ["a model entry with its endpoint in parts", JSON.stringify({ name: "llama", endpoint: "foo/backend/generate" })],
    ["an endpoint's URL", JSON.stringify("dyn://foo.backend.generate")],
    ["an instance", JSON.stringify(instance)],
    ["a router's metadata", JSON.stringify(router)],
  ] as const) {
    it(`names its namespace as ${what}, and no namespace that looks alike`, () => {
      assert.equal(namespaceOfValue(value), "foo");
      assert.equal(valueNames(value, "foo"), true);
      for (const other of ["fo", "foo-bar", "foo2", "oo", "backend", "generate", "llama", "dyn"])
        assert.equal(valueNames(value, other), false, other);
    });
  }

  for (const [what, value] of [
    ["nothing", ""],
    ["no JSON", "dyn://foo"],
    ["msgpack", "\u0084\u00a9engine_id\u00a3foo"],
    ["half a JSON", JSON.stringify(entry("foo")).slice(0, -1)],
    ["null", "null"],
    ["a number", "1000"],
    ["a list", JSON.stringify([entry("foo")])],
    ["a component and an endpoint", JSON.stringify({ name: "llama", endpoint: "foo.generate" })],
    ["a model of that name", JSON.stringify({ name: "foo", display_name: "foo" })],
    ["a nest too deep to climb", `${'{"endpoint":'.repeat(50_000)}"dyn://foo.a.b"${"}".repeat(50_000)}`],
    ["that word elsewhere", JSON.stringify({ user_data: { namespace: "foo" } })],
    ["two namespaces", JSON.stringify({ ...entry("foo"), namespace: "bar" })],
  ] as const) {
    it(`names nobody when it is ${what}`, () => {
      assert.equal(namespaceOfValue(value), undefined);
      assert.equal(valueNames(value, "foo"), false);
    });
  }

  it("names nobody whose name is refused: llmctl puts 'public' where it was told nothing", () => {
    assert.equal(valueNames(JSON.stringify(entry("public")), "public"), false);
  });

  it("names exactly one namespace", () => {
    fc.assert(
      fc.property(namespace, namespace, (a, b) => {
        assert.equal(valueNames(JSON.stringify(entry(a)), b), a === b);
        assert.equal(valueNames(JSON.stringify(`dyn://${a}.backend.generate`), b), a === b);
      }),
    );
  });
});
