import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { CoreV1Api, KubeConfig, RbacAuthorizationV1Api } from "@kubernetes/client-node";
import { until } from "../../components/stores/errors.ts";
import { dropNamespace, requireNothingOutlives } from "../../components/tenancy/namespace.ts";
import { access, newProcess, tidy } from "./scene.ts";

const HOLD = "ringfence.test/hold";

/** Takes finalizers off an object again, so that it goes. */
const UNHOLD = [{ op: "remove", path: "/metadata/finalizers" }];

// The namespace controller begins 5 s after a deletion, so each namespace that goes takes about 6 s.
describe("a tenant's part of Kubernetes", () => {
  const config = new KubeConfig();
  config.loadFromDefault();
  const core = config.makeApiClient(CoreV1Api);
  const rbac = config.makeApiClient(RbacAuthorizationV1Api);
  const server = `Kubernetes at ${config.getCurrentCluster()?.server}`;
  const stores = newProcess();
  after(async () => {
    // The suites that come after this one take snapshots of the cluster.
    const kubernetes = await stores.kubernetes();
    await comesTrue("the namespaces are gone", async () =>
      (await kubernetes.namespaces("ringfence.dev/owner=suite")).length === 0 ? true : undefined,
    );
    await tidy();
  });

  class Part {
    readonly generation = randomBytes(12).toString("hex");
    readonly namespace = `chat-${this.generation.slice(0, 8)}`;
    readonly labels = { "ringfence.dev/owner": "suite", "ringfence.dev/generation": this.generation };

    make = (labels: Record<string, string> = this.labels) =>
      core.createNamespace({ body: { metadata: { name: this.namespace, labels } } });
    drop = (deadlineMs?: number, at = stores) =>
      dropNamespace(at, this.namespace, this.generation, (act) => act(), deadlineMs);
    verify = (deadlineMs?: number, at = stores) =>
      requireNothingOutlives(at, this.namespace, this.generation, deadlineMs);
    read = async () => (await stores.kubernetes()).namespace(this.namespace);
    forget = async () => core.deleteNamespace({ name: this.namespace });
  }

  const refusal = (act: Promise<unknown>): Promise<string> =>
    act.then(
      () => assert.fail("it was not refused"),
      ({ message }: Error) => message,
    );

  /** Waits for what a controller does. */
  const comesTrue = <T>(what: string, look: () => Promise<T | undefined>): Promise<T> =>
    until(look, { deadlineMs: 120_000, late: () => new Error(`not within 120 s: ${what}`) });

  it("goes with all that is in its namespace, and what carries its generation outside of one", async () => {
    const { namespace, generation, labels, ...part } = new Part();
    await part.make();
    await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: "settings" } } });
    const [ours, theirs] = [`chat-${generation}`, `other-${generation}`];
    await rbac.createClusterRole({ body: { metadata: { name: ours, labels } } });
    const foreign = { ...labels, "ringfence.dev/generation": "0" };
    await rbac.createClusterRole({ body: { metadata: { name: theirs, labels: foreign } } });
    await core.createNode({ body: { metadata: { name: ours, labels } } });
    assert.equal(
      await refusal(part.verify()),
      `${server} still has Namespace '${namespace}' (Active), ClusterRole '${ours}': run again, to have that removed`,
    );

    assert.equal(await part.drop(), true);
    assert.equal(await part.read(), undefined);
    await assert.rejects(rbac.readClusterRole({ name: ours }), { code: 404 });
    await part.verify();
    assert.equal(await part.drop(), false, "a second time there is none");
    await rbac.deleteClusterRole({ name: theirs });
    await core.deleteNode({ name: ours });
  });

  it("is left alone under another generation's label", async () => {
    const part = new Part();
    await part.make({ ...part.labels, "ringfence.dev/generation": "0" });
    assert.equal(await part.drop(), false);
    assert.equal((await part.read())?.metadata.deletionTimestamp, undefined);
    await part.verify();
    await part.forget();
  });

  it("names the pods and finalizers that hold its namespace, and carries on once that is free", async () => {
    const { namespace, generation, ...part } = new Part();
    await part.make();
    await core.patchNamespace({ name: namespace, body: [{ op: "add", path: "/metadata/finalizers", value: [HOLD] }] });
    const held = { name: "held", namespace };
    await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: "held", finalizers: [HOLD] } } });
    // Nobody plays this node's kubelet, so nobody ends its pods.
    const node = `silent-${generation}`;
    await core.createNode({ body: { metadata: { name: node } } });
    const spec = {
      nodeName: node,
      terminationGracePeriodSeconds: 600,
      tolerations: [{ operator: "Exists" }],
      containers: [{ name: "main", image: "none" }],
    };
    await comesTrue("the namespace has its ServiceAccount", () =>
      core
        .createNamespacedPod({ namespace, body: { metadata: { name: "worker" }, spec } })
        .catch((error: Error) => (/serviceaccount/.test(error.message) ? undefined : Promise.reject(error))),
    );

    await assert.rejects(part.drop(0));
    // Pods go first, and nothing else is touched until they are gone.
    await comesTrue("the pod is told to end", async () => {
      const { metadata } = await core.readNamespacedPod({ name: "worker", namespace });
      return metadata?.deletionTimestamp;
    });
    assert.match(
      await refusal(part.drop(500)),
      new RegExp(
        `^${server}: namespace '${namespace}' is not gone after 0\\.5 s, because of ` +
          `ConfigMap 'held' \\(finalizer ${HOLD}\\), Pod 'worker' \\(Pending, on node ${node}, to end at [^,]+\\), ` +
          `its own finalizer ${HOLD}: remove what holds it up, then run again$`,
      ),
    );

    const carriedOn = part.drop();
    await core.deleteNamespacedPod({ name: "worker", namespace, gracePeriodSeconds: 0 });
    await core.patchNamespacedConfigMap({ ...held, body: UNHOLD });
    await core.patchNamespace({ name: namespace, body: UNHOLD });
    assert.equal(await carriedOn, true);
    await core.deleteNode({ name: node });
  });

  it("names the finalizer that holds something outside of namespaces", async () => {
    const { generation, labels, ...part } = new Part();
    const name = `chat-${generation}`;
    await rbac.createClusterRole({ body: { metadata: { name, labels, finalizers: [HOLD] } } });
    assert.match(
      await refusal(part.drop(500)),
      new RegExp(
        `^${server}: what carries generation ${generation} is not gone after 0\\.5 s, because of ` +
          `ClusterRole '${name}' \\(to end at [^,]+, finalizer ${HOLD}\\): `,
      ),
    );
    await rbac.patchClusterRole({ name, body: UNHOLD });
    await part.drop();
    await part.verify();
  });

  describe("with volumes", () => {
    const { namespace, generation, ...part } = new Part();
    const passing = `passing-${generation}`;
    const lasting = `lasting-${generation}`;
    const shared = { accessModes: ["ReadWriteOnce"], storageClassName: "" };
    const size = { storage: "1Gi" };

    /** Makes a volume and binds it in the namespace. */
    const bind = async (name: string, persistentVolumeReclaimPolicy: "Delete" | "Retain") => {
      // It is for the driver's own controller to delete it, and none runs here: the suite plays it.
      const csi = { driver: "csi.ringfence.test", volumeHandle: name };
      const spec = { ...shared, capacity: size, persistentVolumeReclaimPolicy, csi };
      await core.createPersistentVolume({ body: { metadata: { name }, spec } });
      const claim = { ...shared, volumeName: name, resources: { requests: size } };
      await core.createNamespacedPersistentVolumeClaim({ namespace, body: { metadata: { name }, spec: claim } });
      await comesTrue("the volume is bound", async () =>
        (await core.readPersistentVolume({ name })).status?.phase === "Bound" ? true : undefined,
      );
    };
    const released = (name: string) =>
      `PersistentVolume '${name}' \\(Released(, finalizer kubernetes.io/pv-protection)?\\)`;

    before(async () => {
      await part.make();
      await bind(passing, "Delete");
      await bind(lasting, "Retain");
      assert.equal(await part.drop(), true);
      // Their controller may hear of it after the namespace is gone.
      for (const name of [passing, lasting])
        await comesTrue("the volume is released", async () =>
          (await core.readPersistentVolume({ name })).status?.phase === "Released" ? true : undefined,
        );
    });

    it("says at once that one would be retained", async () => {
      assert.match(
        await refusal(part.verify()),
        new RegExp(
          `^${server}: of namespace '${namespace}' stay, for their reclaim policy is Retain, ${released(lasting)}: ` +
            "delete each with its data, or keep it by removing its 'spec.claimRef', then run again$",
        ),
      );
    });

    it("lets one be that was given to somebody else, and names one that does not go", async () => {
      await core.patchPersistentVolume({ name: lasting, body: [{ op: "remove", path: "/spec/claimRef" }] });
      assert.match(
        await refusal(part.verify(500)),
        new RegExp(
          `^${server}: what namespace '${namespace}' had in volumes is not gone after 0\\.5 s, because of ${released(passing)}: `,
        ),
      );
    });

    it("leaves them to whoever has a namespace of that name by now", async () => {
      await part.make({});
      await part.verify();
      await part.forget();
    });

    it("waits until the last one is gone", async () => {
      await comesTrue("that namespace is gone", async () => ((await part.read()) ? undefined : true));
      const verified = part.verify();
      await core.deletePersistentVolume({ name: passing });
      await verified;
      await core.deletePersistentVolume({ name: lasting });
      await comesTrue("the other volume is gone", async () =>
        (await core.listPersistentVolume()).items.every(({ metadata }) => metadata?.name !== lasting)
          ? true
          : undefined,
      );
    });
  });

  it("tells a cluster that is out of reach from one that refuses", async () => {
    const nowhere = config.exportConfig().replace(/127\.0\.0\.1:\d+/g, "127.0.0.1:1");
    const lame = newProcess({ ...access, kubernetes: { kubeconfig: JSON.stringify(JSON.parse(nowhere), null, 1) } });
    const part = new Part();
    for (const act of [part.drop(0, lame), part.verify(0, lame)])
      await assert.rejects(act, { name: "StoreError", unreachable: true });
  });
});
