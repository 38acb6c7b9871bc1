import {
  defaultHomes,
  type Homes,
  KUBERNETES,
  kubernetesVersion,
  officialSites,
  placesOf,
  platform,
  type ToolGroup,
} from "./catalog.ts";

/**
 * What a real node needs (docs/real-node.md), of the API server's version where it is Kubernetes' own: brought only when one
 * is asked for. Linux alone has them.
 */
export function nodeCatalog(homes: Homes = defaultHomes(), sites: typeof officialSites = officialSites): ToolGroup[] {
  const { arch } = platform();
  const { release, cached, goDirectory } = placesOf(homes, sites);

  const kubelet = KUBERNETES;
  const kubeletUrl = `${sites.kubernetes}/v${kubelet}/bin/linux/${arch}/kubelet`;
  // The last of their lines that take control groups of version 1, like kubelets up to 1.34.
  const containerd = "2.1.9";
  const containerdModule = "github.com/containerd/containerd/v2";
  const containerdUrl = `${release("containerd/containerd", `v${containerd}`)}/containerd-static-${containerd}-linux-${arch}.tar.gz`;
  const runc = "1.3.6";
  const runcRelease = release("opencontainers/runc", `v${runc}`);
  const plugins = "1.9.1";
  const pluginsModule = "github.com/containernetworking/plugins";
  const pluginsUrl = `${release("containernetworking/plugins", `v${plugins}`)}/cni-plugins-linux-${arch}-v${plugins}.tgz`;

  return [
    {
      ...cached("runc", runc),
      binaries: [{ name: "runc", version: ["--version"] }],
      assets: [
        { url: `${runcRelease}/runc.${arch}`, sums: `${runcRelease}/runc.sha256sum`, holds: { binary: "runc" } },
      ],
      recipe: {
        directory: goDirectory("runc"),
        source: `github.com/opencontainers/runc@v${runc}`,
        packages: { runc: "github.com/opencontainers/runc" },
        // It enters namespaces in C, before Go's threads are there. Without its tag `seccomp` it needs no libseccomp.
        cgo: true,
      },
    },
    {
      ...cached("cni-plugins", plugins),
      // Their names are everybody's, so they are never taken from PATH.
      binaries: ["bridge", "host-local", "loopback"].map((name) => ({ name })),
      assets: [{ url: pluginsUrl, sums: `${pluginsUrl}.sha256`, holds: { directory: "." } }],
      recipe: {
        directory: goDirectory("cni-plugins"),
        source: `${pluginsModule}@v${plugins}`,
        packages: {
          bridge: `${pluginsModule}/plugins/main/bridge`,
          "host-local": `${pluginsModule}/plugins/ipam/host-local`,
          loopback: `${pluginsModule}/plugins/main/loopback`,
        },
      },
    },
    {
      ...cached("containerd", containerd),
      binaries: ["containerd", "containerd-shim-runc-v2", "ctr"].map((name) => ({ name, version: ["--version"] })),
      assets: [{ url: containerdUrl, sums: `${containerdUrl}.sha256sum`, holds: { directory: "bin" } }],
      recipe: {
        directory: goDirectory("containerd"),
        source: `${containerdModule}@v${containerd}`,
        packages: Object.fromEntries(
          ["containerd", "containerd-shim-runc-v2", "ctr"].map((name) => [name, `${containerdModule}/cmd/${name}`]),
        ),
        variables: { [`${containerdModule}/version.Version`]: containerd },
        tags: ["no_btrfs", "no_devmapper", "no_zfs"],
      },
    },
    {
      ...cached("kubelet", kubelet),
      binaries: [{ name: "kubelet", version: ["--version"] }],
      assets: [{ url: kubeletUrl, sums: `${kubeletUrl}.sha256`, holds: { binary: "kubelet" } }],
      recipe: {
        directory: goDirectory("kubelet"),
        source: `k8s.io/kubernetes@v${kubelet}`,
        packages: { kubelet: "k8s.io/kubernetes/cmd/kubelet" },
        variables: kubernetesVersion(kubelet),
      },
    },
  ];
}
