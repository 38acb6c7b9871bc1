import assert from "node:assert/strict";
import fc from "fast-check";
import { compile } from "../../components/plan/compile.ts";
import { canonical, digestOf } from "../../components/plan/digest.ts";
import { mapValues } from "../../components/plan/records.ts";
import type { PipelineInput } from "../../components/plan/spec.ts";
import { spec } from "./arbitraries.ts";

describe("compile", () => {
  it("gives one plan for one spec, whatever the order of its keys", () => {
    fc.assert(
      fc.property(spec, fc.infiniteStream(fc.nat()), (one, random) => {
        assert.deepEqual(compile(shuffled(one, random)), compile(structuredClone(one)));
        assert.equal(compile(shuffled(one, random)).digest, compile(one).digest);
      }),
    );
  });

  it("leaves the spec as it was", () => {
    fc.assert(
      fc.property(spec, (one) => {
        const before = structuredClone(one);
        compile(one);
        assert.deepEqual(one, before);
      }),
    );
  });

  it("takes every vertex to zero pods and the pipeline to zero GPUs while paused, and back when it runs again", () => {
    fc.assert(
      fc.property(spec, (one) => {
        const running = compile(inPhase(one, "Running"));
        const paused = compile(inPhase(one, "Paused"));
        for (const [name, { replicas = 1 }] of Object.entries(one.vertices)) {
          assert.equal(running.vertices[name]?.replicas, replicas);
          assert.equal(paused.vertices[name]?.replicas, 0);
          const { lifecycle } = running.vertices[name] ?? {};
          assert.deepEqual({ ...paused.vertices[name], replicas, lifecycle }, running.vertices[name]);
          assert.equal(paused.vertices[name]?.lifecycle.desiredPhase, "Paused");
        }
        assert.equal(paused.gpus, 0);
        assert.deepEqual(compile(inPhase(one, "Running")), running);
      }),
    );
  });

  it("counts the GPUs of all pods", () => {
    const plan = compile({
      name: "chat",
      realm: "dev",
      vertices: {
        frontend: { image: "f" },
        prefill: { image: "v", pool: "h100", gpus: 2, replicas: 3 },
        decode: { image: "v", pool: "h100", gpus: 1 },
      },
    });
    assert.equal(plan.gpus, 7);
  });

  it("fills in what the spec leaves out", () => {
    const { digest, ...plan } = compile({ name: "chat", realm: "team/dev", vertices: { web: { image: "i" } } });
    assert.match(digest, /^[0-9a-f]{16}$/);
    assert.deepEqual(plan, {
      name: "chat",
      logicalName: "team/dev/chat",
      phase: "Running",
      vertices: {
        web: {
          name: "web",
          image: "i",
          command: [],
          args: [],
          env: {},
          replicas: 1,
          gpus: 0,
          pool: undefined,
          secretEnv: [],
          resources: { requests: {}, limits: {} },
          sharedMemoryBytes: 0,
          ports: {},
          probes: {},
          surge: 1,
          availability: { leaseTtlSeconds: 10, propagationSeconds: 5, shutdownGraceSeconds: 30, migrationLimit: 3 },
          preStopSleepSeconds: 0,
          terminationGracePeriodSeconds: 45,
          lifecycle: { desiredPhase: "Running", pauseGracePeriodSeconds: 30, deletionGracePeriodSeconds: 30 },
        },
      },
      planes: { discovery: "etcd", requests: "nats", events: "nats" },
      isolation: "rbac",
      proxy: undefined,
      openings: [],
      endpoint: undefined,
      jetStream: { memoryBytes: 0, diskBytes: 2 ** 30, streams: 100, consumers: 1000 },
      quota: { gpus: { "nvidia.com/gpu": 0 }, defaultRequests: { cpu: "100m", memory: "128Mi" } },
      gpus: 0,
    });
  });

  it("gives a component of Dynamo its settings, and etcd a proxy", () => {
    const vertices = { router: { image: "i", component: "router", env: { LOG: "info" } } };
    const one = { name: "chat", realm: "dev", vertices };
    const { isolation, vertices: planned } = compile(one);
    assert.equal(isolation, "proxy");
    assert.deepEqual(planned.router?.env, {
      DYN_NAMESPACE: "chat",
      DYN_COMPONENT: "router",
      DYN_DISCOVERY_BACKEND: "etcd",
      DYN_REQUEST_PLANE: "nats",
      DYN_EVENT_PLANE: "nats",
      ETCD_LEASE_TTL: "10",
      DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS: "30",
      LOG: "info",
    });
    const native = compile({ ...one, planes: "native", dynamoNamespace: "talk" });
    assert.equal(native.isolation, undefined, "nobody reaches etcd");
    assert.equal(native.vertices.router?.env.DYN_NAMESPACE, "talk");
    assert.equal(native.vertices.router?.env.DYN_DISCOVERY_BACKEND, "kubernetes");
  });

  it("lets no secret into the plan, only its name", () => {
    const plan = compile({
      name: "chat",
      realm: "dev",
      vertices: { web: { image: "i", secretEnv: { T: "hunter2" } } },
    });
    assert.deepEqual(plan.vertices.web?.secretEnv, ["T"]);
    assert.equal(JSON.stringify(plan).includes("hunter2"), false);
  });

  it("limits the GPUs to those of an update, whatever the phase", () => {
    const pools = { h100: { product: "H100" } };
    const vertices = { worker: { image: "i", pool: "h100", gpus: 2, replicas: 3 } };
    const one = { name: "chat", realm: "dev", pools, vertices };
    assert.deepEqual(compile(one).quota.gpus, { "nvidia.com/gpu": 8 });
    assert.deepEqual(compile(inPhase(one, "Paused")).quota, compile(one).quota);
    assert.deepEqual(compile({ ...one, quota: { gpus: { "nvidia.com/gpu": 9 } } }).quota.gpus, { "nvidia.com/gpu": 9 });
  });
});

describe("the openings of a plan", () => {
  const ports = { http: 8000, responses: 9091 };
  const openings = (vertex: object, planes: PipelineInput["planes"] = "brokered") =>
    compile({ name: "chat", realm: "dev", planes, vertices: { web: { image: "i", ports, ...vertex } } }).openings.map(
      ({ vertex: _, ...opening }) => opening,
    );

  it("are all ports to the cluster, when a vertex says nothing", () => {
    assert.deepEqual(openings({}), [{ from: "cluster", ports: [8000, 9091] }]);
  });

  it("are what it says, when it does", () => {
    assert.deepEqual(openings({ open: { cluster: ["http"], tenant: ["responses"], world: [443] } }), [
      { from: "tenant", ports: [9091] },
      { from: "cluster", ports: [8000] },
      { to: "world", ports: [443] },
    ]);
    assert.deepEqual(openings({ open: { cluster: [], tenant: "any" } }), [{ from: "tenant" }]);
  });

  it("have what the planes need of a component", () => {
    const closed = { open: { cluster: [] } };
    const [frontend, worker] = [
      { ...closed, component: "frontend" },
      { ...closed, component: "backend", ports: { requests: 9092 } },
    ];
    assert.deepEqual(openings(frontend), [{ from: "tenant", ports: [9091] }], "responses come back by TCP");
    assert.deepEqual(openings(worker), [], "requests come by NATS");
    const tcp = { discovery: "etcd", requests: "tcp", events: "nats" } as const;
    assert.deepEqual(openings(worker, tcp), [{ from: "tenant", ports: [9092] }]);
    assert.deepEqual(openings({ ...worker, ports: {} }, tcp), [{ from: "tenant" }], "a port that nobody has pinned");
    assert.deepEqual(openings(worker, "native"), [{ from: "tenant" }], "ZeroMQ binds ports as it likes");
    assert.deepEqual(openings(frontend, "native"), [{ from: "tenant" }]);
  });
});

describe("the endpoint of a plan", () => {
  it("is the port http of the first vertex that has one, or what the spec says", () => {
    const vertices = {
      b: { image: "i", ports: { http: 1 } },
      a: { image: "i", ports: { grpc: 2 } },
      c: { image: "i" },
    };
    const endpoint = (given?: PipelineInput["endpoint"]) =>
      compile({ name: "chat", realm: "dev", vertices, ...(given && { endpoint: given }) }).endpoint;
    assert.deepEqual(endpoint(), { vertex: "b", port: "http", path: "/" });
    assert.deepEqual(endpoint({ vertex: "a", port: "grpc" }), { vertex: "a", port: "grpc", path: "/" });
  });
});

describe("the plan's digest", () => {
  const whole = {
    name: "chat",
    realm: "dev",
    lifecycle: { desiredPhase: "Running" },
    jetStream: { memoryBytes: 1, diskBytes: 2, streams: 3, consumers: 4 },
    vertices: {
      web: {
        image: "i",
        command: ["a"],
        args: ["b"],
        env: { LOG: "info" },
        replicas: 2,
        gpus: 1,
        pool: "h100",
        ports: { http: 80 },
        secretEnv: { TOKEN: "t" },
        resources: { requests: { cpu: "1" }, limits: { memory: "1Gi" } },
        sharedMemoryBytes: 1,
        fsGroup: 1,
        probes: { liveness: { path: "/live", port: "http" } },
        availability: { propagationSeconds: 2, shutdownGraceSeconds: 3 },
        preStopSleepSeconds: 1,
        terminationGracePeriodSeconds: 20,
      },
    },
    isolation: "proxy",
    proxy: { replicas: 2 },
    endpoint: { vertex: "web", port: "http", path: "/", body: "{}" },
    quota: { gpus: { "nvidia.com/gpu": 4 }, defaultRequests: { cpu: "1", memory: "1Gi" } },
  } satisfies PipelineInput;
  const vertex = (change: object) => ({ vertices: { web: { ...whole.vertices.web, ...change } } });
  const changes: Record<string, object> = {
    name: { name: "talk" },
    realm: { realm: "prod" },
    desiredPhase: { lifecycle: { desiredPhase: "Paused" } },
    memoryBytes: { jetStream: { ...whole.jetStream, memoryBytes: 9 } },
    diskBytes: { jetStream: { ...whole.jetStream, diskBytes: 9 } },
    streams: { jetStream: { ...whole.jetStream, streams: 9 } },
    consumers: { jetStream: { ...whole.jetStream, consumers: 9 } },
    planes: { planes: { discovery: "etcd", requests: "nats", events: "zmq" } },
    isolation: { isolation: "rbac", proxy: undefined },
    proxy: { proxy: { replicas: 3 } },
    endpoint: { endpoint: { ...whole.endpoint, body: "[]" } },
    quota: { quota: { ...whole.quota, gpus: { "nvidia.com/gpu": 5 } } },
    openings: vertex({ open: { cluster: [] } }),
    component: vertex({ component: "backend", terminationGracePeriodSeconds: 100 }),
    "a secret variable's name, secretEnv": vertex({ secretEnv: { KEY: "t" } }),
    resources: vertex({ resources: { requests: { cpu: "2" }, limits: { memory: "1Gi" } } }),
    sharedMemoryBytes: vertex({ sharedMemoryBytes: 2 }),
    fsGroup: vertex({ fsGroup: 2 }),
    probes: vertex({ probes: { readiness: { path: "/live", port: "http" } } }),
    preStopSleepSeconds: vertex({ preStopSleepSeconds: 2 }),
    "a vertex' name": { endpoint: { vertex: "api", port: "http" }, vertices: { api: whole.vertices.web } },
    "one more vertex": { vertices: { ...whole.vertices, api: whole.vertices.web } },
    image: vertex({ image: "j" }),
    command: vertex({ command: ["b"] }),
    "the order of args": vertex({ args: ["b", "a"] }),
    "a variable's value": vertex({ env: { LOG: "debug" } }),
    "a variable's name": vertex({ env: { LEVEL: "info" } }),
    replicas: vertex({ replicas: 3 }),
    gpus: vertex({ gpus: 2 }),
    pool: vertex({ pool: "a100" }),
    ports: vertex({ ports: { http: 81 } }),
    terminationGracePeriodSeconds: vertex({ terminationGracePeriodSeconds: 21 }),
    "availability of a vertex": vertex({ availability: { propagationSeconds: 2, shutdownGraceSeconds: 4 } }),
    "availability of the pipeline": { availability: { leaseTtlSeconds: 7 } },
    "surge, by a quota": {
      quota: { ...whole.quota, gpus: { "nvidia.com/gpu": 2 } },
      pools: { h100: { product: "H100" } },
    },
  };

  it("differs for every field that differs", () => {
    const digests = Object.entries({ nothing: {}, ...changes }).map(([field, change]) => {
      return { field, digest: compile({ ...whole, ...change }).digest };
    });
    for (const [digest, fields] of Map.groupBy(digests, (one) => one.digest)) {
      assert.equal(fields.length, 1, `${digest} is shared by ${fields.map(({ field }) => field).join(", ")}`);
    }
  });

  it("has a row above for every field of the plan", () => {
    const { digest, ...plan } = compile(whole);
    // `logicalName` stands for the realm, `gpus` is a sum, and a vertex repeats its key.
    const derived = ["logicalName", "phase", "vertices", "jetStream", "lifecycle"];
    const fields = [...Object.keys(plan), ...Object.keys(plan.jetStream), ...Object.keys(plan.vertices.web ?? {})];
    const rows = Object.keys(changes).join(" ");
    for (const field of fields.filter((one) => !derived.includes(one))) {
      assert.match(rows, new RegExp(field === "env" ? "variable" : field), `no row changes '${field}'`);
    }
    const vertices = mapValues(plan.vertices, ({ lifecycle: _, ...vertex }) => vertex);
    assert.equal(digest, digestOf({ ...plan, vertices }), "but for the copies of the lifecycle in the vertices");
  });

  it("is the same for equal JSON values and differs for others", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        const [x, y] = [JSON.parse(JSON.stringify(a)), JSON.parse(JSON.stringify(b))];
        assert.deepEqual(JSON.parse(canonical(x)), x);
        assert.equal(canonical(x) === canonical(y), isEqual(x, y));
      }),
    );
  });
});

function inPhase(one: PipelineInput, desiredPhase: "Running" | "Paused"): PipelineInput {
  return { ...one, lifecycle: { desiredPhase } };
}

/** The same value with the keys of every object in another order. */
function shuffled<T>(value: T, random: Iterator<number>): T {
  if (Array.isArray(value)) return value.map((item) => shuffled(item, random)) as T;
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).map(([key, inner]) => ({ key, inner, rank: random.next().value as number }));
  entries.sort((a, b) => a.rank - b.rank);
  return Object.fromEntries(entries.map(({ key, inner }) => [key, shuffled(inner, random)])) as T;
}

function isEqual(a: unknown, b: unknown): boolean {
  try {
    assert.deepEqual(a, b);
    return true;
  } catch {
    return false;
  }
}
