import assert from "node:assert/strict";
import * as pulumi from "@pulumi/pulumi";
import { ModelAdapter, type ModelAdapterArgs, Pipeline, type PipelineArgs } from "../../components/index.ts";
import { adapterGeneration } from "../../components/plan/adapter.ts";
import { failureOf, type Registered, run, Secret } from "./engine.ts";
import { envOf, platformNamed } from "./scene.ts";

const ARTIFACT = "s3://models/sql/7";
const GENERATION = adapterGeneration(ARTIFACT);

const pipeline = (change: Partial<PipelineArgs> = {}) =>
  new Pipeline("chat", {
    platform: platformNamed("platform"),
    vertices: {
      web: { image: "frontend:1", ports: { http: 8000 } },
      decode: {
        image: "vllm:1",
        ports: { http: 8080 },
        replicas: 2,
        adapters: { port: "http", image: "registry.example.com/ringfence:1" },
      },
    },
    ...change,
  });

const adapter = (change: Partial<ModelAdapterArgs> = {}, on: Partial<PipelineArgs> = {}) =>
  new ModelAdapter("sql", {
    pipeline: pipeline(on),
    vertex: "decode",
    baseModel: "llama",
    artifact: ARTIFACT,
    ...change,
  });

describe("a vertex with adapters", () => {
  let all: Map<string, Registered>;
  let template: Registered["inputs"];
  const inputs = (key: string) => all.get(key)?.inputs ?? assert.fail(key);
  before(async () => {
    all = await run(() => pipeline());
    template = inputs("Deployment chat.decode-deployment").spec.template.spec;
  });

  it("has a loader beside its engine, which alone has a token", () => {
    const [loader] = template.initContainers;
    assert.equal(loader.restartPolicy, "Always");
    assert.deepEqual(loader.command, ["node", "/ringfence/runtime/adapter-loader.ts"]);
    assert.equal(template.automountServiceAccountToken, false);
    assert.equal(template.serviceAccountName, "adapters.decode");
    const [engine] = template.containers;
    const mounts = (container: Registered["inputs"]) =>
      container.volumeMounts.map(({ name }: { name: string }) => name);
    assert.ok(mounts(loader).includes("adapters-api"));
    assert.ok(!mounts(engine).includes("adapters-api"));
    assert.ok(mounts(engine).includes("adapters"));
    assert.equal(envOf(engine).VLLM_ALLOW_RUNTIME_LORA_UPDATING, "True");
  });

  it("is not ready before its loader says so", () => {
    assert.deepEqual(template.readinessGates, [{ conditionType: "ringfence.dev/adapters" }]);
    assert.equal(template.initContainers[0].readinessProbe.httpGet.path, "/ready");
  });

  it("may read no Secret, change no pod, and of a status only what the admission lets through", () => {
    const { rules } = inputs("Role chat.decode-adapters-role");
    assert.deepEqual(
      rules.flatMap(({ resources, verbs }: Record<string, string[]>) => resources?.map((one) => `${one}: ${verbs}`)),
      ["pods: list,watch", "configmaps: list,watch", "services: list,watch", "pods/status: patch", "events: create"],
    );
    const policy = inputs("ValidatingAdmissionPolicy chat.decode-adapters-policy");
    assert.match(
      policy.spec.matchConditions[0].expression,
      /== 'system:serviceaccount:chat-gen-of-d:adapters.decode'$/,
    );
    assert.equal(policy.metadata.labels["ringfence.dev/generation"], "gen-of-default/chat");
    const binding = inputs("ValidatingAdmissionPolicyBinding chat.decode-adapters-policy-binding");
    assert.deepEqual(binding.spec.validationActions, ["Deny"]);
  });

  it("comes after what holds it back", () => {
    const { dependencies } = all.get("Deployment chat.decode-deployment") ?? assert.fail();
    for (const guard of ["policy-binding", "binding", "network"])
      assert.ok(dependencies.includes(`chat.decode-adapters-${guard}`), `${guard} is not in ${dependencies}`);
  });

  it("leaves the other vertices as they are", () => {
    const { spec } = inputs("Deployment chat.web-deployment").spec.template;
    assert.equal(spec.initContainers, undefined);
    assert.equal(spec.readinessGates, undefined);
  });

  it("is the account that it was where vertices ask the API server anyway", async () => {
    all = await run(() => pipeline({ planes: "native" }));
    assert.equal(all.get("ServiceAccount chat.decode-adapters-account"), undefined);
    const { subjects } = inputs("RoleBinding chat.decode-adapters-binding");
    assert.equal(subjects[0].name, "dynamo-discovery");
  });

  it("is refused without the port", async () => {
    const image = "registry.example.com/ringfence:1";
    const vertices = { decode: { image: "vllm:1", ports: { http: 8000 }, adapters: { port: "api", image } } };
    const { message } = await failureOf(() => pipeline({ vertices }));
    assert.equal(message, "chat.vertices.decode.adapters.port: found 'api'; expected one of its ports (http)");
  });
});

describe("ModelAdapter", () => {
  it("wants a generation, waits for it, and selects on it", async () => {
    const all = await run(() => adapter({ replicas: 2, minReady: 2 }));
    const inputs = (key: string) => all.get(key)?.inputs ?? assert.fail(key);
    const wanted = JSON.parse(inputs("ConfigMap sql-wanted").data["adapter.json"]);
    assert.deepEqual(wanted, {
      adapter: "sql",
      generation: GENERATION,
      baseModel: "llama",
      artifact: ARTIFACT,
      replicas: 2,
      maxBytes: 2 ** 31,
      loadTimeoutSeconds: 300,
      graceSeconds: 30,
    });
    const rollout = inputs("AdapterRollout sql-rollout");
    assert.deepEqual([rollout.minReady, rollout.pods, rollout.vertex], [2, 2, "decode"]);
    const service = inputs("Service sql-service");
    assert.deepEqual(service.spec.selector, {
      "ringfence.dev/pipeline": "chat",
      "ringfence.dev/vertex": "decode",
      [`adapter.ringfence.dev/sql.${GENERATION}`]: "loaded",
    });
    assert.deepEqual(JSON.parse(service.metadata.annotations["ringfence.dev/adapter"]), wanted);
    assert.deepEqual(service.spec.ports, [{ name: "http", port: 8080, targetPort: "http" }]);
    const { outputs = {} } = all.get("ModelAdapter sql") ?? assert.fail();
    assert.equal(outputs.model, `sql-${GENERATION}`);
    assert.equal(outputs.url, "http://sql.chat-gen-of-d.svc:8080");
    assert.equal(outputs.problem, "");
  });

  it("keeps credentials in a Secret that the vertex' loaders may read, and in no other place", async () => {
    const all = await run(() => adapter({ artifact: "hf://acme/sql", credentials: { HF_TOKEN: "hf_sesame" } }));
    const secret = all.get("Secret sql-credentials")?.inputs ?? assert.fail();
    assert.ok(secret.stringData instanceof Secret);
    const { rules } = all.get("Role sql-credentials-role")?.inputs ?? assert.fail();
    assert.deepEqual(rules, [
      { apiGroups: [""], resources: ["secrets"], resourceNames: ["adapter.sql"], verbs: ["get"] },
    ]);
    const { subjects } = all.get("RoleBinding sql-credentials-binding")?.inputs ?? assert.fail();
    assert.equal(subjects[0].name, "adapters.decode");
    all.delete("Secret sql-credentials");
    assert.doesNotMatch(JSON.stringify([...all.values()]), /hf_sesame/);
  });

  it("needs no pods while its pipeline is paused", async () => {
    const all = await run(() => adapter({}, { lifecycle: { desiredPhase: "Paused" } }));
    assert.equal(all.get("AdapterRollout sql-rollout")?.inputs.pods, 0);
  });

  for (const [change, message] of [
    [
      { artifact: "https://example.com/sql" },
      "sql.artifact: found 'https://example.com/sql'; expected 's3://bucket/path', 'gs://bucket/path', 'hf://owner/name[@revision]' or an absolute path",
    ],
    [
      { artifact: "https://me:sesame@example.com/sql?sig=sesame" },
      "sql.artifact: found 'https://…@example.com/sql?…'; expected 's3://bucket/path', 'gs://bucket/path', 'hf://owner/name[@revision]' or an absolute path",
    ],
    [{ vertex: "web" }, "sql.vertex: found 'web'; expected a vertex with 'adapters' (decode)"],
    [{ adapter: "web" }, "sql.adapter: found 'web'; expected another name than the pipeline's Services have"],
    [{ replicas: 1, minReady: 2 }, "sql.minReady: found 2; expected at most replicas (1)"],
    [
      { credentials: { TOKEN: "sesame" } as ModelAdapterArgs["credentials"] },
      /^sql.credentials.TOKEN: found an unknown property; known here: AWS_ACCESS_KEY_ID, /,
    ],
  ] as const satisfies Array<[Partial<ModelAdapterArgs>, string | RegExp]>)
    it(`refuses ${JSON.stringify(change)}`, async () => {
      const failure = await failureOf(() => adapter(change as Partial<ModelAdapterArgs>));
      if (typeof message === "string") assert.equal(failure.message, message);
      else assert.match(failure.message, message);
      assert.doesNotMatch(failure.message, /sesame/);
    });

  it("is one of its name in a pipeline", async () => {
    const { message } = await failureOf(() => {
      const chat = pipeline();
      const args = { pipeline: chat, vertex: "decode", baseModel: "llama", adapter: "sql" };
      new ModelAdapter("one", { ...args, artifact: ARTIFACT });
      new ModelAdapter("two", { ...args, artifact: "hf://acme/sql" });
    });
    assert.equal(message, "two.adapter: found 'sql', which adapter 'one' of this pipeline has; set another");
  });

  it("judges an artifact that is known late", async () => {
    const { message } = await failureOf(() => adapter({ artifact: pulumi.output(Promise.resolve("ftp://x/y")) }));
    assert.match(message, /sql.artifact: found 'ftp:\/\/x\/y'; expected 's3:/);
  });
});
