import assert from "node:assert/strict";
import { GENERATION_LABEL } from "../../components/plan/labels.ts";
import { completeCleanup as policy } from "../../policy/complete-cleanup.ts";
import { frontend, ledger, namespace, namespaceOf, object, tenant } from "./sketches.ts";
import { type Props, type Sketch, told, UNKNOWN } from "./stack.ts";

const whole = [ledger, ...tenant("chat")];
const CHAT = namespaceOf("chat");
const without = (name: string) => whole.filter((one) => one.name !== name);
const changed = (name: string, change: Partial<Sketch>) =>
  whole.map((one) => (one.name === name ? { ...one, ...change } : one));
const storage = (kind: string, name: string, spec: Props, where: Props = { namespace: CHAT }) =>
  object({
    apiVersion: kind === "StorageClass" ? "storage.k8s.io/v1" : "v1",
    kind,
    metadata: { name, ...where },
    ...spec,
  });
const keeps = storage("StorageClass", "keeps", { reclaimPolicy: "Retain" }, {});

describe("policy complete-cleanup", () => {
  it("lets a tenant with its ledger, claim, parts and vertices be", () => assert.deepEqual(told(policy, whole), []));

  it("refuses parts without a claim, and a claim without a ledger", () => {
    assert.deepEqual(
      told(policy, without("chat-claim")).map((found) => found.replace(/:.*/, "")),
      ["chat-etcd.logicalName", "chat-nats.logicalName", `${"chat-namespace"}.metadata.labels["${GENERATION_LABEL}"]`],
    );
    assert.match(told(policy, without("ledger")).join(), /^chat-claim\.platform: platform 'prod' has no Ledger/);
  });

  it("says nothing where a claim or a ledger is not known yet", () => {
    assert.deepEqual(told(policy, changed("ledger", { props: { platform: UNKNOWN } })), []);
    const claim = { platform: "prod", logicalName: UNKNOWN, generation: UNKNOWN };
    assert.deepEqual(told(policy, changed("chat-claim", { props: claim })), []);
  });

  it("refuses a volume that is retained, of a tenant or of any pipeline with Dynamo", () => {
    const volume = (where: string, spec: Props) =>
      storage("PersistentVolume", "v", { spec: { claimRef: { namespace: where, name: "c" }, ...spec } }, {});
    assert.match(
      told(policy, [...whole, volume(CHAT, { persistentVolumeReclaimPolicy: "Retain" })]).join(),
      /'Retain' keeps a volume/,
    );
    assert.equal(told(policy, [...whole, volume(CHAT, {})]).length, 1, "Kubernetes retains by default");
    assert.deepEqual(told(policy, [...whole, volume(CHAT, { persistentVolumeReclaimPolicy: "Delete" })]), []);
    assert.deepEqual(told(policy, [...whole, volume("elsewhere", {})]), []);
    assert.equal(told(policy, [frontend({ namespace: "llama" }), volume("llama", {})]).length, 1);
  });

  it("refuses claims of a class that retains, in a StatefulSet too", () => {
    const claim = storage("PersistentVolumeClaim", "c", { spec: { storageClassName: "keeps" } });
    const set = storage("StatefulSet", "s", {
      spec: { volumeClaimTemplates: [{ spec: { storageClassName: "keeps" } }] },
    });
    assert.match(
      told(policy, [...whole, keeps, claim]).join(),
      /\/c\.spec\.storageClassName: the StorageClass 'keeps'/,
    );
    assert.match(told(policy, [...whole, keeps, set]).join(), /volumeClaimTemplates\[0\]\.spec\.storageClassName/);
    assert.deepEqual(told(policy, [...whole, storage("StorageClass", "keeps", {}, {}), claim]), []);
  });

  it("refuses annotations that keep an object alive", () => {
    const kept = (annotations: Props) => storage("ConfigMap", "c", {}, { namespace: CHAT, annotations });
    assert.equal(told(policy, [...whole, kept({ "helm.sh/resource-policy": "keep" })]).length, 1);
    assert.equal(told(policy, [...whole, kept({ "pulumi.com/deletionPropagationPolicy": "orphan" })]).length, 1);
    assert.deepEqual(told(policy, [...whole, kept({ "pulumi.com/skipAwait": "true" })]), []);
  });

  for (const [name, problem] of [
    ["chat-claim", /^chat-claim\.owner: it does not depend on 'ledger'/],
    ["chat-etcd", /^chat-etcd\.generation: it does not depend on 'chat-claim'/m],
    ["chat-namespace", /^chat-namespace\.metadata\.name: it does not depend on 'chat-claim'/m],
    ["chat.worker", /^chat\.worker\.metadata\.namespace: it does not depend on 'chat-claim'/m],
  ] as const)
    it(`refuses a deletion order that would purge before '${name}' is gone`, () => {
      assert.match(told(policy, changed(name, { dependsOn: [] })).join("\n"), problem);
    });

  it("follows dependencies by way of others, but not of another tenant", () => {
    const between = storage("ConfigMap", "between", {}, { namespace: CHAT });
    const indirect = changed("chat.worker", { dependsOn: ["between"] });
    assert.deepEqual(told(policy, [...indirect, { ...between, name: "between", dependsOn: ["chat-namespace"] }]), []);
    const two = [...whole, ...tenant("other")];
    const crossed = two.map((one) => (one.name === "other-namespace" ? { ...one, dependsOn: ["chat-etcd"] } : one));
    assert.equal(told(policy, crossed).length, 2, "the namespace, and what is in it");
  });

  it("leaves a namespace alone that is no tenant's", () => {
    assert.deepEqual(told(policy, [...whole, namespace("shop"), keeps]), []);
  });
});
