/** States as `pulumi stack export` prints them, as far as the map reads them. */

interface Vertex {
  name: string;
  replicas?: number;
  ready?: number;
  gpus?: number;
  /** What its pods select nodes by. */
  nodes?: Record<string, string>;
  ports?: Record<string, number>;
  /** Policies' rules for its pods. */
  ingress?: object[];
  egress?: object[];
}

export interface Pipeline {
  name: string;
  realm?: string;
  generation: string;
  vertices: Vertex[];
  proxy?: boolean;
  /** Its network has policies. */
  closed?: boolean;
  etcd?: boolean;
  nats?: boolean;
  native?: boolean;
}

const urn = (type: string, name: string) => `urn:pulumi:prod::shop::${type}::${name}`;

interface Resource {
  urn: string;
  type: string;
  inputs?: object;
  outputs?: object;
}
const resource = (type: string, name: string, rest: Pick<Resource, "inputs" | "outputs"> = {}): Resource => ({
  urn: urn(type, name),
  type,
  ...rest,
});

export function stateOf(pools: Record<string, Record<string, string>>, pipelines: Pipeline[]) {
  return {
    version: 3,
    deployment: {
      resources: [
        resource("pulumi:pulumi:Stack", "shop-prod"),
        ...Object.entries(pools).map(([name, nodeSelector]) =>
          resource("ringfence:index:GpuPool", name, { outputs: { nodeSelector } }),
        ),
        ...pipelines.flatMap(tenant),
      ],
    },
  };
}

function tenant({ name, realm = "team", generation, vertices, closed = true, ...given }: Pipeline): Resource[] {
  const { proxy = true, etcd = true, nats = true, native = false } = given;
  const namespace = `${name}-${generation.slice(0, 8)}`;
  const labels = { "ringfence.dev/pipeline": name, "ringfence.dev/generation": generation };
  const object = (kind: string, objectName: string, inputs: object, outputs: object = {}) =>
    resource(`kubernetes:${kind}`, `${name}.${objectName}`, {
      inputs: { metadata: { name: objectName, namespace, labels }, ...inputs },
      outputs,
    });
  const own = (part: string) => `pulumi-nodejs:dynamic/ringfence:${part}`;
  return [
    resource(own("TenantClaim"), `${name}-claim`, {
      outputs: { generation, logicalName: `${realm}/${name}`, namespace },
    }),
    resource(own("EtcdPrefix"), `${name}-etcd`, {
      outputs: {
        generation,
        prefix: `/ringfence/tenants/${generation}/`,
        password: { "4dabf18193072939515e22adb298388d": "…" },
      },
    }),
    resource(own("NatsAccount"), `${name}-nats`, {
      outputs: { generation, account: `A${generation.toUpperCase().repeat(2)}`.padEnd(56, "X") },
    }),
    ...(etcd ? [object("core/v1:Secret", "etcd", {})] : []),
    ...(nats ? [object("core/v1:Secret", `nats-${vertices[0]?.name}`, {})] : []),
    ...(native ? [object("rbac.authorization.k8s.io/v1:RoleBinding", "discovery", {})] : []),
    ...(proxy ? [object("apps/v1:Deployment", "etcd-proxy", { spec: { replicas: 2 } })] : []),
    ...(closed ? [object("networking.k8s.io/v1:NetworkPolicy", "default-deny", { spec: { podSelector: {} } })] : []),
    ...vertices.flatMap((vertex) => {
      const podLabels = { ...labels, "ringfence.dev/vertex": vertex.name };
      const ports = Object.entries(vertex.ports ?? {}).map(([port, containerPort]) => ({ name: port, containerPort }));
      const limits = vertex.gpus ? { "nvidia.com/gpu": String(vertex.gpus) } : {};
      const template = { spec: { nodeSelector: vertex.nodes ?? {}, containers: [{ ports, resources: { limits } }] } };
      const { ingress, egress } = vertex;
      return [
        object(
          "apps/v1:Deployment",
          vertex.name,
          {
            metadata: {
              name: vertex.name,
              namespace,
              labels: podLabels,
              annotations: { "ringfence.dev/phase": "Running" },
            },
            spec: { replicas: vertex.replicas ?? 1, template },
          },
          { status: { readyReplicas: vertex.ready ?? vertex.replicas ?? 1 } },
        ),
        ...(ingress || egress
          ? [
              object("networking.k8s.io/v1:NetworkPolicy", `vertex.${vertex.name}`, {
                spec: { podSelector: { matchLabels: podLabels }, ingress, egress },
              }),
            ]
          : []),
      ];
    }),
  ];
}

const port = (number: number | string) => ({ protocol: "TCP", port: number });
const everyVertex = { podSelector: { matchExpressions: [{ key: "ringfence.dev/vertex", operator: "Exists" }] } };

/** Rules as components/network.ts and components/observability.ts make them. */
export const rules = {
  cluster: (...ports: number[]) => ({ from: [{ namespaceSelector: {} }], ports: ports.map(port) }),
  tenant: (...ports: number[]) => ({ from: [everyVertex], ...(ports.length > 0 && { ports: ports.map(port) }) }),
  namespace: (name: string, ...ports: string[]) => ({
    from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": name } } }],
    ports: ports.map(port),
  }),
  world: (...ports: number[]) => ({ ports: ports.map(port) }),
};

const H100 = { "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3" };
const L40S = { "nvidia.com/gpu.product": "NVIDIA-L40S" };

/** A disaggregated Dynamo, one on native planes, and a pipeline of other software. */
export const shop = () =>
  stateOf({ h100: H100, l40s: L40S }, [
    {
      name: "chat",
      generation: "5c21aedf0123456789abcdef",
      vertices: [
        {
          name: "frontend",
          replicas: 2,
          ports: { http: 8000, responses: 9091 },
          ingress: [rules.cluster(8000), rules.namespace("monitoring", "http", "system"), rules.tenant(9091)],
          egress: [rules.world(443)],
        },
        {
          name: "prefill",
          replicas: 2,
          gpus: 1,
          nodes: H100,
          ports: { system: 9090 },
          ingress: [rules.namespace("monitoring", "http", "system")],
          egress: [rules.world(443)],
        },
        {
          name: "decode",
          replicas: 4,
          ready: 3,
          gpus: 1,
          nodes: H100,
          ports: { system: 9090, requests: 9092 },
          ingress: [rules.namespace("monitoring", "http", "system"), rules.tenant(9092)],
          egress: [rules.world(443)],
        },
      ],
    },
    {
      name: "embed",
      generation: "00c0ffee0123456789abcdef",
      proxy: false,
      etcd: false,
      nats: false,
      native: true,
      vertices: [
        { name: "frontend", ports: { http: 8000 }, ingress: [rules.cluster(8000), rules.tenant()] },
        { name: "worker", replicas: 2, gpus: 2, nodes: L40S, ports: { system: 9090 }, ingress: [rules.tenant()] },
      ],
    },
    {
      name: "search",
      realm: "team/eu",
      generation: "deadbeef0123456789abcdef",
      proxy: false,
      closed: false,
      vertices: [{ name: "indexer" }],
    },
  ]);
