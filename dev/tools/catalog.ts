import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** A binary of a group. */
export interface Binary {
  name: string;
  /** Arguments that make it print its version; without them it is never taken from PATH. */
  version?: readonly string[];
}

/** A file that a project publishes with its checksum. */
export interface Asset {
  url: string;
  /** Where its SHA-256 is published: `sha256sum` lines, a bare sum, or GitHub's description of a release. */
  sums: string;
  /** What the file is: one binary, or an archive with this directory of binaries inside. */
  holds: { binary: string } | { directory: string };
}

/** How a group is built: the `go.mod` that pins it and what to build with it. */
export interface Recipe {
  /** Directory with go.mod and go.sum (and main.go where the tool has none of its own). */
  directory: string;
  /** What the receipt calls the source, as module@version. */
  source: string;
  /** Package of each binary. */
  packages: Readonly<Record<string, string>>;
  /** Variables that the linker sets: the version, mostly. */
  variables?: Readonly<Record<string, string>>;
  gcflags?: string;
  /** Build tags. */
  tags?: readonly string[];
  /** Has C of its own, so that building it takes a C compiler. */
  cgo?: boolean;
  /** Files of a module that the main package embeds, copied beside it. */
  embed?: { module: string; files: readonly string[] };
}

/** Tools of one version that are brought together, into a directory that is there whole or not at all. */
export interface ToolGroup {
  name: string;
  version: string;
  directory: string;
  /** Where the binaries lie inside `directory`. */
  bin: string;
  binaries: readonly Binary[];
  assets: readonly Asset[];
  /** Keeps all that the archive holds, not the named binaries alone. */
  wholeArchive?: boolean;
  recipe: Recipe;
  /** Directory of files that a *built* group needs beside its binaries; a download brings its own. */
  helpers?: { directory: string; required: readonly string[] };
}

/** The sites that publish the tools. */
export const officialSites = {
  github: "https://github.com",
  githubApi: "https://api.github.com",
  kubernetes: "https://dl.k8s.io",
  pulumi: "https://get.pulumi.com",
};

/** Where groups are kept. */
export interface Homes {
  /** @default `$XDG_CACHE_HOME/ringfence/tools`, `~/.cache/ringfence/tools` */
  cache: string;
  /** @default `$PULUMI_HOME`, `~/.pulumi`: `npx pulumi` and the Automation API look there themselves */
  pulumi: string;
}

export function defaultHomes(env: NodeJS.ProcessEnv = process.env): Homes {
  return {
    cache: join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "ringfence", "tools"),
    pulumi: env.PULUMI_HOME || join(homedir(), ".pulumi"),
  };
}

/**
 * This machine in the words of Go and of Node.
 * @throws on anything but Linux and macOS on amd64 and arm64, for which the projects publish no servers
 */
export function platform(): { os: string; arch: string; nodeArch: string } {
  const arch = { x64: "amd64", arm64: "arm64" }[process.arch as string];
  if (!arch || !["linux", "darwin"].includes(process.platform)) {
    throw new Error(
      `${process.platform}/${process.arch} is not supported: the tools run on Linux and macOS, amd64 and arm64`,
    );
  }
  return { os: process.platform, arch, nodeArch: process.arch };
}

const dataOf = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Of the API server and of all that comes with it. */
export const KUBERNETES = "1.34.4";

/** Where releases, caches and recipes are. */
export const placesOf = (homes: Homes, sites: typeof officialSites) => ({
  release: (repository: string, tag: string) => `${sites.github}/${repository}/releases/download/${tag}`,
  cached: (name: string, version: string) => ({
    name,
    version,
    directory: join(homes.cache, `${name}-${version}`),
    bin: "bin",
  }),
  goDirectory: (name: string) => dataOf(`./go/${name}`),
});

/** Every tool of the embedded platform with the one version that Ringfence is tested with. */
export function toolCatalog(homes: Homes = defaultHomes(), sites: typeof officialSites = officialSites): ToolGroup[] {
  const { os, arch, nodeArch } = platform();
  const { release, cached, goDirectory } = placesOf(homes, sites);

  const etcd = "3.6.16";
  const etcdRelease = release("etcd-io/etcd", `v${etcd}`);
  const nats = "2.15.2";
  const natsRelease = release("nats-io/nats-server", `v${nats}`);
  const kubernetes = KUBERNETES;
  const kubernetesBinaries = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"];
  const kwok = "0.8.0";
  const pulumi = "3.259.0";
  const plugin = "4.25.0";
  const pluginModule = "github.com/pulumi/pulumi-kubernetes/provider/v4";

  return [
    {
      ...cached("etcd", etcd),
      binaries: [
        { name: "etcd", version: ["--version"] },
        { name: "etcdctl", version: ["version"] },
      ],
      assets: [
        {
          url: `${etcdRelease}/etcd-v${etcd}-${os}-${arch}.${os === "darwin" ? "zip" : "tar.gz"}`,
          sums: `${etcdRelease}/SHA256SUMS`,
          holds: { directory: `etcd-v${etcd}-${os}-${arch}` },
        },
      ],
      recipe: {
        directory: goDirectory("etcd"),
        source: `go.etcd.io/etcd/server/v3@v${etcd}`,
        packages: { etcd: "go.etcd.io/etcd/server/v3", etcdctl: "go.etcd.io/etcd/etcdctl/v3" },
      },
    },
    {
      ...cached("nats-server", nats),
      binaries: [{ name: "nats-server", version: ["--version"] }],
      assets: [
        {
          url: `${natsRelease}/nats-server-v${nats}-${os}-${arch}.tar.gz`,
          sums: `${natsRelease}/SHA256SUMS`,
          holds: { directory: `nats-server-v${nats}-${os}-${arch}` },
        },
      ],
      recipe: {
        directory: goDirectory("nats-server"),
        source: `github.com/nats-io/nats-server/v2@v${nats}`,
        packages: { "nats-server": "github.com/nats-io/nats-server/v2" },
      },
    },
    {
      ...cached("kwok", kwok),
      binaries: [{ name: "kwok", version: ["--version"] }],
      assets: [
        {
          url: `${release("kubernetes-sigs/kwok", `v${kwok}`)}/kwok-${os}-${arch}`,
          // kwok publishes no file of sums; GitHub states the digest of every file that was uploaded since mid-2025.
          sums: `${sites.githubApi}/repos/kubernetes-sigs/kwok/releases/tags/v${kwok}`,
          holds: { binary: "kwok" },
        },
      ],
      recipe: {
        directory: goDirectory("kwok"),
        source: `sigs.k8s.io/kwok@v${kwok}`,
        packages: { kwok: "sigs.k8s.io/kwok/cmd/kwok" },
      },
    },
    {
      name: "pulumi",
      version: pulumi,
      directory: join(homes.pulumi, "versions", pulumi),
      bin: "bin",
      binaries: [{ name: "pulumi", version: ["version"] }],
      assets: [
        {
          url: `${sites.pulumi}/releases/sdk/pulumi-v${pulumi}-${os}-${nodeArch}.tar.gz`,
          sums: `${release("pulumi/pulumi", `v${pulumi}`)}/pulumi-${pulumi}-checksums.txt`,
          holds: { directory: "pulumi" },
        },
      ],
      wholeArchive: true,
      helpers: {
        directory: dataOf("./pulumi"),
        required: ["pulumi-language-nodejs", "pulumi-resource-pulumi-nodejs"],
      },
      recipe: {
        directory: goDirectory("pulumi"),
        source: `github.com/pulumi/pulumi/pkg/v3@v${pulumi}`,
        packages: { pulumi: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi" },
        variables: { "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": `v${pulumi}` },
      },
    },
    {
      ...cached("kubernetes", kubernetes),
      binaries: [
        ...kubernetesBinaries.slice(0, -1).map((name) => ({ name, version: ["--version"] })),
        { name: "kubectl", version: ["version", "--client", "-o", "json"] },
      ],
      assets: kubernetesBinaries.map((name) => {
        const url = `${sites.kubernetes}/v${kubernetes}/bin/${os}/${arch}/${name}`;
        return { url, sums: `${url}.sha256`, holds: { binary: name } };
      }),
      recipe: {
        directory: goDirectory("kubernetes"),
        source: `k8s.io/kubernetes@v${kubernetes}`,
        packages: Object.fromEntries(kubernetesBinaries.map((name) => [name, `k8s.io/kubernetes/cmd/${name}`])),
        variables: kubernetesVersion(kubernetes),
      },
    },
    {
      name: "pulumi-kubernetes",
      version: plugin,
      directory: join(homes.pulumi, "plugins", `resource-kubernetes-v${plugin}`),
      bin: ".",
      binaries: [{ name: "pulumi-resource-kubernetes" }],
      assets: [
        {
          url: `${release("pulumi/pulumi-kubernetes", `v${plugin}`)}/pulumi-resource-kubernetes-v${plugin}-${os}-${arch}.tar.gz`,
          sums: `${release("pulumi/pulumi-kubernetes", `v${plugin}`)}/pulumi-kubernetes_${plugin}_checksums.txt`,
          holds: { directory: "." },
        },
      ],
      recipe: {
        directory: goDirectory("pulumi-kubernetes"),
        source: `${pluginModule}@v4.0.0-20260115033456-f47bc2d6f199`,
        packages: { "pulumi-resource-kubernetes": "." },
        variables: { [`${pluginModule}/pkg/version.Version`]: plugin },
        // It waits for an API server all day: a third less time to build is worth more than its own speed.
        gcflags: "all=-N -l",
        embed: {
          module: pluginModule,
          files: ["schema.json", "terraform-mapping.json"].map((file) => `cmd/pulumi-resource-kubernetes/${file}`),
        },
      },
    },
  ];
}

/** What tests need beyond the platform, and users do not: brought by the suite that uses it. */
export function testCatalog(homes: Homes = defaultHomes(), sites: typeof officialSites = officialSites): ToolGroup[] {
  const { os, arch } = platform();
  const { release, cached, goDirectory } = placesOf(homes, sites);
  const prometheus = "3.13.5";
  const prometheusRelease = release("prometheus/prometheus", `v${prometheus}`);
  return [
    {
      ...cached("prometheus", prometheus),
      binaries: [{ name: "promtool", version: ["--version"] }],
      assets: [
        {
          url: `${prometheusRelease}/prometheus-${prometheus}.${os}-${arch}.tar.gz`,
          sums: `${prometheusRelease}/sha256sums.txt`,
          holds: { directory: `prometheus-${prometheus}.${os}-${arch}` },
        },
      ],
      recipe: {
        directory: goDirectory("prometheus"),
        // As a Go module, version 3.x.y is v0.3xx.y.
        source: "github.com/prometheus/prometheus@v0.313.5",
        packages: { promtool: "github.com/prometheus/prometheus/cmd/promtool" },
        variables: { "github.com/prometheus/common/version.Version": prometheus },
        gcflags: "all=-N -l",
        // Rules are tested without anybody's cloud: half of the packages are clients of such.
        tags: ["remove_all_sd"],
      },
    },
  ];
}

/** Kubernetes' clients misread a server that does not say which version it is. */
export function kubernetesVersion(version: string): Record<string, string> {
  const [gitMajor = "", gitMinor = ""] = version.split(".");
  const values = {
    gitVersion: `v${version}`,
    gitMajor,
    gitMinor,
    gitTreeState: "clean",
    gitCommit: "0".repeat(40),
    buildDate: "1970-01-01T00:00:00Z",
  };
  const packages = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"];
  return Object.fromEntries(
    packages.flatMap((name) => Object.entries(values).map(([variable, value]) => [`${name}.${variable}`, value])),
  );
}
