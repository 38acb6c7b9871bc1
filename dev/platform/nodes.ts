import { readFileSync } from "node:fs";
import { parseAllDocuments } from "yaml";

interface Node {
  metadata: { name: string; labels: Record<string, string> };
  spec: { podCIDR?: string; podCIDRs?: string[] };
  status: { addresses?: { type: string; address: string }[] };
}

/** How many of each node in nodes.yaml. */
const counts: Record<string, number> = { gpu: 4, cpu: 1 };

/** The simulated nodes: `gpu-0` … `gpu-3` and `cpu-0`. */
export function simulatedNodes(): Node[] {
  const templates = parseAllDocuments(readFileSync(new URL("./nodes.yaml", import.meta.url), "utf8"));
  const nodes = templates.flatMap((document) => {
    const kind = (document.toJS() as Node).metadata.name;
    return Array.from({ length: counts[kind] ?? 0 }, (_, index) => ({ node: document.toJS() as Node, kind, index }));
  });
  return nodes.map(({ node, kind, index }, position) => {
    const name = `${kind}-${index}`;
    // A range of its own for each node, or two pods could get one address.
    const podCIDR = `10.244.${position}.0/24`;
    return {
      ...node,
      metadata: { ...node.metadata, name, labels: { ...node.metadata.labels, "kubernetes.io/hostname": name } },
      spec: { ...node.spec, podCIDR, podCIDRs: [podCIDR] },
      // Nothing listens for a simulated kubelet: on loopback `kubectl logs` is refused at once instead of hanging.
      status: {
        ...node.status,
        addresses: [
          { type: "InternalIP", address: "127.0.0.1" },
          { type: "Hostname", address: name },
        ],
      },
    };
  });
}
