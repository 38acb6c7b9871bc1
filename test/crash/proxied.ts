/** A platform as seen through proxies that record and strike what one process writes. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import type { Access } from "../../components/plan/access.ts";
import { etcdProxy } from "./etcd-proxy.ts";
import { Gate } from "./gate.ts";
import { kubernetesProxy } from "./kubernetes-proxy.ts";
import { natsProxy } from "./nats-proxy.ts";

export interface Proxied {
  gate: Gate;
  /** The environment with the access by way of the proxies. */
  env: NodeJS.ProcessEnv;
  close(): void;
}

interface Kubeconfig {
  clusters: Array<{ cluster: { server: string; "certificate-authority-data"?: string } }>;
}

/**
 * @param env of a platform, as `ringfence dev env` gives it
 * @param cluster whether Kubernetes is reached by way of a proxy as well
 */
export async function proxied(env: NodeJS.ProcessEnv, { cluster }: { cluster: boolean }): Promise<Proxied> {
  const gate = new Gate();
  const { platform } = JSON.parse(readFileSync(env.RINGFENCE_PLATFORM ?? "", "utf8")) as { platform: Access };
  const kubeconfig = parse(readFileSync(platform.kubernetes.kubeconfig ?? "", "utf8")) as Kubeconfig;
  const [{ cluster: api }] = kubeconfig.clusters as [Kubeconfig["clusters"][number]];
  const ca = Buffer.from(api["certificate-authority-data"] ?? "", "base64");
  const [etcd, nats, kubernetes] = await Promise.all([
    etcdProxy(gate, platform.etcd.endpoints[0] ?? ""),
    natsProxy(gate, (platform.nats.servers[0] ?? "").replace("nats://", "")),
    kubernetesProxy(gate, api.server, ca),
  ]);
  const way = { server: `http://${kubernetes.address}`, "insecure-skip-tls-verify": true };
  const plain = { ...kubeconfig, clusters: [{ ...kubeconfig.clusters[0], cluster: way }] };
  const access: Access = {
    etcd: { ...platform.etcd, endpoints: [`http://${etcd.address}`] },
    nats: { ...platform.nats, servers: [`nats://${nats.address}`] },
    kubernetes: cluster ? { kubeconfig: stringify(plain) } : platform.kubernetes,
  };
  const directory = mkdtempSync(join(tmpdir(), "ringfence-crash-"));
  const file = join(directory, "platform.json");
  writeFileSync(file, JSON.stringify({ platform: access }), { mode: 0o600 });
  return {
    gate,
    env: { ...env, RINGFENCE_PLATFORM: file },
    close: () => {
      for (const proxy of [etcd, nats, kubernetes]) proxy.close();
      rmSync(directory, { recursive: true });
    },
  };
}
