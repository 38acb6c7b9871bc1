import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { installCrds, prometheusOperatorCrds } from "../support/crds.ts";
import { skip } from "../support/skip.ts";
import { type Case, everyCase, type Manifest } from "./manifests.ts";

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

function kubectl(args: string[], input = ""): Promise<Ended> {
  return new Promise((resolve) => {
    const running = execFile("kubectl", args, { maxBuffer: 2 ** 26 }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
    running.stdin?.end(input);
  });
}

/**
 * Whether the API server would take them: it checks and admits each as it would for good, and keeps none. A document each, for
 * kubectl would check a List by itself, and leniently.
 */
const judge = (manifests: Manifest[]): Promise<Ended> =>
  kubectl(
    ["create", "--dry-run=server", "--validate=strict", "-f", "-"],
    manifests.map((manifest) => JSON.stringify(manifest)).join("\n---\n"),
  );

describe("every manifest that a component makes", () => {
  const namespace = `truth-${randomBytes(3).toString("hex")}`;
  let cases: Case[];
  let removeCrds: (() => Promise<void>) | undefined;

  /** Into a namespace that is there; each different one once, with the first case that has it. */
  const distinct = (): Map<string, string> => {
    const found = new Map<string, string>();
    for (const { title, manifests } of cases)
      for (const manifest of manifests) {
        const { metadata } = manifest;
        const here = metadata.namespace ? { ...manifest, metadata: { ...metadata, namespace } } : manifest;
        const text = JSON.stringify(here);
        if (!found.has(text)) found.set(text, title);
      }
    return found;
  };

  before(async function () {
    const crds = await prometheusOperatorCrds().catch((error: Error) => skip(this, error.message));
    if (!crds) return;
    removeCrds = await installCrds(crds);
    assert.equal((await kubectl(["create", "namespace", namespace])).code, 0);
    cases = await everyCase();
  });
  after(async () => {
    await kubectl(["delete", "namespace", namespace, "--ignore-not-found"]);
    await removeCrds?.();
  });

  it("is taken by the API server, without a field that it does not know", async () => {
    const manifests = distinct();
    const { code, stdout, stderr } = await judge([...manifests.keys()].map((text) => JSON.parse(text)));
    assert.equal(code, 0, `${stderr}\ncases:\n${cases.map(({ title }) => title).join("\n")}`);
    assert.equal(stdout.trim().split("\n").length, manifests.size, stdout);
  });

  it("would not be taken with a field that is misspelt, wherever it is", async () => {
    for (const kind of ["Deployment", "NetworkPolicy", "Service", "PodMonitor", "PrometheusRule", "ResourceQuota"]) {
      const text = [...distinct().keys()].find((each) => JSON.parse(each).kind === kind) ?? assert.fail(`no ${kind}`);
      const manifest = JSON.parse(text);
      const { code, stderr } = await judge([{ ...manifest, spec: { ...manifest.spec, misspelt: 1 } }]);
      assert.notEqual(code, 0, kind);
      assert.match(stderr, /strict decoding error: unknown field "spec.misspelt"/);
    }
  });

  it("has every kind of object on each plane that it is for", () => {
    const kinds = (planes: string) =>
      new Set(
        cases
          .filter(({ title }) => title.includes(planes))
          .flatMap(({ manifests }) => manifests.map(({ kind }) => kind)),
      );
    const always = [
      "Namespace",
      "Deployment",
      "Service",
      "PodDisruptionBudget",
      "NetworkPolicy",
      "LimitRange",
      "PodMonitor",
      "PrometheusRule",
      "ConfigMap",
    ];
    for (const kind of [...always, "Secret"]) assert.ok(kinds("etcd, nats, nats").has(kind), kind);
    assert.ok(kinds("everything set").has("PriorityClass"));
    for (const kind of ["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"])
      assert.ok(kinds("written by hand").has(kind), kind);
    for (const kind of [...always, "ServiceAccount", "Role", "RoleBinding"])
      assert.ok(kinds("kubernetes, tcp, zmq").has(kind), kind);
  });
});
