import assert from "node:assert/strict";
import * as pulumi from "@pulumi/pulumi";
import { dynamo, GpuPool, Pipeline, type PipelineArgs } from "../../components/index.ts";
import { type Fields, failureOf, type Registered, run, Secret } from "./engine.ts";
import { envOf, platformNamed } from "./scene.ts";

const MODEL = "deepseek-ai/DeepSeek-R1-Distill-Llama-8B";
const TOKEN = "hf_sesame";

const h100 = (name = "h100") => new GpuPool(name, { product: "NVIDIA-H100-80GB-HBM3", nodes: 4, gpusPerNode: 8 });

/** The program of the README. */
const chat = (change: Partial<PipelineArgs> = {}, name = "chat"): Pipeline => {
  const pool = h100(`h100-of-${name}`);
  return new Pipeline(name, {
    platform: platformNamed(`platform-of-${name}`),
    ...dynamo.disaggregated({
      engine: dynamo.vllm({ model: MODEL }),
      frontend: { replicas: 2 },
      prefill: { pool, replicas: 2 },
      decode: { pool, replicas: 4, gpus: 2 },
      huggingFaceToken: pulumi.secret(TOKEN),
    }),
    ...change,
  });
};

/** What a test reads of a vertex. */
function vertexOf(all: Map<string, Registered>, vertex: string, pipeline = "chat") {
  const { spec } = (all.get(`Deployment ${pipeline}.${vertex}-deployment`) as Registered).inputs;
  const pod: Fields = spec.template.spec;
  const [container] = pod.containers as [Fields];
  const env = envOf(container);
  return { spec, pod, container, env, words: [...container.command, ...(container.args ?? [])].join(" ") };
}

const text = (output: pulumi.Output<string> | undefined) =>
  new Promise<string>((resolve) => (output as pulumi.Output<string>).apply(resolve));

describe("a disaggregated Dynamo graph", () => {
  let all: Map<string, Registered>;
  let pipeline: Pipeline;
  before(async () => {
    all = await run(() => {
      pipeline = chat();
    });
  });

  it("is a frontend, workers that read prompts and workers that write answers, each run without a shell", () => {
    assert.equal(vertexOf(all, "frontend").words, "python3 -m dynamo.frontend");
    const transfer = '--kv-transfer-config {"kv_connector":"NixlConnector","kv_role":"kv_both"}';
    assert.equal(
      vertexOf(all, "prefill").words,
      `python3 -m dynamo.vllm --model ${MODEL} --disaggregation-mode prefill ${transfer} --kv-events-config ` +
        '{"publisher":"zmq","topic":"kv-events","endpoint":"tcp://*:20080","enable_kv_cache_events":true}',
    );
    assert.equal(
      vertexOf(all, "decode").words,
      `python3 -m dynamo.vllm --model ${MODEL} --disaggregation-mode decode ${transfer} --tensor-parallel-size 2`,
    );
    const replicas = ["frontend", "prefill", "decode"].map((vertex) => vertexOf(all, vertex).spec.replicas);
    assert.deepEqual(replicas, [2, 2, 4]);
  });

  it("knows its namespace, its components and its planes, each set", () => {
    for (const [vertex, component] of Object.entries({ frontend: "frontend", prefill: "prefill", decode: "backend" })) {
      const { DYN_NAMESPACE, DYN_COMPONENT, DYN_DISCOVERY_BACKEND, DYN_REQUEST_PLANE, DYN_EVENT_PLANE } = vertexOf(
        all,
        vertex,
      ).env;
      assert.deepEqual(
        { DYN_NAMESPACE, DYN_COMPONENT, DYN_DISCOVERY_BACKEND, DYN_REQUEST_PLANE, DYN_EVENT_PLANE },
        {
          DYN_NAMESPACE: "chat",
          DYN_COMPONENT: component,
          DYN_DISCOVERY_BACKEND: "etcd",
          DYN_REQUEST_PLANE: "nats",
          DYN_EVENT_PLANE: "nats",
        },
      );
    }
    const { DYN_HTTP_PORT, DYN_ROUTER_MODE } = vertexOf(all, "frontend").env;
    assert.deepEqual([DYN_HTTP_PORT, DYN_ROUTER_MODE], ["8000", "kv"]);
  });

  it("reaches etcd through proxies of its own, and waits for them", () => {
    assert.ok(all.has("Deployment chat-etcd-proxy"));
    assert.equal(vertexOf(all, "decode").env.ETCD_ENDPOINTS, "http://etcd-proxy:2379");
    const { dependencies } = all.get("Deployment chat.decode-deployment") as Registered;
    for (const guard of ["chat-etcd-proxy", "chat-network.default-deny"])
      assert.ok(dependencies.includes(guard), `waits for ${dependencies.join(", ")}, not for ${guard}`);
  });

  it("is asked whether it is started, alive and ready as Dynamo's operator asks", () => {
    const frontend = vertexOf(all, "frontend").container;
    assert.deepEqual(frontend.startupProbe.httpGet, { path: "/live", port: "http" });
    assert.deepEqual(frontend.livenessProbe.httpGet, { path: "/live", port: "http" });
    assert.deepEqual(frontend.readinessProbe.httpGet, { path: "/health", port: "http" });
    for (const vertex of ["prefill", "decode"]) {
      const { startupProbe, livenessProbe, readinessProbe, ports } = vertexOf(all, vertex).container;
      assert.deepEqual(startupProbe.httpGet, { path: "/live", port: "system" });
      assert.equal(startupProbe.periodSeconds ?? 10, 10);
      assert.equal(startupProbe.failureThreshold, 720, "two hours to load a model");
      assert.deepEqual(livenessProbe.httpGet, { path: "/live", port: "system" });
      assert.deepEqual(readinessProbe.httpGet, { path: "/health", port: "system" });
      assert.ok(ports.some(({ name, containerPort }: Fields) => name === "system" && containerPort === 9090));
      assert.equal(vertexOf(all, vertex).env.DYN_SYSTEM_PORT, "9090");
    }
  });

  it("is waited for as long as its models may take to load", () => {
    const { spec, ...deployment } = (all.get("Deployment chat.decode-deployment") as Registered).inputs;
    assert.equal(spec.progressDeadlineSeconds, 7800, "each pod");
    assert.equal(deployment.metadata.annotations["pulumi.com/timeoutSeconds"], String(600 + 4 * 7200), "all of them");
    assert.equal(vertexOf(all, "frontend").spec.progressDeadlineSeconds, undefined);
  });

  it("ends without a failed request: frontends sleep first, and everybody has the grace and 90 s more", () => {
    const frontend = vertexOf(all, "frontend");
    assert.deepEqual(frontend.container.lifecycle, { preStop: { sleep: { seconds: 5 } } });
    assert.equal(frontend.env.DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS, "30");
    assert.equal(frontend.env.DYN_MIGRATION_LIMIT, "3");
    assert.equal(frontend.env.ETCD_LEASE_TTL, "10");
    assert.equal(frontend.pod.terminationGracePeriodSeconds, 125);
    const decode = vertexOf(all, "decode");
    assert.equal(decode.container.lifecycle, undefined);
    assert.equal(decode.env.DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS, "30");
    assert.equal(decode.env.ETCD_LEASE_TTL, "10");
    assert.equal(decode.pod.terminationGracePeriodSeconds, 120);
  });

  it("ends as the pipeline says, and its parts as they say", async () => {
    const all = await run(() => {
      const pool = h100();
      const worker = { pool, availability: { shutdownGraceSeconds: 600 } };
      const graph = dynamo.aggregated({ engine: dynamo.vllm({ model: MODEL }), worker });
      const availability = { leaseTtlSeconds: 20, propagationSeconds: 7, shutdownGraceSeconds: 60, migrationLimit: 1 };
      new Pipeline("chat", { platform: platformNamed("platform"), ...graph, availability });
    });
    const [frontend, worker] = [vertexOf(all, "frontend"), vertexOf(all, "worker")];
    assert.deepEqual(
      [frontend.env.ETCD_LEASE_TTL, frontend.env.DYN_MIGRATION_LIMIT, frontend.pod.terminationGracePeriodSeconds],
      ["20", "1", 157],
    );
    assert.deepEqual(frontend.container.lifecycle, { preStop: { sleep: { seconds: 7 } } });
    assert.deepEqual([worker.env.ETCD_LEASE_TTL, worker.env.DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS], ["20", "600"]);
    assert.equal(worker.pod.terminationGracePeriodSeconds, 690);
    // The update waits for pods that take long to end, too.
    assert.equal(worker.spec.progressDeadlineSeconds, 600 + 7200 + 600);
  });

  it("has shared memory and volumes that the image's user may write", () => {
    const { pod, container } = vertexOf(all, "decode");
    assert.deepEqual(pod.securityContext, { fsGroup: 1000 });
    assert.ok(container.volumeMounts.some(({ mountPath }: Fields) => mountPath === "/dev/shm"));
    const shared = pod.volumes.find(({ name }: Fields) => name === "shared-memory");
    assert.deepEqual(shared.emptyDir, { medium: "Memory", sizeLimit: String(8 * 2 ** 30) });
  });

  it("runs its workers on the pool, and its frontends anywhere", () => {
    assert.deepEqual(vertexOf(all, "decode").container.resources.limits, { "nvidia.com/gpu": "2" });
    assert.deepEqual(vertexOf(all, "decode").pod.nodeSelector, { "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3" });
    assert.deepEqual(vertexOf(all, "frontend").container.resources.limits, {});
    assert.equal(vertexOf(all, "frontend").pod.nodeSelector, undefined);
    assert.equal(all.get("Pipeline chat")?.outputs?.gpus, 10);
  });

  it("has Hugging Face's token in a Secret that is made anew when the token changes, and nowhere else", () => {
    const secret = all.get("Secret chat.decode-env-secret") as Registered;
    assert.deepEqual(secret.inputs.stringData, new Secret({ HF_TOKEN: TOKEN }));
    assert.equal(secret.inputs.immutable, true);
    assert.equal(secret.inputs.metadata.name, undefined, "Pulumi gives it a name of its own");
    const variable = vertexOf(all, "decode").container.env.find(({ name }: Fields) => name === "HF_TOKEN");
    assert.equal(variable.valueFrom.secretKeyRef.key, "HF_TOKEN");
    const plain = JSON.stringify([...all], (_key, value) => (value instanceof Secret ? "[secret]" : value));
    assert.equal(plain.includes(TOKEN), false);
  });

  it("is open to the cluster at its frontend's HTTP port alone", () => {
    const ingress = (vertex: string) =>
      all.get(`NetworkPolicy chat-network.vertex.${vertex}`)?.inputs.spec.ingress ?? [];
    const fromCluster = (vertex: string) =>
      ingress(vertex).filter(({ from }: Fields) => from.some((peer: Fields) => peer.namespaceSelector));
    assert.deepEqual(
      fromCluster("frontend").map(({ ports }: Fields) => ports),
      [[{ protocol: "TCP", port: 8000 }]],
    );
    // Responses come back to the frontend by TCP, whatever carried the request.
    assert.ok(ingress("frontend").some(({ ports = [] }: Fields) => ports.some(({ port }: Fields) => port === 9091)));
    for (const worker of ["prefill", "decode"]) assert.deepEqual(fromCluster(worker), []);
  });

  it("tells where it serves, and how to try it", async () => {
    assert.equal(await text(pipeline.url), "http://frontend.chat-gen-of-d.svc:8000");
    const command = await text(pipeline.smokeTest);
    assert.match(command, /kubectl --namespace chat-gen-of-d port-forward .* service\/frontend :8000 /);
    assert.match(command, /curl .* "http:\/\/\$address"'\/v1\/chat\/completions' /);
    assert.ok(command.includes(`"model":"${MODEL}"`), command);
  });
});

describe("an aggregated Dynamo graph", () => {
  const summarize = (args: object = {}, engine: object = {}) =>
    run(() => {
      const worker = { pool: h100(), replicas: 2, ...args };
      const graph = dynamo.aggregated({ engine: dynamo.vllm({ model: MODEL, ...engine }), worker });
      new Pipeline("summarize", { platform: platformNamed("platform"), ...graph });
    });

  it("is a frontend and one kind of worker, with the engine's own words last", async () => {
    const all = await summarize({ args: ["--seed", "7"] }, { args: ["--max-model-len", "8192"], image: "vllm:mine" });
    const { words, container, env } = vertexOf(all, "worker", "summarize");
    assert.match(words, /^python3 -m dynamo\.vllm --model \S+ --kv-events-config \S+ --max-model-len 8192 --seed 7$/);
    assert.equal(container.image, "vllm:mine");
    assert.equal(env.DYN_COMPONENT, "backend");
  });

  it("leaves the spread over GPUs to whoever says one", async () => {
    const words = async (engine: object) => vertexOf(await summarize({ gpus: 4 }, engine), "worker", "summarize").words;
    assert.match(await words({}), /--tensor-parallel-size 4/);
    assert.doesNotMatch(await words({ args: ["--pipeline-parallel-size=4"] }), /tensor/);
  });

  it("is asked for by the name that it is served under", async () => {
    let pipeline: Pipeline | undefined;
    await run(() => {
      const engine = dynamo.vllm({ model: MODEL, args: ["--served-model-name", "llama"] });
      const graph = dynamo.aggregated({ engine, worker: { pool: h100() } });
      pipeline = new Pipeline("summarize", { platform: platformNamed("platform"), ...graph });
    });
    assert.match(await text(pipeline?.smokeTest), /"model":"llama"/);
  });
});

describe("the planes of a Dynamo graph", () => {
  it("native: no credential of etcd or NATS, but a ServiceAccount and discoverable Services", async () => {
    const all = await run(() => chat({ planes: "native" }));
    const { env, pod } = vertexOf(all, "decode");
    assert.deepEqual(
      Object.keys(env).filter((name) => /^(ETCD|NATS|RINGFENCE_ETCD)_/.test(name)),
      [],
    );
    assert.deepEqual(
      [env.DYN_DISCOVERY_BACKEND, env.DYN_REQUEST_PLANE, env.DYN_EVENT_PLANE],
      ["kubernetes", "tcp", "zmq"],
    );
    assert.equal(pod.automountServiceAccountToken, true);
    assert.ok(pod.serviceAccountName);
    assert.equal(all.has("Deployment chat-etcd-proxy"), false);
    for (const vertex of ["frontend", "prefill", "decode"]) {
      const { labels } = all.get(`Service chat.${vertex}-service`)?.inputs.metadata ?? assert.fail(vertex);
      assert.equal(labels["nvidia.com/dynamo-discovery-backend"], "kubernetes");
      assert.equal(labels["nvidia.com/dynamo-discovery-enabled"], "true");
    }
  });

  it("mixed: only what is in use", async () => {
    const planes = { discovery: "etcd", requests: "tcp", events: "zmq" } as const;
    const { env, pod } = vertexOf(await run(() => chat({ planes })), "decode");
    assert.equal(env.ETCD_ENDPOINTS, "http://etcd-proxy:2379");
    assert.equal("NATS_SERVER" in env, false);
    assert.equal(pod.automountServiceAccountToken, false);
    assert.equal(env.DYN_TCP_RPC_PORT, "9092");
  });
});

describe("a mistake in a Dynamo pipeline is refused with its path and the reason", () => {
  const refusals: Record<string, { program: () => unknown; told: RegExp }> = {
    "a role bound to a prefix": {
      program: () => chat({ isolation: "rbac" }),
      told: /^chat\.isolation: found 'rbac'; expected 'proxy': Dynamo lists and watches etcd's whole root$/,
    },
    "a proxy for nothing": {
      program: () => chat({ isolation: "proxy", planes: "native" }),
      told: /^chat\.isolation: found 'proxy'; expected none, for nobody reaches etcd when planes\.discovery is 'kubernetes'$/,
    },
    "planes that do not exist": {
      program: () => chat({ planes: { discovery: "etcd", requests: "http", events: "zmq" } as never }),
      told: /^chat\.planes\.requests: found 'http'; expected 'nats' or 'tcp'$/,
    },
    "the namespace that means all": {
      program: () => chat({ dynamoNamespace: "dynamo" }),
      told: /^chat\.dynamoNamespace: found 'dynamo'; it means every namespace in Dynamo/,
    },
    "a pipeline that would be in it by its name": {
      program: () => chat({}, "dynamo"),
      told: /^dynamo\.dynamoNamespace: found nothing; expected another Dynamo namespace than the pipeline's name 'dynamo', which means every/,
    },
    "an empty namespace": {
      program: () => chat({ dynamoNamespace: "" }),
      told: /^chat\.dynamoNamespace: found ''; it is empty$/,
    },
    "a namespace with what NATS joins names by": {
      program: () => chat({ dynamoNamespace: "team_chat" }),
      told: /^chat\.dynamoNamespace: found 'team_chat'; it has a '_', with which Dynamo joins namespace and component on NATS/,
    },
    "a worker without GPUs": {
      program: () => dynamo.aggregated({ engine: dynamo.vllm({ model: MODEL }), worker: { pool: h100(), gpus: 0 } }),
      told: /^dynamo\.aggregated\.worker\.gpus: found 0; expected a whole number of GPUs, 1 or more$/,
    },
    "an engine without a model": {
      program: () => dynamo.aggregated({ engine: dynamo.vllm({ model: "" }), worker: { pool: h100() } }),
      told: /^dynamo\.aggregated\.engine\.model: found ''; expected a model/,
    },
    "more GPUs in a pod than a node has": {
      program: () => {
        const worker = { pool: h100(), gpus: 16 };
        const graph = dynamo.aggregated({ engine: dynamo.vllm({ model: MODEL }), worker });
        return new Pipeline("chat", { platform: platformNamed("platform"), ...graph });
      },
      told: /^chat\.vertices\.worker\.gpus: found 16; a node of pool 'h100' has 8 nvidia\.com\/gpu$/,
    },
    "a second word on what the pipeline says": {
      program: () => {
        const worker = { pool: h100(), env: { DYN_REQUEST_PLANE: "tcp" } };
        const graph = dynamo.aggregated({ engine: dynamo.vllm({ model: MODEL }), worker });
        return new Pipeline("chat", { platform: platformNamed("platform"), ...graph });
      },
      told: /^chat\.vertices\.worker\.env\.DYN_REQUEST_PLANE: found a string; expected none, for the pipeline's 'planes\.requests' says it$/,
    },
    "a namespace that begins like another's": {
      program: () => {
        const platform = platformNamed("platform");
        chat({ platform });
        chat({ platform }, "chat-v2");
      },
      told: /^chat-v2\.dynamoNamespace: the Dynamo namespace 'chat-v2' beside 'chat' of pipeline 'chat' begins like it: .*DYN_NAMESPACE_PREFIX/,
    },
  };
  for (const [mistake, { program, told }] of Object.entries(refusals))
    it(mistake, async () => {
      assert.match((await failureOf(program)).message, told);
    });

  it("but not a namespace of another platform, or another name for it", async () => {
    await run(() => {
      const platform = platformNamed("platform");
      chat({ platform });
      chat({ platform, dynamoNamespace: "next-chat" }, "chat-v2");
      chat({}, "chat-v3");
    });
  });
});
