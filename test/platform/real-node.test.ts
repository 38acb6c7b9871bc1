/** A real node: the dev stack's pipeline `echo` in containers, on a platform of its own. Runs only when asked for, where the machine allows it. */
import assert from "node:assert/strict";
import { existsSync, globSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { CoreV1Api, KubeConfig, type V1Pod, Watch } from "@kubernetes/client-node";
import { parse } from "yaml";
import { ask } from "../../cli/request.ts";
import { openStores, type Stores } from "../../components/tenancy/access.ts";
import { requireInside } from "../../components/tenancy/inside.ts";
import type { HeldClaim } from "../../components/tenancy/registry.ts";
import { resolveAccess } from "../../components/tenancy/resolve-access.ts";
import { assertNodePossible, down, environment, status, up } from "../../dev/platform/index.ts";
import { cgroupOf } from "../../dev/platform/node/cgroups.ts";
import { findProcess, findProcesses } from "../../dev/platform/processes.ts";
import { until } from "../../dev/platform/wait.ts";
import { ensureTools, nodeCatalog, pathsOf, toolPath } from "../../dev/tools/index.ts";
import { Project, ROOT, STACK } from "../e2e/scene.ts";
import { skip } from "../support/skip.ts";

it("a real node is refused in one line where it cannot be", () => {
  // Whatever this machine lacks is said first.
  assert.throws(
    () => assertNodePossible("/run/ringfence"),
    /^Error: --real-node: found .+; expected .+, or run without it: .+$/,
  );
});

describe("a real node", () => {
  const home = realpathSync(mkdtempSync(join(tmpdir(), "ringfence-real-node-")));
  const untouched = traces(home);
  const { RINGFENCE_PLATFORM } = process.env;
  let tools: Record<string, string>;
  let realNode: Record<string, string>;
  let core: CoreV1Api;
  let config: KubeConfig;
  let project: Project;
  let stores: Stores;
  let held: HeldClaim;
  let namespace: string;

  before(async function () {
    if (!process.env.RINGFENCE_REAL_NODE)
      skip(this, "it starts a container runtime as root, only when asked for: run `npm run test:real-node`");
    try {
      assertNodePossible(home);
    } catch (error) {
      skip(this, (error as Error).message);
    }
    // A cold build of them takes a quarter of an hour.
    this.timeout("40m");
    const found = await ensureTools({ log: console.log });
    tools = pathsOf(found);
    realNode = pathsOf(await ensureTools({ catalog: nodeCatalog(), log: console.log }));
    await up({ home, tools, realNode });
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      ...environment(home),
      PATH: [...toolPath(found), dirname(process.execPath), process.env.PATH].join(delimiter),
    };
    process.env.RINGFENCE_PLATFORM = env.RINGFENCE_PLATFORM;
    stores = openStores(resolveAccess("platform", () => undefined));
    config = new KubeConfig();
    config.loadFromFile(env.KUBECONFIG ?? "");
    core = config.makeApiClient(CoreV1Api);
    const { echo } = parse(readFileSync(join(ROOT, `Pulumi.${STACK}.yaml`), "utf8")).config["ringfence:pipelines"];
    project = new Project(env, { pools: {}, pipelines: { echo } });
    await project.pulumi("stack", "init");
    await project.pulumi("up", "--yes", "--skip-preview");
    held = await requireInside(stores, `${project.realm}/echo`);
    namespace = held.claim.intents.namespace;
  });
  after(async () => {
    await stores?.close();
    if (RINGFENCE_PLATFORM !== undefined) process.env.RINGFENCE_PLATFORM = RINGFENCE_PLATFORM;
    await down({ home });
    for (const directory of [project?.directory ?? home, home]) rmSync(directory, { recursive: true, force: true });
  });

  const soon = <T>(what: string, attempt: () => Promise<T>) => until({ what, within: 120, attempt });
  const pods = async () => (await core.listNamespacedPod({ namespace })).items;
  const bothReady = () =>
    soon("two ready pods on the node", async () => {
      const found = (await pods()).filter(({ metadata }) => !metadata?.deletionTimestamp);
      assert.deepEqual(found.map(readyOn), ["real-0", "real-0"], JSON.stringify(found.map(({ status }) => status)));
      return found;
    });
  const answered = async (body: unknown) =>
    (await ask(stores, held, "echo", body)).parts[0] as { pod: string; echo: unknown };

  it("runs the demo's pods as containers, which answer requests", async () => {
    const now = await status({ home });
    assert.deepEqual(
      now.servers.filter(({ name }) => name === "real-node").map(({ running, endpoint }) => [running, endpoint]),
      [[true, "node/real-0"]],
    );
    const found = await bothReady();
    for (const { status } of found) {
      assert.match(status?.containerStatuses?.[0]?.containerID ?? "", /^containerd:\/\//);
      assert.match(status?.podIP ?? "", /^10\.66\.0\./);
    }
    const { pod } = await answered({ hello: "ring" });
    assert(
      found.some(({ metadata }) => metadata?.name === pod),
      pod,
    );
    const { stdout } = await project.ringfence(0, "request", `${project.realm}/echo`, '{"hello":"ring"}');
    assert.deepEqual(JSON.parse(stdout).echo, { hello: "ring" });
  });

  it("drains a pod that is deleted: every request is answered, and its worker ends with 0", async () => {
    const [{ metadata: { name = "" } = {} } = {}] = await bothReady();
    let last: V1Pod | undefined;
    let gone = false;
    const watching = await new Watch(config).watch(
      `/api/v1/namespaces/${namespace}/pods`,
      { fieldSelector: `metadata.name=${name}` },
      (type, pod: V1Pod) => {
        last = pod;
        gone ||= type === "DELETED";
      },
      () => {},
    );
    try {
      await core.deleteNamespacedPod({ namespace, name });
      // Another client each time; none of them may fail.
      for (let count = 0; !gone || count < 5; count++) assert.equal((await answered(count)).echo, count);
    } finally {
      watching.abort();
    }
    assert.equal(last?.status?.containerStatuses?.[0]?.state?.terminated?.exitCode, 0, JSON.stringify(last?.status));
    await bothReady();
  });

  it("comes back after its process was killed, with its pods", async () => {
    const containers = (pods: V1Pod[]) => pods.map(({ status }) => status?.containerStatuses?.[0]?.containerID);
    const killed = containers(await bothReady());
    process.kill(findProcess(home, "real-node") ?? assert.fail("no node"), "SIGKILL");
    await soon("the end of all of it", async () => assert.deepEqual(findProcesses(home, "real-node"), []));
    await up({ home, tools, realNode });
    await soon("other containers", async () => {
      const started = containers(await bothReady());
      assert(started.every((id) => !killed.includes(id)));
    });
    await soon("an answer", () => answered("again"));
  });

  it("leaves nothing behind, even if everything was killed before `down`", async () => {
    for (const { pid } of findProcesses(home, "")) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It went with another one.
      }
    }
    await down({ home });
    assert.deepEqual(traces(home), untouched);
    assert(!existsSync(join(home, "data", "real-node")));
  });
});

const readyOn = ({ spec, status }: V1Pod) =>
  status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") && spec?.nodeName;

/** What a node could leave on this machine, beside what others have there at the same time. */
function traces(home: string) {
  const pids = readdirSync("/proc").filter((entry) => /^\d+$/.test(entry));
  const commands = pids.flatMap((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      return command.includes(home) && !command.includes("mocha") ? [command] : [];
    } catch {
      return []; // gone meanwhile
    }
  });
  return {
    processes: findProcesses(home, "").map(({ name }) => name),
    commands,
    mounts: readFileSync("/proc/mounts", "utf8")
      .split("\n")
      .filter((line) => line.includes(home)),
    links: readdirSync("/sys/class/net").filter((name) => name.startsWith("rf-")),
    groups: globSync(`/sys/fs/cgroup/{,*/}${cgroupOf(home).slice(1)}`),
    pluginCache: existsSync("/var/lib/cni"),
    sysctl: readFileSync("/proc/sys/vm/overcommit_memory", "utf8"),
  };
}
