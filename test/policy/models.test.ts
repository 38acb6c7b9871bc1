/** Models and adapters: what Ringfence itself makes of them, and how others do it. */
import assert from "node:assert/strict";
import { ModelAdapter, ModelRoute, Pipeline } from "../../components/index.ts";
import { PIPELINE_LABEL } from "../../components/plan/labels.ts";
import { policies } from "../../policy/policies.ts";
import { run, Secret } from "../components/engine.ts";
import { platformNamed } from "../components/scene.ts";
import { env, fromSecret, object } from "./sketches.ts";
import { type Sketch, told } from "./stack.ts";

/** What policies are handed: secrets in plain text. */
function plain(value: unknown): unknown {
  if (value instanceof Secret) return plain(value.value);
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}

/** A program's resources. */
async function stackOf(program: () => void): Promise<Sketch[]> {
  const registered = [...(await run(program)).entries()];
  const keyOf = (name: string) => registered.flatMap(([key, one]) => (one.name === name ? [key] : []));
  return registered.map(([key, { type, inputs, parent, dependencies }]) => ({
    type,
    name: key,
    props: plain(inputs) as Sketch["props"],
    dependsOn: dependencies.flatMap(keyOf),
    ...(parent !== undefined && { parent: keyOf(parent).find((above) => above !== key) ?? "" }),
  }));
}

/** Pipeline, route and adapter, as docs/models.md has them. */
const made = (legacyAlias: boolean) =>
  stackOf(() => {
    const pipeline = new Pipeline("chat", {
      platform: platformNamed("platform"),
      vertices: {
        decode: {
          image: "vllm/vllm-openai:v0.11.0",
          args: ["--model", "llama", "--enable-lora", "--max-loras", "2"],
          ports: { http: 8000 },
          probes: { readiness: { path: "/health", port: "http" } },
          replicas: 2,
          adapters: { port: "http", image: "registry.example.com/ringfence:1" },
        },
      },
    });
    new ModelRoute("route", { pipeline, model: "acme/llama", legacyAlias });
    new ModelAdapter("sql", {
      pipeline,
      vertex: "decode",
      baseModel: "llama",
      artifact: "s3://models/sql/7",
      credentials: { AWS_ACCESS_KEY_ID: "AKIAIOSFODNN7EXAMPLE", AWS_SECRET_ACCESS_KEY: "wJalrXUtnFEMI/K7MDENG/bPxRfi" },
    });
  });

const found = (stack: Sketch[], except: string[] = []) =>
  policies.flatMap((policy) => (except.includes(policy.name) ? [] : told(policy, stack)));

const metadata = { name: "sql", namespace: "serving", labels: { [PIPELINE_LABEL]: "chat" } };
const service = object({
  apiVersion: "v1",
  kind: "Service",
  metadata,
  spec: { selector: { [PIPELINE_LABEL]: "chat", "adapter.example.com/sql": "loaded" }, ports: [{ port: 8000 }] },
});
/** A loader that somebody wrote, beside an engine. */
const loader = (variables: Record<string, unknown>) =>
  object(
    {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { ...metadata, name: "decode" },
      spec: {
        initContainers: [{ name: "loader", image: "acme/loader:1", restartPolicy: "Always", env: env(variables) }],
        containers: [{ name: "engine", image: "vllm/vllm-openai:v0.11.0" }],
      },
    },
    "decode",
  );

describe("the policies on models", () => {
  for (const legacyAlias of [false, true])
    it(`let be what Ringfence makes of a route ${legacyAlias ? "with" : "without"} an alias, and of an adapter`, async () => {
      const stack = await made(legacyAlias);
      const types = stack.map(({ type }) => type.split(":").at(-1));
      for (const needed of ["ModelRegistration", "AdapterRollout", "ValidatingAdmissionPolicy", "RoleBinding"])
        assert.ok(types.includes(needed), `${needed} is not in ${types}`);
      // How a made-up engine restarts, and which GPU it has, is not what this is about.
      assert.deepEqual(found(stack, ["restart-safety", "gpu-scheduling"]), []);
    });

  it("still refuse whoever writes a model's key by hand beside a route that opts in", async () => {
    const key = "public/components/http/models/chat/acme/llama";
    const byHand = { type: "etcd:index/key:Key", name: "key", props: { key, value: "{}" } };
    const [message = "", ...others] = found([...(await made(true)), byHand], ["restart-safety", "gpu-scheduling"]);
    assert.match(message, /^key\.key: .*leave it to a ModelRoute, with legacyAlias/);
    assert.deepEqual(others, []);
  });

  it("refuse an EndpointSlice that a controller of adapters writes by hand, and not the Service that selects", () => {
    const slice = object(
      {
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: { name: "sql-1", namespace: "serving", labels: { "kubernetes.io/service-name": "sql" } },
        addressType: "IPv4",
        endpoints: [{ addresses: ["10.0.0.1"] }],
      },
      "slice",
    );
    assert.deepEqual(found([service]), []);
    const [message = "", ...others] = found([service, slice]);
    assert.match(message, /^slice\.endpoints: lists by hand what serves 'sql'/);
    assert.deepEqual(others, []);
  });

  it("refuse the keys of an artifact's store in plain text, and not from a Secret", () => {
    const secret = { AWS_SECRET_ACCESS_KEY: fromSecret("s3", "secret"), HF_TOKEN: fromSecret("hub", "token") };
    assert.deepEqual(found([loader(secret)]), []);
    const messages = found([
      loader({ AWS_SECRET_ACCESS_KEY: "wJalrXUtnFEMI/K7MDENG/bPxRfi", HF_TOKEN: "hf_sesameopensesameopen" }),
    ]);
    assert.equal(messages.length, 2, String(messages));
    for (const message of messages) {
      assert.match(message, /^decode\.spec\.initContainers\[0\]\.env\[\d\]/);
      assert.doesNotMatch(message, /wJalr|sesame/);
    }
  });
});
