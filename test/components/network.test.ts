// Who may reach whom: the rendered policies, read as Kubernetes reads them.
import assert from "node:assert/strict";
import { serverRules } from "../../components/network.ts";
import type { NetworkOpening } from "../../components/plan/openings.ts";
import { planesOf } from "../../components/plan/planes.ts";
import { Platform } from "../../components/platform.ts";
import { Tenant, type TenantArgs } from "../../components/tenant.ts";
import { type Fields, run } from "./engine.ts";

/** A pod, or what is outside the cluster. */
interface Party {
  namespace?: string;
  labels: Record<string, string>;
}

const OWN = "chat-gen-of-d";
const vertex = (name: string, namespace = OWN): Party => ({
  namespace,
  labels: { "ringfence.dev/pipeline": "chat", "ringfence.dev/vertex": name },
});
const [frontend, worker, prefill] = [vertex("frontend"), vertex("worker"), vertex("prefill")];
const proxy: Party = {
  namespace: OWN,
  labels: { "ringfence.dev/pipeline": "chat", "app.kubernetes.io/name": "etcd-proxy" },
};
const stray: Party = { namespace: OWN, labels: { app: "debug" } };
const neighbour = vertex("worker", "talk-01234567");
const etcd: Party = { namespace: "stores", labels: { app: "etcd" } };
const nats: Party = { namespace: "messaging", labels: { app: "nats" } };
const dns: Party = { namespace: "kube-system", labels: { "k8s-app": "kube-dns" } };
const ingress: Party = { namespace: "ingress", labels: { app: "gateway" } };
const world: Party = { labels: {} };

const OPENINGS: NetworkOpening[] = [
  { vertex: "frontend", from: "cluster", ports: [8000] },
  { vertex: "frontend", from: "tenant", ports: [8001] },
  { vertex: "worker", from: "tenant" },
  { vertex: "worker", to: "world", ports: [443] },
];

/** What a tenant's policies let through. */
async function networkOf(change: Partial<TenantArgs> = {}) {
  const all = await run(() => {
    const platform = new Platform("platform", {
      etcd: { endpoints: ["http://127.0.0.1:2379"], clusterEndpoints: ["http://etcd.stores.svc:2379"] },
      nats: { servers: ["nats://127.0.0.1:4222"], clusterServers: ["nats://nats.messaging.svc.cluster.local:4222"] },
    });
    const users = ["frontend", "worker", "prefill"];
    const name = { platform, logicalName: "dev/chat", pipeline: "chat", users, jetStream: {} };
    new Tenant("chat", { ...name, openings: OPENINGS, ...change });
  });
  const policies = [...all.values()].filter(({ type }) => type.endsWith(":NetworkPolicy")).map(({ inputs }) => inputs);
  const over = (side: "ingress" | "egress", of: Party, peer: Party, port: number, protocol: string): boolean => {
    const kind = side === "ingress" ? "Ingress" : "Egress";
    const mine = policies.filter(
      ({ metadata, spec }) =>
        metadata.namespace === of.namespace && spec.policyTypes.includes(kind) && selects(spec.podSelector, of.labels),
    );
    if (mine.length === 0) return true;
    const peers = side === "ingress" ? "from" : "to";
    return mine
      .flatMap(({ spec }) => spec[side] ?? [])
      .some(
        (rule: Fields) =>
          (rule.ports ?? [{ port, protocol }]).some(
            (each: Fields) => each.port === port && each.protocol === protocol,
          ) &&
          (rule[peers] === undefined || rule[peers].some((each: Fields) => isPeer(each, of, peer))),
      );
  };
  return (from: Party, to: Party, port: number, protocol = "TCP") =>
    over("egress", from, to, port, protocol) && over("ingress", to, from, port, protocol);
}

/** A peer without a namespace selector is in the policy's own namespace. */
function isPeer({ podSelector, namespaceSelector }: Fields, of: Party, { namespace, labels }: Party): boolean {
  if (namespace === undefined) return false;
  const there = namespaceSelector
    ? selects(namespaceSelector, { "kubernetes.io/metadata.name": namespace })
    : namespace === of.namespace;
  return there && (!podSelector || selects(podSelector, labels));
}

function selects({ matchLabels = {}, matchExpressions = [] }: Fields, labels: Record<string, string>): boolean {
  for (const { operator } of matchExpressions) assert.equal(operator, "Exists");
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key }: Fields) => Object.hasOwn(labels, key))
  );
}

describe("a tenant's network", () => {
  describe("with brokered planes behind a proxy", () => {
    let may: Awaited<ReturnType<typeof networkOf>>;
    before(async () => {
      may = await networkOf({ isolation: "proxy" });
    });

    it("lets vertices resolve names, and reach their proxies and NATS", () => {
      for (const from of [frontend, worker, prefill]) {
        assert.ok(may(from, dns, 53, "UDP") && may(from, dns, 53));
        assert.ok(may(from, proxy, 2379));
        assert.ok(may(from, nats, 4222));
      }
    });

    it("lets nobody but the proxies reach etcd, and nobody but vertices reach the proxies", () => {
      assert.ok(may(proxy, etcd, 2379));
      assert.ok(!may(worker, etcd, 2379));
      for (const from of [stray, neighbour, ingress, world, proxy]) assert.ok(!may(from, proxy, 2379));
      assert.ok(!may(proxy, nats, 4222));
      assert.ok(!may(proxy, world, 443));
    });

    it("lets in what is opened, and from where it is opened for alone", () => {
      for (const from of [ingress, neighbour, worker]) assert.ok(may(from, frontend, 8000));
      assert.ok(!may(world, frontend, 8000));
      assert.ok(may(worker, frontend, 8001));
      for (const from of [ingress, neighbour, stray, proxy]) assert.ok(!may(from, frontend, 8001));
    });

    it("lets a vertex without a port be reached at any, in any protocol, by vertices of the tenant only", () => {
      for (const from of [prefill, frontend]) assert.ok(may(from, worker, 43210) && may(from, worker, 4791, "UDP"));
      for (const from of [neighbour, ingress, stray, proxy, world]) assert.ok(!may(from, worker, 43210));
    });

    it("keeps a vertex shut that nothing opens", () => {
      for (const from of [worker, neighbour, ingress, world]) assert.ok(!may(from, prefill, 9090));
    });

    it("lets out what is opened for one vertex, and nothing of the others", () => {
      assert.ok(may(worker, world, 443));
      assert.ok(!may(worker, world, 80));
      assert.ok(!may(frontend, world, 443));
    });

    it("lets a pod that is no part of the pipeline do nothing at all", () => {
      for (const to of [dns, proxy, nats, etcd, worker, world])
        assert.ok(!may(stray, to, 53, "UDP") && !may(stray, to, 443));
    });
  });

  it("opens etcd itself to vertices that put the prefix before their keys", async () => {
    const may = await networkOf();
    assert.ok(may(worker, etcd, 2379));
    assert.ok(!may(worker, { namespace: "other", labels: {} }, 2379));
    assert.ok(!may(worker, etcd, 2380));
  });

  it("opens the API server for native discovery, and neither store", async () => {
    const may = await networkOf({ planes: planesOf("native"), isolation: "proxy" });
    assert.ok(may(worker, world, 443) && may(worker, world, 6443) && may(frontend, world, 6443));
    assert.ok(!may(worker, nats, 4222));
    assert.ok(!may(worker, etcd, 2379));
    assert.ok(!may(worker, proxy, 2379));
  });

  it("opens NATS as soon as one plane goes over it", async () => {
    const planes = { discovery: "kubernetes", requests: "tcp", events: "nats" } as const;
    assert.ok((await networkOf({ planes }))(worker, nats, 4222));
  });

  it("is closed before a pod of the proxies is there", async () => {
    const all = await run(() => {
      const platform = new Platform("platform", { etcd: { endpoints: [] }, nats: { servers: [] } });
      const args = { platform, logicalName: "dev/chat", pipeline: "chat", users: ["web"], jetStream: {} };
      new Tenant("chat", { ...args, isolation: "proxy" });
    });
    const { dependencies } = all.get("Deployment chat-etcd-proxy") as Fields;
    for (const purpose of ["default-deny", "planes", "etcd-proxy"])
      assert.ok(dependencies.includes(`chat-network.${purpose}`), purpose);
  });
});

describe("the rules for a platform's servers", () => {
  const anywhere = (port: number) => ({ ports: [{ protocol: "TCP", port }] });

  it("name the namespace where the address does, and each rule once", () => {
    const to = [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "stores" } } }];
    assert.deepEqual(serverRules(["http://etcd-0.stores.svc:2379", "http://etcd-1.stores.svc.cluster.local:2379"]), [
      { to, ports: [{ protocol: "TCP", port: 2379 }] },
    ]);
  });

  it("open the port alone to an address that may lie anywhere", () => {
    assert.deepEqual(
      serverRules(["https://etcd.example.com:2379", "https://10.0.0.7:2379", "https://[fd00::7]:2379"]),
      [anywhere(2379)],
    );
  });

  it("know the ports that the schemes mean", () => {
    const urls = ["http://a.example.com", "https://a.example.com", "nats://a.example.com", "tls://a.example.com"];
    assert.deepEqual(serverRules(urls), [80, 443, 4222].map(anywhere));
  });

  it("refuse what is no address, without saying it", () => {
    for (const url of ["etcd:2379", "stores", "https://", "http://user:p4ss@"])
      assert.throws(
        () => serverRules([url]),
        (error: Error) => /no URL/.test(error.message) && !/p4ss/.test(error.message),
      );
  });
});
