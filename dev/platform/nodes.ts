import { readFileSync } from "node:fs";
import { parse } from "yaml";

interface Kind {
  count: number;
  labels: Record<string, string>;
  capacity: Record<string, string>;
}

/** The nodes of nodes.yaml, numbered by kind: `gpu-0` … `gpu-3`, `cpu-0`, `mig-mixed-0`, … */
export function simulatedNodes() {
  const text = readFileSync(new URL("./nodes.yaml", import.meta.url), "utf8");
  const { nodes } = parse(text, { merge: true }) as { nodes: Record<string, Kind> };
  const numbered = Object.entries(nodes).flatMap(([kind, { count, ...rest }]) =>
    Array.from({ length: count }, (_, index) => ({ name: `${kind}-${index}`, ...rest })),
  );
  return numbered.map(({ name, labels, capacity }, position) => {
    // A range of its own for each node, or two pods could get one address.
    const podCIDR = `10.244.${position}.0/24`;
    const gpus = Object.keys(capacity).some((resource) => resource.startsWith("nvidia.com/"));
    return {
      apiVersion: "v1",
      kind: "Node",
      metadata: {
        name,
        annotations: { "kwok.x-k8s.io/node": "fake" },
        labels: {
          "kubernetes.io/arch": "amd64",
          "kubernetes.io/os": "linux",
          "kubernetes.io/hostname": name,
          ...labels,
        },
      },
      spec: {
        podCIDR,
        podCIDRs: [podCIDR],
        ...(gpus && { taints: [{ key: "nvidia.com/gpu", value: "present", effect: "NoSchedule" }] }),
      },
      status: {
        capacity,
        allocatable: capacity,
        // Nothing listens for a simulated kubelet: on loopback `kubectl logs` is refused at once instead of hanging.
        addresses: [
          { type: "InternalIP", address: "127.0.0.1" },
          { type: "Hostname", address: name },
        ],
      },
    };
  });
}
