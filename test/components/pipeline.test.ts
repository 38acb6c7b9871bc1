import assert from "node:assert/strict";
import * as pulumi from "@pulumi/pulumi";
import { Pipeline } from "../../components/index.ts";
import { type Fields, type Registered, run } from "./engine.ts";
import { chat, platformNamed, vertices } from "./scene.ts";

describe("a pipeline's children", () => {
  let all: Map<string, Registered>;
  const found = (key: string): Registered => {
    const resource = all.get(key);
    assert.ok(resource, `no ${key} among ${[...all.keys()].join(", ")}`);
    return resource;
  };
  before(async () => {
    all = await run(() => chat({ realm: "dev" }));
  });

  it("are these, under these parents, beside what closes and limits its namespace", () => {
    const closes = /:(NetworkPolicy|ResourceQuota|LimitRange)$/;
    const inside = [...all.values()].filter(({ type }) => !closes.test(type));
    assert.deepEqual(inside.map(({ type, name, parent }) => `${type} ${parent ?? ""}/${name}`).sort(), [
      "kubernetes:apps/v1:Deployment chat.web/chat.web-deployment",
      "kubernetes:apps/v1:Deployment chat.worker/chat.worker-deployment",
      "kubernetes:core/v1:Namespace chat/chat-namespace",
      "kubernetes:core/v1:Secret chat/chat-etcd-secret",
      "kubernetes:core/v1:Secret chat/chat.web-nats-secret",
      "kubernetes:core/v1:Secret chat/chat.worker-nats-secret",
      "kubernetes:core/v1:Service chat.web/chat.web-service",
      "kubernetes:policy/v1:PodDisruptionBudget chat.web/chat.web-disruption",
      "kubernetes:policy/v1:PodDisruptionBudget chat.worker/chat.worker-disruption",
      "pulumi-nodejs:dynamic/ringfence:EtcdPrefix chat/chat-etcd",
      "pulumi-nodejs:dynamic/ringfence:Ledger platform/platform-ledger",
      "pulumi-nodejs:dynamic/ringfence:NatsAccount chat/chat-nats",
      "pulumi-nodejs:dynamic/ringfence:TenantClaim chat/chat-claim",
      "pulumi:providers:kubernetes platform/platform-kubernetes",
      "ringfence:index:GpuPool /h100",
      "ringfence:index:Pipeline /chat",
      "ringfence:index:Platform /platform",
      "ringfence:index:Tenant chat/chat",
      "ringfence:index:Vertex chat/chat.web",
      "ringfence:index:Vertex chat/chat.worker",
    ]);
  });

  it("come after what they need, and so are destroyed before it", () => {
    const needs = (key: string, ...names: string[]) => {
      for (const name of names) assert.ok(found(key).dependencies.includes(name), `${key} does not wait for ${name}`);
    };
    needs("TenantClaim chat-claim", "platform-ledger");
    needs("EtcdPrefix chat-etcd", "chat-claim");
    needs("NatsAccount chat-nats", "chat-claim");
    needs("Namespace chat-namespace", "chat-claim", "chat-etcd", "chat-nats");
    needs("Deployment chat.worker-deployment", "chat-etcd-secret", "chat.worker-nats-secret");
    const inNamespace = [...all].filter(([, { inputs }]) => inputs.metadata?.namespace !== undefined);
    assert.ok(inNamespace.length >= 8, `${inNamespace.length} objects are in the namespace`);
    for (const [key] of inNamespace) needs(key, "chat-namespace");
  });

  it("go to the platform's cluster when they are Kubernetes objects", () => {
    for (const [key, { type, provider }] of all) {
      assert.equal(provider || undefined, type.startsWith("kubernetes:") ? "platform-kubernetes" : undefined, key);
    }
  });

  it("claim the realm's name and say where", () => {
    const { __provider, ...inputs } = found("TenantClaim chat-claim").inputs;
    const where = { project: "proj", stack: "test", resource: "chat" };
    const claimed = { platform: "platform", owner: "platform-ledger-id", logicalName: "dev/chat" };
    assert.deepEqual(inputs, { ...claimed, ...where, dynamoNamespace: "chat" });
    const { users, generation } = found("NatsAccount chat-nats").inputs;
    assert.deepEqual(users, ["web", "worker", "_console"]);
    assert.equal(generation, "gen-of-dev/chat");
  });

  it("ask for the claim as the args say, of which nothing rolls the vertices", async () => {
    const asked = { dynamoNamespace: "legacy-chat", onResidue: "adopt", adopt: true } as const;
    const other = await run(() => chat({ realm: "dev", ...asked }));
    const { dynamoNamespace, onResidue, adopt } = other.get("TenantClaim chat-claim")?.inputs ?? {};
    assert.deepEqual({ dynamoNamespace, onResidue, adopt }, asked);
    const digests = [all, other].map(
      (all) => all.get("Deployment chat.worker-deployment")?.inputs.metadata.annotations["ringfence.dev/plan-digest"],
    );
    assert.equal(digests[0], digests[1]);
  });

  it("run a vertex with GPUs on its pool, as it was declared", () => {
    const { metadata, spec } = found("Deployment chat.worker-deployment").inputs;
    const labels = {
      "ringfence.dev/pipeline": "chat",
      "ringfence.dev/vertex": "worker",
      "ringfence.dev/generation": "gen-of-dev/chat",
    };
    const { "ringfence.dev/plan-digest": digest, ...annotations } = metadata.annotations;
    assert.match(digest, /^[0-9a-f]{16}$/);
    assert.deepEqual(annotations, { "ringfence.dev/phase": "Running" });
    assert.deepEqual({ ...metadata, annotations }, { name: "worker", namespace: "chat-gen-of-d", labels, annotations });
    assert.equal(spec.replicas, 3);
    assert.deepEqual(spec.strategy, { rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } });
    for (const [key, value] of Object.entries(spec.selector.matchLabels)) {
      assert.equal(spec.template.metadata.labels[key], value);
    }
    const pod = spec.template.spec;
    assert.deepEqual(pod.nodeSelector, { "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3" });
    assert.deepEqual(pod.tolerations, [{ key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" }]);
    assert.equal(pod.automountServiceAccountToken, false);
    assert.equal(pod.terminationGracePeriodSeconds, 45);
    const [container, ...others] = pod.containers;
    assert.deepEqual(others, []);
    assert.deepEqual(container.resources, { limits: { "nvidia.com/gpu": "2" } });
    assert.deepEqual([container.image, container.command, container.args], ["vllm:1", ["python3"], ["-m", "vllm"]]);
  });

  it("leave a vertex without GPUs where there is room", () => {
    const pod = found("Deployment chat.web-deployment").inputs.spec.template.spec;
    assert.equal(pod.nodeSelector, undefined);
    assert.equal(pod.tolerations, undefined);
    assert.deepEqual(pod.containers[0].resources, { limits: {} });
  });

  it("tell a vertex how to reach its tenant's stores from inside the cluster", () => {
    const pod = found("Deployment chat.web-deployment").inputs.spec.template.spec;
    assert.deepEqual(pod.containers[0].env, [
      { name: "RINGFENCE_PIPELINE", value: "chat" },
      { name: "RINGFENCE_VERTEX", value: "web" },
      { name: "RINGFENCE_LEASE_TTL", value: "10" },
      { name: "RINGFENCE_PROPAGATION_SECONDS", value: "5" },
      { name: "RINGFENCE_GRACE_SECONDS", value: "30" },
      { name: "RINGFENCE_ROLLOUT", valueFrom: { fieldRef: { fieldPath: "metadata.labels['pod-template-hash']" } } },
      { name: "RINGFENCE_ETCD_PREFIX", value: "/p/" },
      { name: "ETCD_ENDPOINTS", value: "http://etcd:2379,http://etcd-2:2379" },
      { name: "ETCD_AUTH_USERNAME", valueFrom: { secretKeyRef: { name: "etcd", key: "username" } } },
      { name: "ETCD_AUTH_PASSWORD", valueFrom: { secretKeyRef: { name: "etcd", key: "password" } } },
      { name: "NATS_SERVER", value: "nats://nats:4222" },
      { name: "NATS_AUTH_CREDENTIALS_FILE", value: "/var/run/ringfence/nats/nats.creds" },
      { name: "LOG", value: "info" },
    ]);
    assert.deepEqual(pod.volumes, [{ name: "nats", secret: { secretName: "nats-web" } }]);
    assert.deepEqual(pod.containers[0].volumeMounts, [
      { name: "nats", mountPath: "/var/run/ringfence/nats", readOnly: true },
    ]);
  });

  it("are given what they say of themselves: probes, processor and memory, shared memory, time to end", async () => {
    const probe = { path: "/ready", port: "http", periodSeconds: 5 };
    const worker = {
      image: "i",
      ports: { http: 80 },
      probes: { readiness: probe },
      resources: { requests: { cpu: "500m", memory: "1Gi" }, limits: { memory: "2Gi" } },
      sharedMemoryBytes: 1024,
      fsGroup: 7,
      availability: { shutdownGraceSeconds: 10 },
      preStopSleepSeconds: 3,
      terminationGracePeriodSeconds: 29,
    };
    const other = await run(() => chat({ vertices: { worker } }));
    const pod = other.get("Deployment chat.worker-deployment")?.inputs.spec.template.spec;
    const [container] = pod.containers;
    assert.deepEqual(container.readinessProbe, { httpGet: { path: "/ready", port: "http" }, periodSeconds: 5 });
    assert.deepEqual([container.startupProbe, container.livenessProbe], [undefined, undefined]);
    assert.deepEqual(container.resources, { requests: { cpu: "500m", memory: "1Gi" }, limits: { memory: "2Gi" } });
    assert.deepEqual(container.lifecycle, { preStop: { sleep: { seconds: 3 } } });
    assert.equal(pod.terminationGracePeriodSeconds, 29);
    assert.deepEqual(pod.securityContext, { fsGroup: 7 });
    assert.deepEqual(pod.volumes.at(-1), {
      name: "shared-memory",
      emptyDir: { medium: "Memory", sizeLimit: "1024" },
    });
    assert.deepEqual(container.volumeMounts.at(-1), { name: "shared-memory", mountPath: "/dev/shm" });
  });

  it("have a Service each, ports or not, when Kubernetes is how they find each other", async () => {
    const other = await run(() => chat({ planes: "native" }));
    const { spec, metadata } = other.get("Service chat.worker-service")?.inputs ?? assert.fail("no Service");
    assert.equal(spec.clusterIP, "None");
    assert.equal(metadata.labels["nvidia.com/dynamo-discovery-enabled"], "true");
  });

  it("have a Service only with ports, and all a disruption budget", () => {
    assert.equal(all.has("Service chat.worker-service"), false);
    const { spec } = found("Service chat.web-service").inputs;
    assert.deepEqual(spec.ports, [{ name: "http", port: 8000, targetPort: "http" }]);
    assert.deepEqual(spec.selector, { "ringfence.dev/pipeline": "chat", "ringfence.dev/vertex": "web" });
    assert.deepEqual(found("Deployment chat.web-deployment").inputs.spec.template.spec.containers[0].ports, [
      { name: "http", containerPort: 8000 },
    ]);
    assert.deepEqual(found("PodDisruptionBudget chat.worker-disruption").inputs.spec, {
      maxUnavailable: 1,
      unhealthyPodEvictionPolicy: "AlwaysAllow",
      selector: { matchLabels: { "ringfence.dev/pipeline": "chat", "ringfence.dev/vertex": "worker" } },
    });
  });

  it("are complete: every component registers its outputs", () => {
    for (const [key, { type, outputs }] of all) {
      if (type.startsWith("ringfence:")) assert.ok(outputs, `${key} registered no outputs`);
    }
    assert.deepEqual(found("Pipeline chat").outputs, {
      phase: "Running",
      url: "http://web.chat-gen-of-d.svc:8000",
      namespace: "chat-gen-of-d",
      gpus: 6,
      vertices: { web: { wanted: 1, ready: 1 }, worker: { wanted: 3, ready: 1 } },
    });
  });
});

describe("a paused pipeline", () => {
  it("differs from a running one in its replicas, its phase and its digest only", async () => {
    const running = await run(() => chat());
    const paused = await run(() => chat({ lifecycle: { desiredPhase: "Paused" } }));
    assert.deepEqual([...paused.keys()].sort(), [...running.keys()].sort());
    for (const [key, resource] of paused) {
      const before = running.get(key)?.inputs as Fields;
      const { inputs } = resource;
      if (key.startsWith("Deployment")) {
        assert.equal(inputs.spec.replicas, 0);
        inputs.spec.replicas = before.spec.replicas;
      }
      const annotations = inputs.metadata?.annotations;
      if (annotations?.["ringfence.dev/phase"]) {
        assert.equal(annotations["ringfence.dev/phase"], "Paused");
        assert.notEqual(
          annotations["ringfence.dev/plan-digest"],
          before.metadata.annotations["ringfence.dev/plan-digest"],
        );
        inputs.metadata.annotations = before.metadata.annotations;
      }
      assert.deepEqual(inputs, before, key);
    }
    assert.equal(paused.get("Pipeline chat")?.outputs?.gpus, 0);
  });
});

describe("a pipeline's options", () => {
  const withOptions = (opts: pulumi.ComponentResourceOptions) =>
    run(() => new Pipeline("chat", { platform: platformNamed("platform"), vertices: vertices() }, opts));

  it("reach everything in it: protect", async () => {
    const all = await withOptions({ protect: true });
    for (const [key, { protect, name }] of all) assert.equal(protect, name.startsWith("chat"), key);
  });

  it("give it a parent and former names", async () => {
    class Team extends pulumi.ComponentResource {
      constructor() {
        super("acme:index:Team", "team");
      }
    }
    const all = await run(() => {
      const opts = { parent: new Team(), aliases: [{ name: "talk" }] };
      new Pipeline("chat", { platform: platformNamed("platform"), vertices: vertices() }, opts);
    });
    assert.equal(all.get("Pipeline chat")?.parent, "team");
    assert.deepEqual(all.get("Pipeline chat")?.aliases, ["talk"]);
  });

  for (const option of [{ retainOnDelete: true }, { deletedWith: {} as pulumi.Resource }]) {
    const [name] = Object.keys(option);
    it(`must not skip the release: ${name}`, async () => {
      await assert.rejects(
        withOptions(option),
        (error: unknown) =>
          pulumi.ResourceError.isInstance(error) && error.message.startsWith(`chat: found the option '${name}'`),
      );
    });
  }
});

describe("several in one program", () => {
  it("two platforms hold a pipeline each, with ledgers and clusters of their own", async () => {
    const all = await run(() => {
      const web = { web: { image: "i" } };
      new Pipeline("chat", { platform: platformNamed("eu"), vertices: web });
      new Pipeline("talk", { platform: platformNamed("us"), vertices: web });
    });
    for (const [pipeline, platform] of [
      ["chat", "eu"],
      ["talk", "us"],
    ] as const) {
      const { inputs } = all.get(`TenantClaim ${pipeline}-claim`) as Registered;
      assert.equal(inputs.platform, platform);
      assert.equal(inputs.owner, `${platform}-ledger-id`);
      assert.equal(all.get(`Deployment ${pipeline}.web-deployment`)?.provider, `${platform}-kubernetes`);
      assert.equal(all.get(`Namespace ${pipeline}-namespace`)?.provider, `${platform}-kubernetes`);
    }
  });

  it("names that join to the same text stay apart", async () => {
    const all = await run(() => {
      const platform = platformNamed("platform");
      new Pipeline("chat", { platform, vertices: { "v2-web": { image: "i" } } });
      new Pipeline("chat-v2", { platform, vertices: { web: { image: "i" } } });
    });
    assert.equal([...all.keys()].filter((key) => key.startsWith("Deployment")).length, 2);
  });
});
