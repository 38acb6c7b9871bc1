import assert from "node:assert/strict";
import { GENERATION_LABEL, PIPELINE_LABEL } from "../../components/plan/labels.ts";
import { dynamicType } from "../../components/plan/type-tokens.ts";
import { brokeredDynamoThroughProxy as policy } from "../../policy/brokered-dynamo-through-proxy.ts";
import { PLATFORM } from "../../policy/stack/ringfence.ts";
import { brokered, configMap, deployment, frontend } from "./sketches.ts";
import { told, UNKNOWN } from "./stack.ts";

const at = (ETCD_ENDPOINTS: unknown, namespace: unknown = "chat", labels = {}) =>
  frontend({ namespace, labels }, { ...brokered, ETCD_ENDPOINTS });

describe("policy brokered-dynamo-through-proxy", () => {
  for (const inside of [
    "http://etcd-proxy:2379",
    "https://etcd-proxy.chat:2379",
    "https://etcd-proxy.chat.svc:2379,https://etcd-proxy-2.chat.svc.cluster.local:2379",
    "http://127.0.0.1:2379",
    "http://localhost:2379",
  ])
    it(`lets ${inside} be: it is in the pipeline's namespace`, () => assert.deepEqual(told(policy, [at(inside)]), []));

  for (const outside of [
    "https://etcd.platform.svc:2379",
    "https://etcd.example.com:2379",
    "https://10.0.0.4:2379",
    "etcd.platform:2379",
    "https://etcd-proxy:2379,https://etcd.platform.svc:2379",
    "https://root:hunter2@etcd.platform.svc:2379",
  ])
    it(`refuses ${outside}: it lies outside`, () => {
      const [message, ...others] = told(policy, [at(outside)]);
      assert.match(message ?? "", /lies outside its namespace/);
      assert.doesNotMatch(message ?? "", /hunter2/);
      assert.deepEqual(others, []);
    });

  it("names the platform's own endpoint as such, though it is on this machine", () => {
    const platform = { type: PLATFORM, name: "platform", props: { etcd: { endpoints: ["http://127.0.0.1:12379"] } } };
    assert.match(told(policy, [platform, at("http://127.0.0.1:12379")]).join(), /is the platform's own endpoint/);
  });

  it("judges a namespace that is not known yet by the name that Ringfence will give it", () => {
    const labels = { [PIPELINE_LABEL]: "chat", [GENERATION_LABEL]: UNKNOWN };
    assert.deepEqual(told(policy, [at("https://etcd.chat-01234567.svc:2379", UNKNOWN, labels)]), []);
    assert.equal(told(policy, [at("https://etcd.platform.svc:2379", UNKNOWN, labels)]).length, 1);
    assert.deepEqual(told(policy, [at("https://etcd.platform.svc:2379", UNKNOWN)]), []);
  });

  it("asks nothing of native Dynamo, nor of software that takes a prefix", () => {
    assert.deepEqual(
      told(policy, [
        frontend({}, { ...brokered, DYN_DISCOVERY_BACKEND: "kubernetes", ETCD_ENDPOINTS: "https://e.x.svc:1" }),
      ]),
      [],
    );
    const env = [{ name: "ETCD_ENDPOINTS", value: "https://etcd.platform.svc:2379" }];
    assert.deepEqual(told(policy, [deployment({ container: { env } })]), []);
  });

  it("refuses the admin as Dynamo's user", () => {
    const found = told(policy, [frontend({}, { ...brokered, ETCD_AUTH_USERNAME: "root" })]);
    assert.match(found.join(), /'root' is etcd's admin/);
  });

  it("refuses model keys that are written by hand, in a command, a script or a resource", () => {
    for (const written of [
      deployment({ container: { command: ["llmctl", "http", "add", "chat", "m", "dyn.b.g"] } }),
      deployment({ container: { command: ["etcdctl", "put", "public/components/http/models/chat/m", "{}"] } }),
      deployment({ container: { command: ["sh", "-c", "sleep 5; etcdctl --user x put '/v1/mdc/dynamo/m' {}"] } }),
      configMap({ "register.sh": "etcdctl put models/1234 '{}'\n" }),
      { type: "etcd:index/key:Key", name: "key", props: { key: "public/components/http/models/chat/m", value: "{}" } },
    ])
      assert.match(told(policy, [written]).join(), /one of Dynamo's global model keys/);
  });

  it("lets a ModelRoute write them that opts in, and still nobody by hand beside it", () => {
    const [type, model] = [dynamicType("ModelRegistration"), "acme/m"];
    const route = (legacyAlias: boolean) => ({ type, name: `route-${legacyAlias}`, props: { model, legacyAlias } });
    assert.deepEqual(told(policy, [route(true), route(false)]), []);
    const key = "public/components/http/models/completion/acme/m";
    const byHand = { type: "etcd:index/key:Key", name: "key", props: { key, value: "{}" } };
    const [message, ...others] = told(policy, [route(true), byHand]);
    assert.match(
      message ?? "",
      /^key\.key: .* leave it to a ModelRoute, with legacyAlias where old frontends need the key/,
    );
    assert.deepEqual(others, []);
  });

  it("lets other keys be", () => {
    const own = [
      ["etcdctl", "put", "/ringfence/tenants/x/models/m", "{}"],
      ["etcdctl", "get", "models/1"],
      ["llmctl", "http", "list"],
    ];
    assert.deepEqual(
      told(
        policy,
        own.map((command, i) => deployment({ name: `d${i}`, container: { command } })),
      ),
      [],
    );
  });
});
