// What a tenant gives to its vertices' pods, and what stands around them, for each way to the stores.
import assert from "node:assert/strict";
import { DISCOVERY_LABELS } from "../../components/discovery.ts";
import { PROXY_IMAGE } from "../../components/etcd-proxy.ts";
import { type Planes, planesOf } from "../../components/plan/planes.ts";
import { Platform } from "../../components/platform.ts";
import { Tenant, type TenantArgs } from "../../components/tenant.ts";
import { toolCatalog } from "../../dev/tools/catalog.ts";
import { type Fields, type Registered, run, Secret } from "./engine.ts";

const CA = "-----BEGIN CERTIFICATE-----\nof the platform\n-----END CERTIFICATE-----\n";

/** The tenant `chat` with one vertex, `web`. */
async function rendered(change: Partial<TenantArgs> = {}, tls = false) {
  let tenant: Tenant | undefined;
  const trust = tls && { tls: { ca: CA } };
  const all = await run(() => {
    const platform = new Platform("platform", {
      etcd: {
        endpoints: ["http://admin:2379"],
        clusterEndpoints: ["https://etcd-0:2379", "https://etcd-1:2379"],
        ...trust,
      },
      nats: { servers: ["nats://admin:4222"], clusterServers: ["tls://nats:4222"], ...trust },
    });
    tenant = new Tenant("chat", {
      ...{ platform, logicalName: "dev/chat", pipeline: "chat", users: ["web"], jetStream: {} },
      ...change,
    });
  });
  const pod = (await plain(tenant?.pods.web)) as Fields;
  return { all, pod, tenant: tenant as Tenant, guards: tenant?.guards ?? [] };
}

/** Every output of a value, waited for. */
async function plain(value: unknown): Promise<unknown> {
  if (value === null || typeof value !== "object") return value;
  if ("promise" in value) return plain(await (value as { promise: () => Promise<unknown> }).promise());
  if (Array.isArray(value)) return Promise.all(value.map(plain));
  const entries = Object.entries(value).map(async ([key, inner]) => [key, await plain(inner)]);
  return Object.fromEntries(await Promise.all(entries));
}

const names = (all: Map<string, Registered>, kind: string) =>
  [...all.keys()].filter((key) => key.startsWith(`${kind} `)).map((key) => key.slice(kind.length + 1));
const variables = (pod: Fields) => pod.env.map(({ name }: Fields) => name);
const value = (pod: Fields, name: string) => pod.env.find((each: Fields) => each.name === name)?.value;

const ETCD = ["ETCD_ENDPOINTS", "ETCD_AUTH_USERNAME", "ETCD_AUTH_PASSWORD"];
const NATS = ["NATS_SERVER", "NATS_AUTH_CREDENTIALS_FILE"];

describe("what pods get of their tenant", () => {
  it("behind a proxy: etcd at the proxy, with the tenant's own log-in, and no word of the prefix", async () => {
    const { pod } = await rendered({ isolation: "proxy" });
    assert.deepEqual(variables(pod), [...ETCD, ...NATS]);
    assert.equal(value(pod, "ETCD_ENDPOINTS"), "http://etcd-proxy:2379");
    assert.deepEqual(pod.env[2].valueFrom, { secretKeyRef: { name: "etcd", key: "password" } });
    assert.equal(pod.automountServiceAccountToken, false);
    assert.equal("serviceAccountName" in pod, false);
  });

  it("without one: the platform's etcd, and the prefix that every key must begin with", async () => {
    const { all, pod } = await rendered({ isolation: "rbac" });
    assert.deepEqual(variables(pod), ["RINGFENCE_ETCD_PREFIX", ...ETCD, ...NATS]);
    assert.equal(value(pod, "ETCD_ENDPOINTS"), "https://etcd-0:2379,https://etcd-1:2379");
    assert.equal(value(pod, "RINGFENCE_ETCD_PREFIX"), "/p/");
    assert.deepEqual(names(all, "Deployment"), []);
  });

  it("with native planes: who they are and a way to the API server, and no credential of any store", async () => {
    const { all, pod, tenant } = await rendered({ planes: planesOf("native"), isolation: "proxy" });
    assert.deepEqual(variables(pod), ["POD_NAME", "POD_NAMESPACE", "POD_UID"]);
    assert.deepEqual([pod.volumes, pod.volumeMounts], [[], []]);
    assert.equal(pod.serviceAccountName, "dynamo-discovery");
    assert.equal(pod.automountServiceAccountToken, true);
    assert.deepEqual(tenant.serviceLabels, DISCOVERY_LABELS);
    assert.deepEqual([...names(all, "Secret"), ...names(all, "Deployment")], []);
  });

  it("with a mixture: what each plane needs, and nothing of the others", async () => {
    const mixtures: [Planes, string[]][] = [
      [{ discovery: "etcd", requests: "tcp", events: "zmq" }, ETCD],
      [{ discovery: "etcd", requests: "tcp", events: "nats" }, [...ETCD, ...NATS]],
      [{ discovery: "kubernetes", requests: "nats", events: "zmq" }, [...NATS, "POD_NAME", "POD_NAMESPACE", "POD_UID"]],
    ];
    for (const [planes, expected] of mixtures) {
      const { pod, all } = await rendered({ planes, isolation: "proxy" });
      assert.deepEqual(variables(pod), expected);
      const secrets = names(all, "Secret");
      assert.equal(secrets.includes("chat-etcd-secret"), planes.discovery === "etcd");
      assert.equal(secrets.includes("chat.web-nats-secret"), expected.includes("NATS_SERVER"));
    }
  });

  it("with TLS: the CA of each store that they talk to themselves, under names that do not make Dynamo drop its password", async () => {
    const proxied = (await rendered({ isolation: "proxy" }, true)).pod;
    assert.deepEqual(variables(proxied), [...ETCD, ...NATS, "NATS_TLS_CA_CERT_PATH"]);
    const direct = (await rendered({}, true)).pod;
    assert.equal(value(direct, "RINGFENCE_ETCD_CA_PATH"), "/var/run/ringfence/ca/etcd.crt");
    for (const pod of [proxied, direct]) {
      assert.equal(value(pod, "NATS_TLS_CA_CERT_PATH"), "/var/run/ringfence/ca/nats.crt");
      assert.deepEqual(pod.volumeMounts.at(-1), {
        name: "platform-ca",
        mountPath: "/var/run/ringfence/ca",
        readOnly: true,
      });
      assert.deepEqual(pod.volumes.at(-1), { name: "platform-ca", configMap: { name: "platform-ca" } });
      assert.match(pod.annotations["ringfence.dev/trust"], /^[0-9a-f]{16}$/);
      assert.ok(!variables(pod).includes("ETCD_AUTH_CA"));
    }
  });
});

describe("a tenant's etcd proxies", () => {
  const deploymentOf = (all: Map<string, Registered>) => all.get("Deployment chat-etcd-proxy") as Registered;
  const [proxyOf, podOf] = [
    (all: Map<string, Registered>) => deploymentOf(all).inputs.spec.template.spec.containers[0] as Fields,
    (all: Map<string, Registered>) => deploymentOf(all).inputs.spec.template as Fields,
  ];

  it("are two, on nodes and in zones apart where there are such, replaced one by one, one away at most", async () => {
    const { all } = await rendered({ isolation: "proxy" });
    const { spec } = deploymentOf(all).inputs;
    assert.equal(spec.replicas, 2);
    assert.deepEqual(spec.strategy, { rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } });
    const spread = spec.template.spec.topologySpreadConstraints;
    assert.deepEqual(
      spread.map(({ topologyKey, whenUnsatisfiable }: Fields) => [topologyKey, whenUnsatisfiable]),
      [
        ["kubernetes.io/hostname", "ScheduleAnyway"],
        ["topology.kubernetes.io/zone", "ScheduleAnyway"],
      ],
    );
    const { selector } = spec;
    for (const { labelSelector } of spread) assert.deepEqual(labelSelector, selector);
    assert.deepEqual(all.get("PodDisruptionBudget chat-etcd-proxy-disruption")?.inputs.spec, {
      maxUnavailable: 1,
      selector,
    });
    const service = all.get("Service chat-etcd-proxy-service")?.inputs as Fields;
    assert.equal(service.metadata.name, "etcd-proxy");
    assert.deepEqual(service.spec.selector, selector.matchLabels);
    for (const [key, one] of Object.entries(selector.matchLabels))
      assert.equal(spec.template.metadata.labels[key], one);
    assert.equal("ringfence.dev/vertex" in spec.template.metadata.labels, false);
  });

  it("put the prefix before every key, and hand log-ins on: the proxy itself is given none", async () => {
    const { all } = await rendered({ isolation: "proxy" });
    const { command, args, env } = proxyOf(all);
    assert.deepEqual(command, ["etcd", "grpc-proxy", "start"]);
    assert.deepEqual(args.slice(0, 4), [
      "--endpoints=https://etcd-0:2379,https://etcd-1:2379",
      "--namespace=/p/",
      "--listen-addr=127.0.0.1:2380",
      "--advertise-client-url=http://etcd-proxy:2379",
    ]);
    assert.equal(env, undefined);
    const front = podOf(all).spec.containers[1];
    assert.deepEqual(front.command, ["node", "/var/run/ringfence/front/front.cjs"]);
    assert.deepEqual(front.ports, [{ name: "etcd", containerPort: 2379 }]);
    assert.equal(value(front, "PROXY"), "http://127.0.0.1:2380");
    assert.equal(value(front, "ETCD_ENDPOINTS"), "https://etcd-0:2379,https://etcd-1:2379");
    for (const { httpGet } of [proxyOf(all).livenessProbe, front.readinessProbe])
      assert.equal(httpGet.port, Number(value(front, "HEALTH_PORT")));
  });

  it("run the release of etcd that the tests run, unless told otherwise", async () => {
    const tested = toolCatalog().find(({ name }) => name === "etcd")?.version;
    assert.equal(PROXY_IMAGE.split(":v")[1], tested);
    const { all } = await rendered({
      isolation: "proxy",
      proxy: { image: "mirror/etcd:1", frontImage: "mirror/node:1", replicas: 3 },
    });
    assert.deepEqual(
      podOf(all).spec.containers.map(({ image }: Fields) => image),
      ["mirror/etcd:1", "mirror/node:1"],
    );
    assert.equal(deploymentOf(all).inputs.spec.replicas, 3);
  });

  it("can do nothing on their node", async () => {
    const { all } = await rendered({ isolation: "proxy" });
    const { securityContext, containers, automountServiceAccountToken } = podOf(all).spec;
    assert.equal(automountServiceAccountToken, false);
    assert.equal(securityContext.runAsNonRoot, true);
    for (const each of containers) {
      assert.deepEqual(each.securityContext.capabilities, { drop: ["ALL"] });
      assert.equal(each.securityContext.readOnlyRootFilesystem, true);
      assert.ok(each.resources.limits.memory && each.resources.requests.cpu);
    }
  });

  it("trust etcd's CA with TLS, show a certificate where one is given, and are replaced when the CA changes", async () => {
    const certificate = { cert: "the certificate", key: "the private key" };
    const { all } = await rendered({ isolation: "proxy", proxy: { certificate } }, true);
    assert.deepEqual(proxyOf(all).args.slice(-3), [
      "--cacert=/var/run/ringfence/ca/etcd.crt",
      "--cert=/var/run/ringfence/certificate/tls.crt",
      "--key=/var/run/ringfence/certificate/tls.key",
    ]);
    assert.deepEqual(
      proxyOf(all).volumeMounts.map(({ name }: Fields) => name),
      ["platform-ca", "certificate"],
    );
    const front = podOf(all).spec.containers[1];
    assert.deepEqual(
      ["ETCD_CA", "ETCD_CERT", "ETCD_KEY"].map((name) => value(front, name)),
      proxyOf(all)
        .args.slice(-3)
        .map((flag: string) => flag.split("=")[1]),
    );
    assert.equal(all.get("ConfigMap chat-platform-ca")?.inputs.data["etcd.crt"], CA);
    const shown = all.get("Secret chat-etcd-proxy-certificate") as Registered;
    assert.ok(shown.inputs.stringData instanceof Secret, "the key is open");
    assert.match(podOf(all).metadata.annotations["ringfence.dev/trust"], /^[0-9a-f]{16}$/);
  });

  it("go after the last pod and before the credentials: pods wait for them, and they for the namespace", async () => {
    const { all, guards } = await rendered({ isolation: "proxy" });
    const urns = await Promise.all(guards.map((guard) => new Promise((resolve) => guard.urn.apply(resolve))));
    for (const name of ["chat-etcd-proxy", "chat-etcd-proxy-service", "chat-network.default-deny", "chat-limits"])
      assert.ok(
        urns.some((urn) => String(urn).endsWith(`::${name}`)),
        name,
      );
    assert.ok(deploymentOf(all).dependencies.includes("chat-namespace"));
    assert.deepEqual(
      ["chat-etcd", "chat-nats"].filter((one) => !all.get("Namespace chat-namespace")?.dependencies.includes(one)),
      [],
    );
  });
});

describe("native discovery", () => {
  it("may read pods and endpoints of its own namespace and write its workers' metadata there, and nothing else", async () => {
    const { all } = await rendered({ planes: planesOf("native") });
    const role = all.get("Role chat-discovery-role")?.inputs as Fields;
    const reading = ["get", "list", "watch"];
    assert.deepEqual(role.rules, [
      { apiGroups: [""], resources: ["pods", "endpoints"], verbs: reading },
      { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: reading },
      {
        apiGroups: ["nvidia.com"],
        resources: ["dynamoworkermetadatas"],
        verbs: [...reading, "create", "update", "patch", "delete"],
      },
    ]);
    const binding = all.get("RoleBinding chat-discovery-binding")?.inputs as Fields;
    const namespace = "chat-gen-of-d";
    assert.deepEqual(binding.subjects, [{ kind: "ServiceAccount", name: "dynamo-discovery", namespace }]);
    assert.equal(binding.roleRef.name, "dynamo-discovery");
    assert.equal(binding.metadata.namespace, namespace);
  });
});
