/** How containerd, its network and the kubelet are set up. Paths are the machine's; what is not under the home is private to it. */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse, stringify } from "yaml";
import { read, write } from "../files.ts";
import { layout } from "../layout.ts";
import { PAUSE_IMAGE } from "./image.ts";

/** Kubernetes' name of the node. */
export const NODE = "real-0";

/** What sends pods to the real node, and keeps others off it. */
export const LABEL = "ringfence.dev/real-node";

export const CONTAINERD_SOCKET = "/run/containerd/containerd.sock";

/** Pods' addresses; process pods have 10.64.…, kwok's 10.244.…. The first is the bridge's, and so the node's. */
const POD_SUBNET = "10.66.0.0/24";
export const NODE_IP = "10.66.0.1";

/** The address of the Service `kubernetes`, for which the API server's certificate stands. */
export const KUBERNETES_IP = "10.96.0.1";

const TOOLS = [
  "containerd",
  "containerd-shim-runc-v2",
  "ctr",
  "runc",
  "kubelet",
  "bridge",
  "host-local",
  "loopback",
] as const;

/** The path of each program. */
export type NodeTools = Record<(typeof TOOLS)[number], string>;

/** @throws when one is not given */
export function nodeTools(paths: Record<string, string>): NodeTools {
  const missing = TOOLS.filter((name) => !paths[name]);
  if (missing.length > 0) throw new Error(`real-node: no binary given for ${missing.join(", ")}`);
  return paths as NodeTools;
}

/** Where everything of the node lies in the home. */
export function nodeLayout(home: string) {
  const data = layout(home).dataOf("real-node");
  return {
    data,
    /** That the cluster may know the node, until it was seen to have forgotten it. */
    left: join(layout(home).data, "real-node-left"),
    /** That a node was asked for, and its tools. */
    asked: join(data, "asked.json"),
    /** Has the pid of the node's process once it is ready. */
    ready: join(data, "ready"),
    image: join(data, "image"),
    /** What containerd and the kubelet hold: nothing of it outlives the machine. */
    containerd: join(data, "containerd"),
    kubelet: join(data, "kubelet"),
    cni: join(data, "cni"),
    config: join(data, "config"),
    tls: join(data, "tls"),
    podLogs: join(home, "logs", "real-node-pods"),
    log: (part: string) => join(home, "logs", `real-node-${part}.log`),
  };
}

/** A module of this room, as words of a shell's command. */
const ours = (module: string) =>
  [process.execPath, fileURLToPath(new URL(`./${module}${extname(import.meta.url)}`, import.meta.url))]
    .map(quoted)
    .join(" ");

function writeScript(path: string, lines: string): void {
  write(path, `#!/bin/sh\n${lines}\n`);
  chmodSync(path, 0o700);
}

function writePlugins(directory: string, tools: NodeTools): void {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  for (const name of ["bridge", "host-local", "loopback"] as const) symlinkSync(tools[name], join(directory, name));
  writeScript(join(directory, "ringfence-ports"), `exec ${ours("cni")}`);
}

/** The runc to use: behind a script of ours, if it was built without libseccomp. */
function writeRuntime(directory: string, runc: string): string {
  if (execFileSync(runc, ["--version"], { encoding: "utf8" }).includes("libseccomp")) return runc;
  const script = join(directory, "runc");
  writeScript(script, `case " $* " in *" create "*) ${ours("bundle")} "$@" || exit;; esac\nexec ${quoted(runc)} "$@"`);
  return script;
}

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

/** The network of a CNI plugin, for `name`'s bridge. */
export const bridge = (name: string, subnet: string) => ({
  cniVersion: "1.0.0",
  name,
  type: "bridge",
  bridge: name,
  isGateway: true,
  isDefaultGateway: name === POD_BRIDGE,
  ipam: { type: "host-local", dataDir: "/run/cni-networks", ranges: [[{ subnet }]] },
});

export const POD_BRIDGE = "rf-pods";
export const podNetwork = () => bridge(POD_BRIDGE, POD_SUBNET);
/** Has the API server's address in the cluster, as its gateway. */
export const serviceNetwork = () => bridge("rf-services", `${KUBERNETES_IP.replace(/\d+$/, "0")}/29`);

/** Writes every file that the node's programs read. @returns the paths that they are started with */
export function writeNodeFiles(home: string, tools: NodeTools, cgroup: string) {
  const { containerd, kubelet, cni, config, podLogs } = nodeLayout(home);
  const plugins = join(cni, "bin");
  const networks = join(cni, "net.d");
  writePlugins(plugins, tools);
  const { cniVersion, name, ...first } = podNetwork();
  const chain = { cniVersion, name, plugins: [first, { type: "ringfence-ports" }] };
  write(join(networks, "10-ringfence.conflist"), JSON.stringify(chain, null, 2));

  const containerdConfig = join(config, "containerd.toml");
  write(containerdConfig, containerdToml({ containerd, plugins, networks, runc: writeRuntime(config, tools.runc) }));

  const kubeconfig = join(config, "kubelet.kubeconfig");
  write(kubeconfig, kubeletKubeconfig(read(layout(home).kubeconfig) ?? ""));
  const resolv = join(config, "resolv.conf");
  write(resolv, "options attempts:1\n");
  const kubeletConfig = join(config, "kubelet.yaml");
  write(kubeletConfig, stringify(kubeletSettings({ kubelet, podLogs, cgroup, resolv })));
  mkdirSync(podLogs, { recursive: true, mode: 0o700 });
  return { plugins, containerdConfig, kubeletConfig, kubeconfig };
}

const toml = (text: string) => JSON.stringify(text);

function containerdToml(paths: { containerd: string; plugins: string; networks: string; runc: string }): string {
  const runtime = "plugins.'io.containerd.cri.v1.runtime'";
  return `version = 3
root = ${toml(paths.containerd)}
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]

[grpc]
address = ${toml(CONTAINERD_SOCKET)}

[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = ${toml(PAUSE_IMAGE)}

[${runtime}]
use_internal_loopback = true
disable_apparmor = true
restrict_oom_score_adj = true
disable_hugetlb_controller = true
tolerate_missing_hugetlb_controller = true
[${runtime}.cni]
bin_dirs = [${toml(paths.plugins)}]
conf_dir = ${toml(paths.networks)}
[${runtime}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[${runtime}.containerd.runtimes.runc.options]
BinaryName = ${toml(paths.runc)}
SystemdCgroup = false
`;
}

/** The administrator's, who acts as this node: the API server lets it do what a node may, for its own pods. */
function kubeletKubeconfig(admin: string): string {
  const config = parse(admin) as { users: { user: object }[] };
  const as = { as: `system:node:${NODE}`, "as-groups": ["system:nodes"] };
  return stringify({ ...config, users: config.users.map((user) => ({ ...user, user: { ...user.user, ...as } })) });
}

function kubeletSettings(paths: { kubelet: string; podLogs: string; cgroup: string; resolv: string }): object {
  return {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    // In a network of its own: nobody but the node reaches these.
    address: "127.0.0.1",
    healthzBindAddress: "127.0.0.1",
    authentication: { anonymous: { enabled: false }, webhook: { enabled: false } },
    authorization: { mode: "AlwaysAllow" },
    containerRuntimeEndpoint: `unix://${CONTAINERD_SOCKET}`,
    cgroupDriver: "cgroupfs",
    cgroupRoot: paths.cgroup,
    failCgroupV1: false,
    podLogsDir: paths.podLogs,
    resolvConf: paths.resolv,
    registerWithTaints: [{ key: LABEL, value: "true", effect: "NoSchedule" }],
    failSwapOn: false,
    makeIPTablesUtilChains: false,
    // Neither a full disk nor a busy machine is this node's business.
    evictionHard: { "memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%" },
    imageGCHighThresholdPercent: 100,
    volumePluginDir: join(paths.kubelet, "volume-plugins"),
    syncFrequency: "10s",
    nodeStatusUpdateFrequency: "5s",
  };
}
