import assert from "node:assert/strict";
import fc from "fast-check";
import { accessSpec } from "../../components/plan/access.ts";
import { compile } from "../../components/plan/compile.ts";
import { poolSpec } from "../../components/plan/gpu.ts";
import { modelNameProblem } from "../../components/plan/models.ts";
import { InvalidSpec, parse, problemsSoFar } from "../../components/plan/problem.ts";
import { environmentSpec, pipelineSpec } from "../../components/plan/spec.ts";
import { vertexSpec } from "../../components/plan/vertex.ts";

const SECRET = "hunter2";
const VERTEX_PROPERTIES = Object.keys(vertexSpec.shape).join(", ");
const LABEL = "may hold lower-case letters, digits and inner hyphens only (RFC 1123)";

const web = (change: object) => ({ pipelines: { chat: { vertices: { web: { image: "i", ...change } } } } });
const chat = (change: object) => ({ pipelines: { chat: { vertices: { web: { image: "i" } }, ...change } } });
/** A pipeline of a ready graph, with the line's beginning. */
const graph = (change: object, pipeline: object = {}) => ({
  pools: { h100: { product: "H100", gpusPerNode: 8, nodes: 2 } },
  pipelines: {
    chat: { dynamo: { graph: "aggregated", engine: { model: "m" }, worker: { pool: "h100" }, ...change }, ...pipeline },
  },
});
const DYNAMO = "ringfence:pipelines.chat.dynamo";
const named = (vertex: string) => ({ pipelines: { chat: { vertices: { [vertex]: { image: "i" } } } } });

/** What somebody may write, and the line that it is answered with; `…` stands for the vertex' path. */
const mistakes: Array<[written: object, line: string]> = [
  [web({ replicas: -1 }), "….replicas: found -1; expected a whole number, 0 or more"],
  [web({ replicas: 1.5 }), "….replicas: found 1.5; expected a whole number, 0 or more"],
  [web({ replicas: "2" }), "….replicas: found '2'; expected a whole number, 0 or more"],
  [web({ replicas: 1e300 }), "….replicas: found 1e+300; expected a whole number, 0 or more"],
  [web({ replicas: null }), "….replicas: found null; expected a whole number, 0 or more"],
  [web({ gpus: 1 }), "….pool: found nothing; expected the name of a pool, for the vertex asks for GPUs (1)"],
  [web({ gpus: 1, pool: "a100" }), "….pool: found 'a100'; expected one of ringfence:pools (none)"],
  [web({ pool: "toString" }), "….pool: found 'toString'; expected one of ringfence:pools (none)"],
  [
    { ...web({ pool: "a100" }), pools: { h100: { product: "H100" }, l40s: { product: "L40S" } } },
    "….pool: found 'a100'; expected one of ringfence:pools (h100, l40s)",
  ],
  [web({ pool: 3 }), "….pool: found 3; expected the name of a pool"],
  [web({ image: undefined }), "….image: found nothing; expected a container image"],
  [web({ image: "" }), "….image: found ''; expected a container image"],
  [web({ image: 7 }), "….image: found 7; expected a container image"],
  [web({ replica: 2 }), `….replica: found an unknown property; known here: ${VERTEX_PROPERTIES}`],
  [web({ "a\nb": 2 }), `…["a\\nb"]: found an unknown property; known here: ${VERTEX_PROPERTIES}`],
  [web({ password: SECRET }), `….password: found an unknown property; known here: ${VERTEX_PROPERTIES}`],
  [web({ secret: SECRET }), `….secret: found an unknown property; known here: ${VERTEX_PROPERTIES}`],
  [web({ environment: { A: SECRET } }), `….environment: found an unknown property; known here: ${VERTEX_PROPERTIES}`],
  [web({ env: SECRET }), "….env: found a string; expected an object"],
  [web({ env: [SECRET] }), "….env: found a list; expected an object"],
  [web({ env: { PIN: 4711 } }), "….env.PIN: found a number; expected a string"],
  [
    web({ env: { "a-b": SECRET } }),
    "….env.a-b: found the name 'a-b'; expected letters, digits and underscores, no digit first",
  ],
  [web({ command: SECRET }), "….command: found a string; expected a list"],
  [web({ args: ["--pin", 4711] }), "….args[1]: found a number; expected a string"],
  [web({ ports: { http: 0 } }), "….ports.http: found 0; expected a port from 1 to 65535"],
  [web({ ports: { http: 65536 } }), "….ports.http: found 65536; expected a port from 1 to 65535"],
  [web({ ports: { http: "80" } }), "….ports.http: found '80'; expected a port from 1 to 65535"],
  [web({ ports: { HTTP: 80 } }), `….ports.HTTP: found the name 'HTTP'; it ${LABEL}`],
  [
    web({ ports: { "80": 80 } }),
    "….ports.80: found the name '80'; it needs a letter, and no two hyphens in a row (RFC 6335)",
  ],
  [
    web({ ports: { "a-very-long-port": 80 } }),
    "….ports.a-very-long-port: found the name 'a-very-long-port'; it has 16 characters, at most 15 are allowed",
  ],
  [web({ ports: { http: 80, web: 80 } }), "….ports: found an object; expected each port once"],
  [web({ ports: [80] }), "….ports: found a list; expected an object"],
  [
    web({ terminationGracePeriodSeconds: -1 }),
    "….terminationGracePeriodSeconds: found -1; expected a whole number, 0 or more",
  ],
  [
    web({ replicas: `a\nb\u2028${"c".repeat(99)}` }),
    `….replicas: found 'a b ${"c".repeat(76)}…'; expected a whole number, 0 or more`,
  ],
  [web({ secretEnv: { HF_TOKEN: 4711 } }), "….secretEnv.HF_TOKEN: found a number; expected a string"],
  [
    web({ env: { A: "1" }, secretEnv: { A: SECRET } }),
    "….secretEnv.A: found a string; expected a name that 'env' does not have, too",
  ],
  [
    web({ ports: { http: 80 }, probes: { readiness: { path: "/", port: "https" } } }),
    "….probes.readiness.port: found 'https'; expected one of its ports (http)",
  ],
  [
    web({ ports: { http: 80 }, probes: { liveness: { path: "live", port: "http" } } }),
    "….probes.liveness.path: found 'live'; expected a path that begins with '/'",
  ],
  [
    web({ probes: { alive: {} } }),
    "….probes.alive: found an unknown property; known here: startup, liveness, readiness",
  ],
  [web({ open: { cluster: ["http"] } }), "….open.cluster[0]: found 'http'; expected one of its ports (none)"],
  [web({ open: { tenant: ["http"] } }), "….open.tenant[0]: found 'http'; expected one of its ports (none)"],
  [
    web({ open: { tenant: "all" } }),
    "….open.tenant: found 'all'; expected 'any' or a list of the vertex' ports by name",
  ],
  [web({ open: { world: [0] } }), "….open.world[0]: found 0; expected a port from 1 to 65535"],
  [
    web({ resources: { requests: { memory: "16 GB" } } }),
    "….resources.requests.memory: found '16 GB'; expected a quantity such as '16Gi'",
  ],
  [web({ resources: { limits: { cpu: 2 } } }), "….resources.limits.cpu: found 2; expected a quantity such as '500m'"],
  [web({ sharedMemoryBytes: "8Gi" }), "….sharedMemoryBytes: found '8Gi'; expected a whole number of bytes, 0 or more"],
  [
    web({ ports: { http: 80 }, terminationGracePeriodSeconds: 30 }),
    "….terminationGracePeriodSeconds: found 30; expected 50 or more (sleep before SIGTERM 5 + propagation 5 + shutdown grace 30 + margin 10), or a smaller availability.shutdownGraceSeconds",
  ],
  [
    web({ component: "backend", ports: { http: 80 }, terminationGracePeriodSeconds: 119 }),
    "….terminationGracePeriodSeconds: found 119; expected 120 or more (sleep before SIGTERM 0 + shutdown grace 30 + margin 90), or a smaller availability.shutdownGraceSeconds",
  ],
  [
    web({ availability: { leaseTtlSeconds: 0 } }),
    "….availability.leaseTtlSeconds: found 0; expected a whole number of seconds from 1 to 3600",
  ],
  [
    chat({ availability: { shutdownGraceSeconds: 30_000 } }),
    "ringfence:pipelines.chat.availability.shutdownGraceSeconds: found 30000; expected a whole number of seconds from 0 to 3600",
  ],
  [
    chat({ availability: { leaseTtl: 10 } }),
    "ringfence:pipelines.chat.availability.leaseTtl: found an unknown property; known here: leaseTtlSeconds, propagationSeconds, shutdownGraceSeconds, migrationLimit",
  ],
  [
    web({ env: { RINGFENCE_LEASE_TTL: "1" } }),
    "….env.RINGFENCE_LEASE_TTL: found a string; expected none, for 'availability.leaseTtlSeconds' of the vertex or the pipeline says it",
  ],
  [
    web({ component: "frontend", secretEnv: { DYN_MIGRATION_LIMIT: "0" } }),
    "….secretEnv.DYN_MIGRATION_LIMIT: found a string; expected none, for 'availability.migrationLimit' of the vertex or the pipeline says it",
  ],
  [web({ component: "Front_end" }), `….component: found 'Front_end'; it ${LABEL}`],
  [
    web({ component: "router", env: { DYN_COMPONENT: "backend" } }),
    "….env.DYN_COMPONENT: found a string; expected none, for the pipeline's 'component' says it",
  ],
  [
    web({ env: { DYN_NAMESPACE_PREFIX: "chat" } }),
    "….env.DYN_NAMESPACE_PREFIX: found a string; expected none: it is a raw prefix, so 'chat' also takes in the workers of 'chat-v2'; DYN_NAMESPACE is exact",
  ],
  [
    web({ env: { DYN_NAMESPACE: "dynamo" } }),
    "….env.DYN_NAMESPACE: found a string; expected 'chat', the pipeline's dynamoNamespace, under which its data are looked for",
  ],
  [
    chat({ planes: "direct" }),
    "ringfence:pipelines.chat.planes: found 'direct'; expected 'brokered', 'native' or { discovery, requests, events }",
  ],
  [
    chat({ planes: { discovery: "file", requests: "tcp", events: "zmq" } }),
    "ringfence:pipelines.chat.planes.discovery: found 'file'; expected 'etcd' or 'kubernetes'",
  ],
  [
    chat({ isolation: "rbac", planes: "native" }),
    "ringfence:pipelines.chat.isolation: found 'rbac'; expected none, for nobody reaches etcd when planes.discovery is 'kubernetes'",
  ],
  [
    chat({ models: { "/data/llama": {} } }),
    `ringfence:pipelines.chat.models["/data/llama"]: found the name '/data/llama'; it ${modelNameProblem("/data/llama")}`,
  ],
  [
    chat({ models: { m: { legacyAlias: "yes" } } }),
    "ringfence:pipelines.chat.models.m.legacyAlias: found 'yes'; expected true or false",
  ],
  [chat({ isolation: "none" }), "ringfence:pipelines.chat.isolation: found 'none'; expected 'proxy' or 'rbac'"],
  [
    chat({ endpoint: { vertex: "api", port: "http" } }),
    "ringfence:pipelines.chat.endpoint.vertex: found 'api'; expected one of web",
  ],
  [
    chat({ endpoint: { vertex: "web", port: "http" } }),
    "ringfence:pipelines.chat.endpoint.port: found 'http'; expected one of none",
  ],
  [
    chat({ proxy: { replicas: 3 } }),
    "ringfence:pipelines.chat.proxy: found an object; expected none, for there is no proxy without isolation 'proxy'",
  ],
  [
    chat({ isolation: "proxy", proxy: { replicas: 0 } }),
    "ringfence:pipelines.chat.proxy.replicas: found 0; expected a whole number, 1 or more",
  ],
  [
    named("etcd-proxy"),
    "ringfence:pipelines.chat.vertices.etcd-proxy: found the name 'etcd-proxy'; it is reserved, for the tenant has a Service of that name",
  ],
  [chat({ allowReplace: "yes" }), "ringfence:pipelines.chat.allowReplace: found 'yes'; expected true or false"],
  [
    chat({ dynamoNamespace: "models" }),
    "ringfence:pipelines.chat.dynamoNamespace: found 'models'; it is reserved: others' keys lie under that name",
  ],
  [
    { pipelines: { dynamo: { vertices: { web: { image: "i" } } } } },
    "ringfence:pipelines.dynamo.dynamoNamespace: found nothing; expected another Dynamo namespace than the pipeline's name 'dynamo', which means every namespace in Dynamo: its frontends would serve all pipelines' models",
  ],
  [graph({ graph: "agg" }), `${DYNAMO}.graph: found 'agg'; expected 'aggregated' or 'disaggregated'`],
  [graph({ engine: undefined }), `${DYNAMO}.engine: found nothing; expected an object`],
  [graph({ engine: { name: "sglang", model: "m" } }), `${DYNAMO}.engine.name: found 'sglang'; expected 'vllm'`],
  [
    graph({ engine: { model: "" } }),
    `${DYNAMO}.engine.model: found ''; expected a model as Hugging Face names it, or a path in the image`,
  ],
  [
    graph({ worker: {} }),
    `${DYNAMO}.worker.pool: found nothing; expected the name of a pool, for a worker runs on GPUs`,
  ],
  [graph({ worker: { pool: "a100" } }), `${DYNAMO}.worker.pool: found 'a100'; expected one of ringfence:pools (h100)`],
  [
    graph({ worker: { pool: "h100", gpus: 16 } }),
    `${DYNAMO}.worker.gpus: found 16; a node of pool 'h100' has 8 nvidia.com/gpu`,
  ],
  [
    graph({ worker: { pool: "h100", gpus: 8, replicas: 3 } }),
    `${DYNAMO}.worker.replicas: found 3; with these, pool 'h100' needs 3 nodes of 8 nvidia.com/gpu, and it has 2`,
  ],
  [
    graph({ frontend: { gpus: 1 } }),
    `${DYNAMO}.frontend.gpus: found an unknown property; known here: replicas, image, env, resources, sharedMemoryBytes, availability`,
  ],
  [graph({ huggingFaceToken: 4711 }), `${DYNAMO}.huggingFaceToken: found a number; expected a token`],
  [
    graph({}, { vertices: { web: { image: "i" } } }),
    `${DYNAMO}: found an object; expected either 'vertices' or 'dynamo'`,
  ],
  [
    graph({}, { isolation: "rbac" }),
    "ringfence:pipelines.chat.isolation: found 'rbac'; expected 'proxy': Dynamo lists and watches etcd's whole root",
  ],
  [
    { ...graph({}), pipelines: { ...graph({}).pipelines, "chat-v2": graph({}).pipelines.chat } },
    "ringfence:pipelines.chat-v2.dynamoNamespace: found nothing; the Dynamo namespace 'chat-v2' beside 'chat' of pipeline 'chat' begins like it: what looks for the shorter one by DYN_NAMESPACE_PREFIX, a raw prefix, also finds the longer one's workers; set another",
  ],
  [named("Web"), `ringfence:pipelines.chat.vertices.Web: found the name 'Web'; it ${LABEL}`],
  [named(""), `ringfence:pipelines.chat.vertices[""]: found the name ''; it is empty`],
  [
    named("3d"),
    "ringfence:pipelines.chat.vertices.3d: found the name '3d'; it does not begin with a letter (RFC 1035)",
  ],
  [
    named("w".repeat(64)),
    `ringfence:pipelines.chat.vertices.${"w".repeat(64)}: found the name '${"w".repeat(64)}'; it has 64 characters, at most 63 are allowed`,
  ],
  [chat({ vertices: {} }), "ringfence:pipelines.chat.vertices: found an object; expected at least one vertex"],
  [
    chat({ vertices: undefined }),
    "ringfence:pipelines.chat.vertices: found nothing; expected either 'vertices' or 'dynamo'",
  ],
  [chat({ vertices: [] }), "ringfence:pipelines.chat.vertices: found a list; expected an object"],
  [
    chat({ lifecycle: { desiredPhase: "paused" } }),
    "ringfence:pipelines.chat.lifecycle.desiredPhase: found 'paused'; expected 'Running' or 'Paused'",
  ],
  [chat({ lifecycle: "Paused" }), "ringfence:pipelines.chat.lifecycle: found 'Paused'; expected an object"],
  [
    chat({ lifecycle: { phase: "Paused" } }),
    "ringfence:pipelines.chat.lifecycle.phase: found an unknown property; known here: desiredPhase, pauseGracePeriodSeconds, deletionGracePeriodSeconds",
  ],
  [
    chat({ jetStream: { memoryBytes: "1Gi" } }),
    "ringfence:pipelines.chat.jetStream.memoryBytes: found '1Gi'; expected a whole number of bytes, 0 or more",
  ],
  [
    chat({ jetStream: { streams: -1 } }),
    "ringfence:pipelines.chat.jetStream.streams: found -1; expected a whole number, 0 or more",
  ],
  [
    chat({ realm: "ringfence/x" }),
    "ringfence:pipelines.chat.realm: found 'ringfence/x'; it begins with 'ringfence', which is reserved",
  ],
  [{ pipelines: { chat: null } }, "ringfence:pipelines.chat: found null; expected an object"],
  [{ pipelines: { Chat: web({}).pipelines.chat } }, `ringfence:pipelines.Chat: found the name 'Chat'; it ${LABEL}`],
  [
    { pipelines: { ["c".repeat(55)]: web({}).pipelines.chat } },
    `ringfence:pipelines.${"c".repeat(55)}: found the name '${"c".repeat(55)}'; it has 55 characters, at most 54 are allowed`,
  ],
  [{ pipelines: [] }, "ringfence:pipelines: found a list; expected an object"],
  [{ realm: 3 }, "ringfence:realm: found 3; expected a string"],
  [{ realm: "registry" }, "ringfence:realm: found 'registry'; it begins with 'registry', which is reserved"],
  [{ realm: "Dev" }, `ringfence:realm: found 'Dev'; it has the segment 'Dev', which ${LABEL}`],
  [{ realm: "a//b" }, "ringfence:realm: found 'a//b'; it has the segment '', which is empty"],
  [
    { pools: { h100: { prodct: "x", product: "H100" } } },
    `ringfence:pools.h100.prodct: found an unknown property; known here: ${Object.keys(poolSpec.shape).join(", ")}`,
  ],
  [
    { pools: { h100: {} } },
    "ringfence:pools.h100.product: found nothing; expected a product as GPU feature discovery labels it",
  ],
  [{ pools: { H100: { product: "H100" } } }, `ringfence:pools.H100: found the name 'H100'; it ${LABEL}`],
  [{ pools: { h100: "H100" } }, "ringfence:pools.h100: found 'H100'; expected an object"],
];

describe("a mistake in a stack's config is one line", () => {
  for (const [written, shortened] of mistakes) {
    const line = shortened.replace(/^…/, "ringfence:pipelines.chat.vertices.web");
    it(line.length > 110 ? `${line.slice(0, 110)}…` : line, () => {
      assert.throws(() => parse(environmentSpec, written, "ringfence:"), refusal(line));
    });
  }

  it("each, when there are several", () => {
    const lines = [
      "ringfence:realm: found 3; expected a string",
      "ringfence:pipelines.chat.vertices.web.replicas: found -1; expected a whole number, 0 or more",
      `ringfence:pipelines.chat.vertices.web.foo: found an unknown property; known here: ${VERTEX_PROPERTIES}`,
      `ringfence:pipelines.chat.vertices.web.bar: found an unknown property; known here: ${VERTEX_PROPERTIES}`,
    ];
    const written = { realm: 3, ...web({ foo: SECRET, bar: 1, replicas: -1 }) };
    assert.throws(() => parse(environmentSpec, written, "ringfence:"), refusal(...lines));
  });

  it("under the pipeline's name, when it is made in a program", () => {
    const written = { name: "chat", realm: "dev", vertices: { web: { image: "i", gpus: 2 } } };
    const line = "chat.vertices.web.pool: found nothing; expected the name of a pool, for the vertex asks for GPUs (2)";
    assert.throws(() => compile(written, "chat"), refusal(line));
  });
});

describe("a mistake in a platform's access", () => {
  const right = {
    etcd: { endpoints: ["https://etcd:2379"], username: "root", password: SECRET },
    nats: { servers: ["tls://nats:4222"], operatorSeed: `SO${SECRET}`, systemCreds: `NATS USER JWT ${SECRET}` },
  };
  const etcd = (change: object) => ({ ...right, etcd: { ...right.etcd, ...change } });
  const nats = (change: object) => ({ ...right, nats: { ...right.nats, ...change } });
  const cases: Array<[written: object, line: string]> = [
    [etcd({ password: "" }), "etcd.password: found a string; expected a string that is not empty"],
    [etcd({ password: [SECRET] }), "etcd.password: found a list; expected a string"],
    [
      etcd({ pasword: SECRET }),
      "etcd.pasword: found an unknown property; known here: endpoints, service, clusterEndpoints, username, password, tls",
    ],
    [
      etcd({ endpoints: [`root:${SECRET}@etcd`] }),
      "etcd.endpoints[0]: found a string; expected an address that begins with http:// or https://",
    ],
    [etcd({ endpoints: [] }), "etcd.endpoints: found a list; expected at least one address"],
    [
      etcd({ endpoints: undefined }),
      "etcd.endpoints: found nothing; expected either addresses here or a 'service' to be reached by a port-forward",
    ],
    [
      nats({ service: "ringfence-system/nats:4222" }),
      "nats.servers: found a list; expected either addresses here or a 'service' to be reached by a port-forward, not both",
    ],
    [
      etcd({ endpoints: undefined, service: "etcd.ringfence-system" }),
      "etcd.service: found 'etcd.ringfence-system'; expected 'namespace/name:port' of a Service, for example 'ringfence-system/etcd:2379'",
    ],
    [nats({ operatorSeed: SECRET }), "nats.operatorSeed: found a string; expected the seed of an operator (SO…)"],
    [nats({ systemCreds: SECRET }), "nats.systemCreds: found a string; expected the text of a NATS credentials file"],
    [
      { ...right, kubernetes: { kubeconfig: { token: SECRET } } },
      "kubernetes.kubeconfig: found an object; expected a string",
    ],
  ];
  for (const [written, line] of cases) {
    it(line, () => {
      assert.throws(() => parse(accessSpec, written, "ringfence:platform"), refusal(`ringfence:platform.${line}`));
    });
  }

  it("is none when everything is there", () => {
    assert.equal(parse(accessSpec, right, "ringfence:platform").etcd.password, SECRET);
  });

  it("is none when a Service is named, whose address in the cluster everybody is told", () => {
    const service = "ringfence-system/etcd:2379";
    const { endpoints } = parse(accessSpec, etcd({ endpoints: undefined, service }), "ringfence:platform").etcd;
    assert.deepEqual(endpoints, ["http://etcd.ringfence-system.svc:2379"]);
  });
});

describe("problemsSoFar", () => {
  const pending = Symbol("pending");
  const soFar = (change: object) =>
    problemsSoFar(
      pipelineSpec,
      { name: "chat", realm: "dev", vertices: { web: { image: "i", ...change } } },
      "chat",
      (part) => part === pending,
    ).map(({ path }) => path);

  it("names what is wrong whatever the pending parts turn out to be", () => {
    assert.deepEqual(soFar({ replicas: -1, env: pending }), ["chat.vertices.web.replicas"]);
    assert.deepEqual(soFar({ gpus: 1 }), ["chat.vertices.web.pool"]);
  });

  it("leaves the pending parts alone", () => {
    assert.deepEqual(soFar({ image: pending, replicas: pending, env: { A: pending }, command: ["a", pending] }), []);
  });
});

describe("parse of anything at all", () => {
  /** Values of every kind, and environments with such values in their places. */
  const anything = fc.anything({ withBigInt: true, withDate: true, withMap: true, withNullPrototype: true });
  const key = fc.oneof(fc.constantFrom("web", "__proto__", "constructor", "env", ""), fc.string());
  const bag = (value: fc.Arbitrary<unknown>) => fc.oneof({ weight: 4, arbitrary: fc.dictionary(key, value) }, anything);
  const some = (properties: string[], value: fc.Arbitrary<unknown>) =>
    fc.record(Object.fromEntries(properties.map((property) => [property, fc.option(value)])), { requiredKeys: [] });
  const vertex = some(VERTEX_PROPERTIES.split(", "), anything);
  const pipeline = fc.record(
    { vertices: bag(vertex), lifecycle: some(["desiredPhase"], anything), realm: anything },
    { requiredKeys: ["vertices"] },
  );
  const environment = fc.record({ pipelines: bag(pipeline), pools: bag(anything) }, { requiredKeys: ["pipelines"] });

  it("returns, or throws InvalidSpec with one line for each problem", () => {
    fc.assert(
      fc.property(fc.oneof(anything, environment), (written) => {
        try {
          parse(environmentSpec, written, "ringfence:");
        } catch (error) {
          assert.ok(error instanceof InvalidSpec, `threw ${error}`);
          assert.ok(error.problems.length > 0);
          for (const line of error.message.split(/[\n\r\u2028\u2029]/))
            assert.match(line, /^ringfence:.*: found .+; .+/);
          assert.equal(error.message.split("\n").length, error.problems.length);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

/** An InvalidSpec that says just these lines. */
const refusal =
  (...lines: string[]) =>
  (error: unknown) => {
    assert.ok(error instanceof InvalidSpec, `threw ${error}`);
    assert.deepEqual(error.message.split("\n").sort(), lines.sort());
    assert.doesNotMatch(error.message, new RegExp(`${SECRET}|4711`));
    return true;
  };
