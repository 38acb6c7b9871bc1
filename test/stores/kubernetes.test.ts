import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { CoreV1Api, KubeConfig, RbacAuthorizationV1Api } from "@kubernetes/client-node";
import { until } from "../../components/stores/errors.ts";
import { Kubernetes } from "../../components/stores/kubernetes.ts";

describe("Kubernetes", () => {
  const config = new KubeConfig();
  config.loadFromDefault();
  const core = config.makeApiClient(CoreV1Api);
  const rbac = config.makeApiClient(RbacAuthorizationV1Api);
  const kubernetes = new Kubernetes({});
  const name = `suite-${randomBytes(6).toString("hex")}`;
  const labels = { "ringfence.test/suite": name };
  const selector = `ringfence.test/suite=${name}`;

  it("lists what is in a namespace, of every kind, and nothing else", async () => {
    await core.createNamespacedConfigMap({ namespace: "default", body: { metadata: { name } } });
    const inside = await kubernetes.objectsIn("default");
    const named = inside.map(({ apiVersion, kind, metadata }) => `${apiVersion} ${kind} ${metadata.name}`);
    for (const expected of [`v1 ConfigMap ${name}`, "v1 Service kubernetes", "v1 ServiceAccount default"])
      assert(named.includes(expected), `${expected} is not in ${named}`);
    assert(inside.every(({ metadata }) => metadata.namespace === "default"));
    const everything = await kubernetes.objects();
    assert(everything.length > inside.length);
    assert(everything.some(({ kind, metadata }) => kind === "ConfigMap" && metadata.name === name));
    await core.deleteNamespacedConfigMap({ namespace: "default", name });
  });

  it("finds what has a label outside of namespaces, and removes it, twice without complaint", async () => {
    await rbac.createClusterRole({ body: { metadata: { name, labels } } });
    await rbac.createClusterRole({ body: { metadata: { name: `${name}-other` } } });
    await core.createNamespacedConfigMap({ namespace: "default", body: { metadata: { name, labels } } });
    const [role, ...others] = await kubernetes.clusterObjects(selector);
    assert.deepEqual(others, []);
    assert.equal(role?.path, `/apis/rbac.authorization.k8s.io/v1/clusterroles/${name}`);
    assert.equal(role.object.kind, "ClusterRole");
    await kubernetes.remove(role);
    await kubernetes.remove(role);
    assert.deepEqual(await kubernetes.clusterObjects(selector), []);
    await rbac.deleteClusterRole({ name: `${name}-other` });
    await core.deleteNamespacedConfigMap({ namespace: "default", name });
  });

  it("asks again when the API server is busy, or does not serve a new kind yet", async () => {
    const answers = [429, 429, 200];
    const server = createServer((_, response) => {
      response
        .writeHead(answers.shift() ?? 500)
        .end(JSON.stringify({ items: [], message: "storage is (re)initializing" }));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const kubeconfig = JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "busy", cluster: { server: `http://127.0.0.1:${port}`, "insecure-skip-tls-verify": true } }],
      users: [{ name: "nobody", user: {} }],
      contexts: [{ name: "busy", context: { cluster: "busy", user: "nobody" } }],
      "current-context": "busy",
    });
    assert.deepEqual(await new Kubernetes({ kubeconfig: `${kubeconfig}\n` }).namespaces("a"), []);
    assert.deepEqual(answers, []);
    server.closeAllConnections();
    server.close();
  });

  it("lists volumes with what they are bound to", async () => {
    const csi = { driver: "csi.ringfence.test", volumeHandle: name };
    const claimRef = { namespace: "nowhere", name: "models" };
    const spec = { capacity: { storage: "1Gi" }, accessModes: ["ReadWriteOnce"], csi, claimRef };
    await core.createPersistentVolume({ body: { metadata: { name }, spec } });
    const found = (await kubernetes.persistentVolumes()).find(({ metadata }) => metadata.name === name);
    assert.equal(found?.kind, "PersistentVolume");
    assert.equal(found.spec.claimRef?.namespace, "nowhere");
    assert.equal(found.spec.persistentVolumeReclaimPolicy, "Retain");
    await core.deletePersistentVolume({ name });
    // The suites that come after this one take snapshots of the cluster.
    const gone = async () => (await kubernetes.persistentVolumes()).every(({ metadata }) => metadata.name !== name);
    await until(async () => (await gone()) || undefined, {
      deadlineMs: 120_000,
      late: () => new Error(`volume ${name} is still there`),
    });
  });

  it("says what the server refused, and that it answered", async () => {
    const users = config.users.map(({ token: _, ...user }) => ({ ...user, token: "wrong" }));
    const stranger = new KubeConfig();
    stranger.loadFromOptions({
      clusters: config.clusters,
      contexts: config.contexts,
      users,
      currentContext: config.currentContext,
    });
    const { server } = config.getCurrentCluster() ?? assert.fail();
    await assert.rejects(new Kubernetes({ kubeconfig: `${stranger.exportConfig()}\n` }).persistentVolumes(), {
      name: "StoreError",
      message: `Kubernetes at ${server} answered 401 to GET /api/v1/persistentvolumes: Unauthorized`,
      unreachable: false,
    });
  });
});
