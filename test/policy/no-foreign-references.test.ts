import assert from "node:assert/strict";
import { PIPELINE_LABEL } from "../../components/plan/labels.ts";
import { noForeignReferences as policy } from "../../policy/no-foreign-references.ts";
import {
  configMap,
  deployment,
  env,
  frontend,
  graph,
  ledger,
  namespaceOf,
  object,
  prefixOf,
  secret,
  tenant,
} from "./sketches.ts";
import { type Props, type Sketch, told } from "./stack.ts";

const CHAT = namespaceOf("chat");
const PREFIX = prefixOf("chat");
const theirs = [ledger, ...tenant("chat")];
const account = theirs.find(({ name }) => name === "chat-nats")?.props.account as string;
const ours = [...theirs, ...tenant("mine")];
const MINE = namespaceOf("mine");
const set = (variables: Props, namespace = MINE) =>
  deployment({ name: "spy", namespace, container: { env: env(variables) } });

describe("policy no-foreign-references", () => {
  const references: Record<string, Sketch> = {
    "a prefix in a variable": set({ ETCD_PREFIX: PREFIX }),
    "a prefix in the middle of an argument": deployment({
      namespace: MINE,
      container: { args: [`--watch=${PREFIX}models/x`] },
    }),
    "a prefix without its slash": set({ ETCD_PREFIX: PREFIX.slice(0, -1) }),
    "an account in a ConfigMap": configMap({ "nats.conf": `import: {account: ${account}}` }, { namespace: MINE }),
    "an account in a Secret": secret({ account }, { namespace: MINE }),
    "an account in a Secret's base64": object({
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: "encoded", namespace: MINE },
      data: { account: Buffer.from(`"${account}"`).toString("base64") },
    }),
    "a Service's domain name": set({ UPSTREAM: `http://frontend.${CHAT}.svc.cluster.local:8000` }),
    "a namespace under a name that says so": set({ TARGET_NAMESPACE: CHAT }),
    "a Secret by namespace and name": object({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "p", namespace: MINE, annotations: { "vault.example.com/secret": `${CHAT}/etcd` } },
      spec: { containers: [{ name: "c", image: "i" }] },
    }),
    "a prefix in a Dynamo graph": graph(
      { services: { Worker: { envs: [{ name: "KV_PREFIX", value: PREFIX }] } } },
      { namespace: MINE },
    ),
    "a namespace in a Helm release's values": {
      type: "kubernetes:helm.sh/v3:Release",
      name: "release",
      props: { namespace: MINE, values: { scrape: { namespaces: [CHAT] } } },
    },
  };
  const etcd = secret({ username: "u" }, { name: "etcd", namespace: CHAT });

  for (const [what, sketch] of Object.entries(references)) {
    it(`refuses ${what} of another tenant's`, () => {
      const found = told(policy, [...ours, etcd, sketch]);
      assert.equal(found.length, 1, `${found}`);
      assert.match(found[0] ?? "", /names .* of (tenant|the pipeline)/);
    });
  }

  it("lets a tenant name what is its own", () => {
    const own = Object.values(references).map(
      (sketch): Sketch => JSON.parse(JSON.stringify(sketch).replaceAll(MINE, CHAT)),
    );
    assert.deepEqual(told(policy, [...ours, etcd, ...own]), []);
  });

  it("lets what belongs to no tenant name namespaces and Services, but no prefix and no account", () => {
    const monitor = (data: Props) => [...theirs, configMap(data, { namespace: "monitoring" })];
    assert.deepEqual(told(policy, monitor({ "prometheus.yml": `targets: [frontend.${CHAT}.svc:9090]` })), []);
    assert.equal(told(policy, monitor({ prefix: PREFIX })).length, 1);
    assert.equal(told(policy, monitor({ account })).length, 1);
  });

  it("knows a pipeline of nobody's making by Dynamo in its namespace", () => {
    const spy = (namespace: string) => set({ UPSTREAM: "http://frontend.llama.svc:8000" }, namespace);
    const llama = frontend({ namespace: "llama" });
    assert.deepEqual(told(policy, [llama, spy("shop")]), []);
    assert.equal(told(policy, [llama, frontend({ namespace: "shop" }), spy("shop")]).length, 1);
  });

  it("does not take a Dynamo namespace, or a word that looks like a host, for a Kubernetes namespace", () => {
    const [a, b] = [
      frontend({ namespace: "llama" }),
      frontend({ namespace: "shop", container: { args: ["--namespace", "llama"] } }),
    ];
    assert.deepEqual(
      told(policy, [a, b, set({ DYN_NAMESPACE: "llama", MODEL: "v3.llama", FILE: "x.llama:7" }, "shop")]),
      [],
    );
  });

  it("takes a namespace that is not known yet for the tenant's own, by its label", () => {
    const pod = (pipeline: string) =>
      deployment({
        namespace: undefined,
        labels: { [PIPELINE_LABEL]: pipeline },
        container: { env: env({ P: PREFIX }) },
      });
    assert.deepEqual(told(policy, [...ours, pod("chat")]), []);
    assert.equal(told(policy, [...ours, pod("mine")]).length, 1);
  });
});
