import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import * as platform from "../../dev/platform/index.ts";
import { keptPorts } from "../../dev/platform/ports.ts";
import { findProcess, findProcesses } from "../../dev/platform/processes.ts";
import { until } from "../../dev/platform/wait.ts";

const run = promisify(execFile);
const module = new URL("../../dev/platform/index.ts", import.meta.url).href;
const names = [
  "etcd",
  "nats",
  "kubernetes-etcd",
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "kwok",
  "process-pods",
];

/** `npm test` puts the tools on PATH. */
function tool(name: string): string {
  const found = (process.env.PATH ?? "").split(delimiter).map((directory) => join(directory, name));
  return found.find((path) => existsSync(path)) ?? assert.fail(`${name} is not on PATH; run the suite by npm test`);
}

/** Every process, of whatever name, that was started for this home. */
const processesOf = (home: string) =>
  readdirSync("/proc").filter((entry) => {
    try {
      return /^\d+$/.test(entry) && readFileSync(`/proc/${entry}/environ`, "utf8").includes(`@${home}\0`);
    } catch {
      return false;
    }
  });

const pids = ({ servers }: platform.PlatformStatus) => Object.fromEntries(servers.map(({ name, pid }) => [name, pid]));

describe("the embedded platform", () => {
  const home = realpathSync(mkdtempSync(join(tmpdir(), "ringfence-platform-")));
  const binaries = ["etcd", "nats-server", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"];
  const tools = Object.fromEntries(binaries.map((name) => [name, tool(name)]));
  const options = { home, tools };
  const kubectl = async (...args: string[]) =>
    (await run(tool("kubectl"), ["--kubeconfig", join(home, "kubeconfig"), ...args], { timeout: 120_000 })).stdout;
  /** Asks as the shell of `ringfence dev env` would. */
  const etcdctl = async (env: Record<string, string>, ...args: string[]) =>
    (await run(tool("etcdctl"), args, { env, timeout: 120_000 })).stdout;

  after(async () => {
    await platform.down({ home });
    assert.deepEqual(processesOf(home), []);
    rmSync(home, { recursive: true });
  });

  it("knows nothing before the first up", async () => {
    const { running, servers } = await platform.status({ home });
    assert.deepEqual({ running, servers }, { running: false, servers: [] });
    assert.throws(() => platform.environment(home), /run `ringfence dev up`/);
    await platform.down({ home });
  });

  it("comes up after an up that was killed on the way", async () => {
    const script = `const { up } = await import(${JSON.stringify(module)}); await up(${JSON.stringify(options)});`;
    const killed = spawn(process.execPath, ["--input-type=module", "--eval", script], { stdio: "ignore" });
    await until({
      what: "etcd's process",
      within: 120,
      attempt: async () => assert(findProcess(home, "etcd") !== undefined),
    });
    killed.kill("SIGKILL");
    await once(killed, "exit");
    const orphan = findProcess(home, "etcd");
    assert(orphan !== undefined, "servers survive the command that started them");

    const status = await platform.up(options);
    assert.equal(status.running, true);
    assert.deepEqual(status.servers.map(({ name }) => name).sort(), [...names].sort());
    assert.equal(pids(status).etcd, orphan);
    for (const port of Object.values(keptPorts(home) ?? {})) assert(port >= 20_000 && port < 32_768, `port ${port}`);
  });

  it("keeps every process when it is up already", async () => {
    const before = pids(await platform.status({ home }));
    assert.deepEqual(pids(await platform.up(options)), before);
  });

  it("answers to the environment it exports, and to nobody without the password", async () => {
    const env = platform.environment(home);
    assert.match(await etcdctl(env, "auth", "status"), /Authentication Status: true/);
    assert.match(await etcdctl(env, "user", "list"), /^root$/m);
    const { ETCDCTL_USER: _, ...anonymous } = env;
    await assert.rejects(etcdctl(anonymous, "get", "/", "--prefix"), /user name is empty/);
    assert.deepEqual(platform.environment(home), env);
    assert(existsSync(join(home, "state")));
  });

  it("lets only the owner read what grants access", async () => {
    const { credentials } = await platform.status({ home });
    const paths = Object.values(credentials);
    for (const path of paths) assert.equal(statSync(path).mode & 0o077, 0, path);
    assert.equal(statSync(join(home, "credentials")).mode & 0o077, 0);
    const secret = readFileSync(credentials.etcd, "utf8");
    for (const name of names) {
      assert(!readFileSync(join(home, "logs", `${name}.log`), "utf8").includes(secret), `the log of ${name}`);
      const pid = findProcess(home, name);
      for (const file of ["cmdline", "environ"])
        assert(!readFileSync(`/proc/${pid}/${file}`, "utf8").includes(secret), `the ${file} of ${name}`);
    }
  });

  it("has four H100 nodes and one without GPUs", async () => {
    const nodes = JSON.parse(await kubectl("get", "nodes", "-o", "json")).items;
    const of = (kind: string) =>
      nodes.filter(({ metadata }: { metadata: { name: string } }) => new RegExp(`^${kind}-\\d$`).test(metadata.name));
    const [cpu, ...others] = of("cpu");
    const gpus = of("gpu");
    assert.deepEqual([others.length, gpus.length], [0, 4]);
    for (const { metadata, spec, status } of gpus) {
      assert.equal(status.capacity["nvidia.com/gpu"], "8");
      assert.equal(status.allocatable["nvidia.com/gpu"], "8");
      assert.equal(metadata.labels["nvidia.com/gpu.product"], "NVIDIA-H100-80GB-HBM3");
      assert.equal(metadata.labels["nvidia.com/gpu.count"], "8");
      assert.deepEqual(spec.taints, [{ key: "nvidia.com/gpu", value: "present", effect: "NoSchedule" }]);
    }
    assert.equal(cpu.status.capacity["nvidia.com/gpu"], undefined);
    assert.equal(cpu.spec.taints, undefined);
  });

  it("runs a Deployment on the GPU pool", async () => {
    const labels = { app: "decode" };
    const container = { name: "main", image: "none", resources: { limits: { "nvidia.com/gpu": "8" } } };
    const deployment = {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "decode" },
      spec: {
        replicas: 4,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            containers: [container],
            nodeSelector: { "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3" },
            tolerations: [{ key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" }],
          },
        },
      },
    };
    const created = run(tool("kubectl"), ["--kubeconfig", join(home, "kubeconfig"), "apply", "-f", "-"]);
    created.child.stdin?.end(JSON.stringify(deployment));
    await created;
    await kubectl("rollout", "status", "deployment/decode", "--timeout=120s");
    const used = await kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}");
    assert.deepEqual(used.split(" ").sort(), ["gpu-0", "gpu-1", "gpu-2", "gpu-3"]);
  });

  it("repairs killed servers on their ports and data", async () => {
    const env = platform.environment(home);
    await etcdctl(env, "put", "/kept", "value");
    const before = await platform.status({ home });
    const victims = ["etcd", "kwok"];
    for (const name of victims) process.kill(pids(before)[name] as number, "SIGKILL");

    const after = await platform.up(options);
    assert.deepEqual(after.endpoints, before.endpoints);
    for (const name of names) assert.equal(pids(after)[name] === pids(before)[name], !victims.includes(name), name);
    assert.match(await etcdctl(env, "get", "/kept"), /value/);
    // kwok's successor must hold the nodes at once, not when its predecessor's leases have run out after 40 s.
    await kubectl("scale", "deployment/decode", "--replicas=0");
    await kubectl("wait", "--for=delete", "pod", "-l", "app=decode", "--timeout=30s");
  });

  it("names who took a server's port", async () => {
    await platform.stopServer({ home, server: "nats" });
    assert.equal((await platform.status({ home })).running, false);
    const port = keptPorts(home)?.nats;
    const thief = createServer().listen(port, "127.0.0.1");
    await once(thief, "listening");
    await assert.rejects(
      platform.up(options),
      new RegExp(`nats: its port ${port} .* is taken.* held by pid ${process.pid} `),
    );
    thief.close();
    await once(thief, "close");
    await platform.startServer({ ...options, server: "nats" });
    assert.equal((await platform.status({ home })).running, true);
  });

  it("shows the end of the log of a server that dies on start", async () => {
    await platform.stopServer({ home, server: "nats" });
    const wrong = { ...tools, "nats-server": tools.etcd as string };
    await assert.rejects(platform.up({ home, tools: wrong }), (error: Error) => {
      assert.match(error.message, /^nats: died on start; the end of .*nats\.log:\n/);
      assert.match(error.message, /flag/);
      return true;
    });
    await platform.up(options);
  });

  it("carries on with another password and another port of etcd", async () => {
    const old = platform.environment(home);
    const access = () => JSON.parse(readFileSync(join(home, "platform.json"), "utf8")).platform.etcd;
    await platform.rotateAdminPassword({ home });
    await assert.rejects(etcdctl(old, "get", "/kept"), /authentication failed/);
    await platform.moveEtcd(options);
    const env = platform.environment(home);
    assert.notEqual(env.ETCDCTL_ENDPOINTS, old.ETCDCTL_ENDPOINTS);
    assert.match(await etcdctl(env, "get", "/kept"), /value/);
    assert.deepEqual(access().endpoints, [env.ETCDCTL_ENDPOINTS]);
    assert.equal(`root:${access().password}`, env.ETCDCTL_USER);
    const before = pids(await platform.status({ home }));
    assert.deepEqual(pids(await platform.up(options)), before);
  });

  it("stops every process, and starts afresh on the same ports after a reset", async () => {
    const ports = keptPorts(home);
    await kubectl(
      "run",
      "process",
      "--image=ringfence.dev/test:1",
      "--command",
      "--",
      "node",
      "-e",
      "setInterval(Date)",
    );
    await kubectl("wait", "--for=condition=Ready", "pod/process", "--timeout=120s");
    assert.notDeepEqual(findProcesses(home, "pod:"), []);

    await platform.down({ home });
    assert.deepEqual(processesOf(home), []);

    await platform.reset({ home });
    assert.deepEqual(keptPorts(home), ports);
    assert.equal(existsSync(join(home, "data")), false);
    await platform.up(options);
    const env = platform.environment(home);
    assert.equal(await etcdctl(env, "get", "/kept"), "");
  });
});
