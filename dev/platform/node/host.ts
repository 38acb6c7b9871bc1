/**
 * The node's process: `node host.ts HOME TOOLS`. It holds the machine, starts containerd and the kubelet inside, and leads their
 * connections to the platform's servers. When it ends, however that may be, the machine ends.
 */
import type { ChildProcess } from "node:child_process";
import { createServer } from "node:http";
import { dirname } from "node:path";
import { write } from "../files.ts";
import { apiEndpoint, call } from "../kubernetes.ts";
import type { Api } from "../pods/types.ts";
import { keptPorts } from "../ports.ts";
import { markOf } from "../processes.ts";
import { until } from "../wait.ts";
import { admitPods } from "./admission.ts";
import { cgroupOf, makeCgroups } from "./cgroups.ts";
import { SOCKET } from "./cni.ts";
import {
  CONTAINERD_SOCKET,
  KUBERNETES_IP,
  LABEL,
  NODE,
  NODE_IP,
  type NodeTools,
  nodeLayout,
  podNetwork,
  serviceNetwork,
  writeNodeFiles,
} from "./config.ts";
import { Forwarder } from "./forward.ts";
import { DEMO_IMAGE, ensureImage } from "./image.ts";
import { Machine } from "./machine.ts";

/** The machine's own network namespace, as it sees it itself. */
const OWN = "/proc/1/ns/net";

const begun = Date.now();
const log = (line: string) => process.stderr.write(`${new Date().toISOString()} ${line}\n`);

const [, , home = "", given = "{}"] = process.argv;
const tools = JSON.parse(given) as NodeTools;
const ports = keptPorts(home);
if (!ports) throw new Error(`${home}: no platform here`);
const api: Api = (method, path, body, contentType) =>
  call({ home, endpoint: apiEndpoint(ports), method, path, body, contentType });
const files = nodeLayout(home);

const PATH = [tools.containerd, tools.runc]
  .map(dirname)
  .concat(process.env.PATH ?? "")
  .join(":");
const machine = await Machine.start({ PATH, HOME: "/root", ...markOf(home, "real-node/machine") });
let ending = false;
process.on("SIGTERM", async () => {
  ending = true;
  await machine.stop();
  process.exit(0);
});
const over = (what: string) => {
  if (ending) return;
  log(`${what}; see ${files.log("containerd")} and ${files.log("kubelet")}`);
  process.exit(1);
};
void machine.ended.then(() => over("the machine has ended"));
const watch = (name: string, child: ChildProcess) =>
  child.once("exit", (code, signal) => over(`${name} has ended with ${code ?? signal}`));

makeCgroups(home);
const started = writeNodeFiles(home, tools, cgroupOf(home));
await network();
watch(
  "containerd",
  machine.spawn([tools.containerd, "--config", started.containerdConfig], { log: files.log("containerd") }),
);
const ctr = (...args: string[]) =>
  machine.run([tools.ctr, "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io", ...args]);
await until({ what: "containerd", within: 60, attempt: () => ctr("version") });
await ctr("images", "import", await ensureImage(files.image));
log(`containerd runs and has ${DEMO_IMAGE}`);

const kubelet = [
  tools.kubelet,
  `--config=${started.kubeletConfig}`,
  `--kubeconfig=${started.kubeconfig}`,
  `--root-dir=${files.kubelet}`,
  `--cert-dir=${files.kubelet}/pki`,
  `--hostname-override=${NODE}`,
  `--node-ip=${NODE_IP}`,
  `--node-labels=${LABEL}=true`,
];
watch("kubelet", machine.spawn(kubelet, { log: files.log("kubelet") }));
await until({ what: `node ${NODE}`, within: 120, attempt: assertReady });
await admitPods(api, files.tls);
write(files.ready, String(process.pid));
log(`node ${NODE} is ready`);

/** Brings up the machine's loopback and its bridges, and leads to the API server from it. */
async function network(): Promise<void> {
  const forwarder = new Forwarder(machine);
  const plugin = (name: keyof NodeTools, config: object, netns: string, id: string) =>
    machine.run(["sh", "-c", 'printf %s "$CONFIG" | "$PLUGIN"'], {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: id,
      CNI_NETNS: netns,
      // It may be the plugin's own, too.
      CNI_NETNS_OVERRIDE: "1",
      CNI_IFNAME: name === "loopback" ? "lo" : `eth-${id}`,
      CNI_PATH: started.plugins,
      CONFIG: JSON.stringify(config),
      PLUGIN: tools[name],
    });
  await plugin("loopback", { cniVersion: "1.0.0", name: "lo", type: "loopback" }, OWN, "lo");
  // A bridge has its address, and so the node has its own, from the first one that is connected to it on.
  const anchor = "/run/anchor";
  await machine.run(["sh", "-c", `touch ${anchor} && unshare --net=${anchor} true`]);
  await plugin("bridge", podNetwork(), anchor, "pods");
  await plugin("bridge", { ...serviceNetwork(), isDefaultGateway: false }, anchor, "svc");
  const { etcd, nats, "kube-apiserver": kubernetes } = ports as NonNullable<typeof ports>;
  const local = (port: number) => ({ host: "127.0.0.1", port, to: port });
  await forwarder.open(OWN, [local(kubernetes), { host: KUBERNETES_IP, port: 443, to: kubernetes }]);

  const server = createServer(async ({ url, method }, response) => {
    const netns = new URL(url ?? "/", "http://node").searchParams.get("netns") ?? "";
    try {
      if (method === "PUT") await forwarder.open(netns, [etcd, nats, kubernetes].map(local));
      else forwarder.close(netns);
      response.end();
    } catch (error) {
      response.writeHead(500).end((error as Error).message);
    }
  });
  await new Promise<void>((resolve) => server.listen(machine.path(SOCKET), resolve));
}

interface Condition {
  type: string;
  status: string;
  message?: string;
  lastHeartbeatTime: string;
}

/** @throws unless the kubelet says so now: the cluster may remember the node from an earlier life */
async function assertReady(): Promise<void> {
  const { status } = await api<{ status: { conditions?: Condition[] } }>("GET", `/api/v1/nodes/${NODE}`);
  const ready = status.conditions?.find(({ type }) => type === "Ready");
  // Kubernetes' times are full seconds.
  const fresh = Date.parse(ready?.lastHeartbeatTime ?? "") >= begun - 1000;
  if (ready?.status !== "True" || !fresh) throw new Error(ready?.message ?? "not Ready");
}
