import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import {
  AppsV1Api,
  BatchV1Api,
  CoreV1Api,
  DiscoveryV1Api,
  KubeConfig,
  PatchStrategy,
  setHeaderOptions,
  type V1Container,
  type V1Pod,
  type V1PodSpec,
} from "@kubernetes/client-node";
import * as platform from "../../dev/platform/index.ts";
import { localAddress } from "../../dev/platform/process-pods.ts";
import { findProcess, isAlive } from "../../dev/platform/processes.ts";
import { until } from "../../dev/platform/wait.ts";

const PROGRAM = "/ringfence/test/platform/pod-process.ts";

describe("process pods", () => {
  const config = new KubeConfig();
  config.loadFromDefault();
  const core = config.makeApiClient(CoreV1Api);
  const apps = config.makeApiClient(AppsV1Api);
  const namespace = `process-pods-${randomBytes(4).toString("hex")}`;
  const directory = mkdtempSync(join(tmpdir(), "ringfence-process-pods-"));
  const home = process.env.RINGFENCE_HOME ?? assert.fail("run the suite by npm test");

  before(async () => {
    await core.createNamespace({ body: { metadata: { name: namespace } } });
    await soon("the namespace's service account", () =>
      core.readNamespacedServiceAccount({ namespace, name: "default" }),
    );
  });
  after(async () => {
    await core.deleteNamespace({ name: namespace });
    await soon("the namespace to be gone", () => assert.rejects(core.readNamespace({ name: namespace }), /404/));
    rmSync(directory, { recursive: true });
  });

  const soon = <T>(what: string, attempt: () => Promise<T>) => until({ what, within: 120, attempt });

  /** A container of the program; its notes go to the file of the pod's name. */
  const container = (pod: string, name: string, rest: Partial<V1Container> & { set?: Record<string, string> } = {}) => {
    const { set = {}, env = [], ...others } = rest;
    const given = { NAME: name, RECORD: join(directory, pod), ...set };
    return {
      name,
      image: "ringfence.dev/test:1",
      command: ["node", PROGRAM],
      env: [...Object.entries(given).map(([key, value]) => ({ name: key, value })), ...env],
      ...others,
    };
  };
  const create = (name: string, spec: V1PodSpec, labels = {}) =>
    core.createNamespacedPod({
      namespace,
      body: { metadata: { name, labels }, spec: { terminationGracePeriodSeconds: 1, ...spec } },
    });
  const read = (name: string) => core.readNamespacedPod({ namespace, name });
  const condition = (pod: V1Pod, type: string) => pod.status?.conditions?.find((each) => each.type === type)?.status;
  const ready = (name: string, wanted = "True") =>
    soon(`${name} to be Ready=${wanted}`, async () => {
      const pod = await read(name);
      assert.equal(condition(pod, "Ready"), wanted, JSON.stringify(pod.status));
      return pod;
    });
  const gone = (name: string) => soon(`${name} to be gone`, () => assert.rejects(read(name), /404/));
  /** Without a readiness probe a container is ready before it listens. */
  const ask = (pod: V1Pod, path: string) =>
    soon(path, () => fetch(`http://${localAddress(pod.status?.podIP ?? "")}:8080${path}`));
  const pidOf = (pod: V1Pod) => Number(pod.status?.containerStatuses?.[0]?.containerID?.replace("process://", ""));
  /** What the containers of a pod have noted: `main began`, … */
  const notes = (pod: string) => {
    const path = join(directory, pod);
    const lines = existsSync(path) ? readFileSync(path, "utf8").trim().split("\n") : [];
    return lines
      .map((line) => line.split(" "))
      .map(([name, what, at]) => ({ what: `${name} ${what}`, at: Number(at) }));
  };
  const noted = (pod: string, ...wanted: string[]) =>
    soon(`the notes of ${pod}`, async () =>
      assert.deepEqual(
        notes(pod).map(({ what }) => what),
        wanted,
      ),
    );

  it("run with the environment and the files of their spec", async () => {
    const all = { namespace };
    await core.createNamespacedSecret({ ...all, body: { metadata: { name: "s" }, stringData: { password: "p4ss" } } });
    await core.createNamespacedConfigMap({
      ...all,
      body: { metadata: { name: "c" }, data: { LEVEL: "high", f: "1" } },
    });
    const spec: V1PodSpec = {
      containers: [
        container("whole", "main", {
          args: ["--from=/etc/c/f", "$(PASSWORD)"],
          envFrom: [{ configMapRef: { name: "c" } }],
          env: [
            { name: "PASSWORD", valueFrom: { secretKeyRef: { name: "s", key: "password" } } },
            { name: "GREETING", value: "$(LEVEL) $$(LEVEL) $(NOTHING)" },
            { name: "POD", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
            { name: "APP", valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } },
            { name: "IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } },
            { name: "FILE", value: "/etc/s/password" },
            { name: "TOKEN", value: "/var/run/secrets/kubernetes.io/serviceaccount/token" },
          ],
          volumeMounts: [
            { name: "s", mountPath: "/etc/s" },
            { name: "c", mountPath: "/etc/c" },
          ],
        }),
      ],
      volumes: [
        { name: "s", secret: { secretName: "s" } },
        { name: "c", configMap: { name: "c" } },
      ],
    };
    await create("whole", spec, { app: "demo" });
    const pod = await ready("whole");
    const { env, argv } = (await (await ask(pod, "/env")).json()) as { env: Record<string, string>; argv: string[] };
    const file = async (path = "") => (await ask(pod, `/file?path=${encodeURIComponent(path)}`)).text();
    assert.deepEqual([env.PASSWORD, env.LEVEL, env.POD, env.APP], ["p4ss", "high", "whole", "demo"]);
    assert.equal(env.GREETING, "high $(LEVEL) $(NOTHING)");
    assert.deepEqual([env.IP, env.RINGFENCE_BIND_ADDRESS], [pod.status?.podIP, localAddress(env.IP ?? "")]);
    assert.equal(await file(env.FILE), "p4ss");
    assert.equal(argv[1], "p4ss");
    assert.equal(await file(argv[0]?.replace("--from=", "")), "1");
    const claims = JSON.parse(Buffer.from((await file(env.TOKEN)).split(".")[1] ?? "", "base64url").toString());
    assert.equal(claims.sub, `system:serviceaccount:${namespace}:default`);
    // Nothing of the platform's own surroundings.
    assert.deepEqual([env.RINGFENCE_PLATFORM, env.KUBECONFIG, env.HOME], [undefined, undefined, undefined]);

    await core.patchNamespacedConfigMap(
      { namespace, name: "c", body: { data: { f: "2" } } },
      setHeaderOptions("Content-Type", PatchStrategy.MergePatch),
    );
    await soon("the file to change", async () => assert.equal(await file(argv[0]?.replace("--from=", "")), "2"));
  });

  it("wait for a Secret that is not there yet, and say so", async () => {
    const env = [{ name: "PASSWORD", valueFrom: { secretKeyRef: { name: "late", key: "password" } } }];
    await create("late", { containers: [container("late", "main", { env })] });
    await soon("the reason", async () => {
      const waiting = (await read("late")).status?.containerStatuses?.[0]?.state?.waiting;
      assert.deepEqual([waiting?.reason, waiting?.message], ["CreateContainerConfigError", 'secret "late" not found']);
    });
    await core.createNamespacedSecret({
      namespace,
      body: { metadata: { name: "late" }, stringData: { password: "x" } },
    });
    await ready("late");
  });

  it("are ready when their probes and gates say so, and start again when they die or fall ill", async () => {
    // Ill is who says so, not who is slow on a busy machine.
    const times = { periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 1 };
    const probe = { httpGet: { path: "/healthy", port: "http" }, ...times };
    const gate = "ringfence.dev/loaded";
    await create("probed", {
      readinessGates: [{ conditionType: gate }],
      terminationGracePeriodSeconds: 1,
      containers: [
        container("probed", "main", {
          ports: [{ name: "http", containerPort: 8080 }],
          startupProbe: { ...probe, failureThreshold: 60 },
          readinessProbe: probe,
          livenessProbe: { ...probe, failureThreshold: 2 },
        }),
      ],
    });
    await soon("its container to be ready", async () =>
      assert.equal(condition(await read("probed"), "ContainersReady"), "True"),
    );
    assert.equal(condition(await read("probed"), "Ready"), "False");
    await core.patchNamespacedPodStatus(
      { namespace, name: "probed", body: { status: { conditions: [{ type: gate, status: "True" }] } } },
      setHeaderOptions("Content-Type", PatchStrategy.StrategicMergePatch),
    );
    const first = await ready("probed");

    await ask(first, "/exit/3");
    const restarted = (times: number) =>
      soon(`restart ${times}`, async () => {
        const pod = await ready("probed");
        const status = pod.status?.containerStatuses?.[0];
        assert.equal(status?.restartCount, times);
        return { pod, last: status?.lastState?.terminated };
      });
    const { pod, last } = await restarted(1);
    assert.deepEqual([last?.exitCode, last?.reason], [3, "Error"]);
    assert.notEqual(pidOf(pod), pidOf(first));

    await ask(pod, "/sicken");
    const ill = await restarted(2);
    // It did not listen to SIGTERM.
    assert.deepEqual([ill.last?.exitCode, ill.last?.signal], [137, 9]);
    assert.match(ill.last?.message ?? "", /statuscode: 503/);
    await core.deleteNamespacedPod({ namespace, name: "probed" });
    await gone("probed");
  });

  it("are asked to end after the preStop sleep, and killed when the grace is over", async () => {
    const preStop = { preStop: { sleep: { seconds: 1 } } };
    await create("patient", {
      terminationGracePeriodSeconds: 20,
      containers: [container("patient", "main", { lifecycle: preStop, set: { END_MS: "300" } })],
    });
    await create("deaf", { terminationGracePeriodSeconds: 2, containers: [container("deaf", "main")] });
    const pids = [pidOf(await ready("patient")), pidOf(await ready("deaf"))];
    await Promise.all([noted("patient", "main began"), noted("deaf", "main began")]);
    const begun = Date.now();
    for (const name of ["patient", "deaf"]) await core.deleteNamespacedPod({ namespace, name });
    await Promise.all([gone("patient"), gone("deaf")]);
    assert.deepEqual(pids.filter(isAlive), []);
    await noted("patient", "main began", "main asked", "main ended");
    await noted("deaf", "main began", "main asked");
    const asked = notes("patient")[1]?.at ?? 0;
    assert(asked - begun >= 1000, `asked after ${asked - begun} ms`);
  });

  it("start native sidecars before, and end them after, the containers that they serve", async () => {
    const set = { END_MS: "100" };
    await create("staffed", {
      terminationGracePeriodSeconds: 60,
      initContainers: [
        container("staffed", "init", {
          command: ["node", "-e", `fs.appendFileSync(${JSON.stringify(join(directory, "staffed"))}, "init ran 0\\n")`],
        }),
        container("staffed", "sidecar", {
          restartPolicy: "Always",
          set: { ...set, PORT: "8081" },
          startupProbe: { httpGet: { path: "/healthy", port: 8081 }, periodSeconds: 1, failureThreshold: 60 },
        }),
      ],
      containers: [container("staffed", "main", { set })],
    });
    await ready("staffed");
    await noted("staffed", "init ran", "sidecar began", "main began");
    await core.deleteNamespacedPod({ namespace, name: "staffed" });
    await gone("staffed");
    const end = ["main asked", "main ended", "sidecar asked", "sidecar ended"];
    await noted("staffed", "init ran", "sidecar began", "main began", ...end);
  });

  it("come to an end as a Job", async () => {
    const batch = config.makeApiClient(BatchV1Api);
    const template = {
      spec: { restartPolicy: "OnFailure", containers: [container("job", "main", { command: ["node", "-e", "0"] })] },
    };
    await batch.createNamespacedJob({ namespace, body: { metadata: { name: "job" }, spec: { template } } });
    await soon("the job", async () => {
      assert.equal((await batch.readNamespacedJob({ namespace, name: "job" })).status?.succeeded, 1);
    });
  });

  it("move to another node when theirs is drained, and their Service with them", async () => {
    const matchLabels = { app: "moving" };
    const template = {
      metadata: { labels: matchLabels },
      spec: {
        nodeSelector: { "nvidia.com/gpu.product": "NVIDIA-L40S" },
        tolerations: [{ key: "nvidia.com/gpu", operator: "Exists" }],
        containers: [
          container("moving", "main", { set: { END_MS: "10" }, ports: [{ name: "http", containerPort: 8080 }] }),
        ],
      },
    };
    await core.createNamespacedService({
      namespace,
      body: {
        metadata: { name: "moving" },
        spec: { selector: matchLabels, ports: [{ port: 80, targetPort: "http" }] },
      },
    });
    const spec = { replicas: 1, selector: { matchLabels }, template };
    await apps.createNamespacedDeployment({ namespace, body: { metadata: { name: "moving" }, spec } });
    const served = () =>
      soon("an endpoint", async () => {
        const slices = await config
          .makeApiClient(DiscoveryV1Api)
          .listNamespacedEndpointSlice({ namespace, labelSelector: "kubernetes.io/service-name=moving" });
        const endpoints = slices.items.flatMap((slice) => slice.endpoints ?? []);
        const [endpoint, ...others] = endpoints.filter(({ conditions }) => conditions?.ready);
        assert(endpoint && others.length === 0);
        return {
          address: endpoint.addresses[0] ?? "",
          pod: endpoint.targetRef?.name ?? "",
          node: endpoint.nodeName ?? "",
        };
      });
    const before = await served();
    await core.patchNode({ name: before.node, body: [{ op: "add", path: "/spec/unschedulable", value: true }] });
    try {
      await core.createNamespacedPodEviction({ namespace, name: before.pod, body: { metadata: { name: before.pod } } });
      await gone(before.pod);
      const after = await served();
      assert.notEqual(after.node, before.node);
      const health = await ask(await read(after.pod), "/healthy");
      assert.deepEqual([health.status, after.address], [200, (await read(after.pod)).status?.podIP]);
    } finally {
      await core.patchNode({ name: before.node, body: [{ op: "remove", path: "/spec/unschedulable" }] });
    }
    await apps.deleteNamespacedDeployment({ namespace, name: "moving" });
    await soon("its pods to be gone", async () => {
      assert.deepEqual((await core.listNamespacedPod({ namespace, labelSelector: "app=moving" })).items, []);
    });
  });

  it("survive a kill of their agent and a restart of the API server", async () => {
    const binaries = ["kube-apiserver"].map((name) => [name, onPath(name)]);
    const options = { home, tools: Object.fromEntries(binaries) };
    const spec = {
      terminationGracePeriodSeconds: 5,
      containers: [container("lasting", "main", { set: { END_MS: "10" } })],
    };
    await create("lasting", spec);
    const before = await ready("lasting");
    await create("doomed", { ...spec, containers: [container("doomed", "main")] });
    const doomed = pidOf(await ready("doomed"));

    process.kill(findProcess(home, "process-pods") ?? assert.fail("no agent"), "SIGKILL");
    await soon("the agent's end", async () => assert.equal(findProcess(home, "process-pods"), undefined));
    // Removed while no agent looks, its process must not live on.
    await core.deleteNamespacedPod({ namespace, name: "doomed", gracePeriodSeconds: 0 });
    assert(isAlive(doomed));
    await platform.startServer({ ...options, server: "process-pods" });
    await soon("the end of a pod's process that has no pod", async () => assert(!isAlive(doomed)));

    await platform.stopServer({ home, server: "kube-apiserver" });
    await platform.startServer({ ...options, server: "kube-apiserver" });
    const after = await ready("lasting");
    assert.deepEqual([pidOf(after), after.status?.podIP], [pidOf(before), before.status?.podIP]);
    assert.equal(after.status?.containerStatuses?.[0]?.restartCount, 0);

    // Nobody has told it of the process' end: it is no child of its own.
    process.kill(pidOf(after), "SIGKILL");
    await soon("a restart", async () => {
      const pod = await ready("lasting");
      assert.equal(pod.status?.containerStatuses?.[0]?.restartCount, 1);
    });
    await noted("lasting", "main began", "main began");
    await core.deleteNamespacedPod({ namespace, name: "lasting" });
    await gone("lasting");
    await noted("lasting", "main began", "main began", "main asked", "main ended");
  });
});

/** `npm test` puts the tools on PATH. */
function onPath(name: string): string {
  const found = (process.env.PATH ?? "").split(delimiter).map((directory) => join(directory, name));
  return found.find((path) => existsSync(path)) ?? assert.fail(`${name} is not on PATH; run the suite by npm test`);
}
