import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import * as k8s from "@pulumi/kubernetes";
import { LocalWorkspace, type Stack } from "@pulumi/pulumi/automation/index.js";
import { Observability } from "../../components/observability.ts";
import { observable } from "../../components/plan/observability/scrape.ts";
import { type Crd, installCrds, prometheusOperatorCrds } from "../support/crds.ts";
import { skip } from "../support/skip.ts";

const run = promisify(execFile);
const kubectl = async (...args: string[]): Promise<string> => (await run("kubectl", args)).stdout;

/** A tenant's namespace, and where Prometheus and Grafana run. */
const [chat, monitoring] = ["chat-0b5e4a1e", "watched"];

const vertices = {
  frontend: { component: "frontend", ports: { http: 8000 } },
  decode: { component: "backend", ports: { system: 9090 } },
};

function program(): void {
  const kubernetes = new k8s.Provider("kubernetes", {});
  const namespaces = [chat, monitoring].map(
    (name) => new k8s.core.v1.Namespace(name, { metadata: { name } }, { provider: kubernetes }),
  );
  const [tenant, home] = namespaces.map(({ metadata }) => metadata.name);
  assert.ok(tenant && home);
  new Observability("watch", {
    platform: { kubernetes },
    pipelines: {
      chat: { tenant: { namespace: tenant, generation: home }, observable: observable(vertices) },
    },
    prometheus: { namespace: home, labels: { release: "prometheus" } },
    grafana: { namespace: home },
  });
}

interface Rendered {
  inputs: { kind?: string; metadata: { name: string; annotations?: object } };
}

/** Asks the API server for an object's creation, to be refused for any field that its schema does not have. */
async function strictly(manifest: object): Promise<void> {
  const asked = run("kubectl", ["create", "--validate=strict", "--dry-run=server", "-f", "-"]);
  asked.child.stdin?.end(JSON.stringify(manifest));
  await asked;
}

describe("Observability on a cluster", () => {
  let crds: Crd[];
  let directory: string;
  let stack: Stack;
  let removeCrds: (() => Promise<void>) | undefined;

  before(async function () {
    crds = await prometheusOperatorCrds().catch((error) =>
      skip(this, `no CRDs of prometheus-operator: ${error.message}`),
    );
    directory = realpathSync(mkdtempSync(join(tmpdir(), "ringfence-observability-")));
    stack = await LocalWorkspace.createOrSelectStack(
      { stackName: "dev", projectName: "observability", program: async () => program() },
      {
        workDir: directory,
        envVars: {
          PULUMI_BACKEND_URL: `file://${directory}`,
          PULUMI_CONFIG_PASSPHRASE: "",
          PULUMI_SKIP_UPDATE_CHECK: "1",
        },
      },
    );
  });

  after(async () => {
    await stack?.destroy();
    await removeCrds?.();
    if (directory) rmSync(directory, { recursive: true, maxRetries: 10 });
  });

  it("is refused at preview where prometheus-operator is not", async () => {
    await assert.rejects(stack.preview(), /resource 'prometheusrules\.monitoring\.coreos\.com' does not exist/);
  });

  it("is what prometheus-operator's CRDs and the API server take, unknown fields refused", async () => {
    removeCrds = await installCrds(crds);
    await stack.up();
    // As they were rendered: in the cluster, a field that it does not know would be gone.
    const rendered = (await stack.exportStack()).deployment.resources.filter(
      ({ type, inputs }: { type: string; inputs?: object }) => /^kubernetes:.*[/]v1:/.test(type) && inputs,
    );
    const kinds = rendered.map(({ inputs }: Rendered) => inputs.kind).sort();
    assert.deepEqual(
      kinds.filter((kind: string) => kind && kind !== "Namespace"),
      ["ConfigMap", "NetworkPolicy", "PodMonitor", "PrometheusRule", "PrometheusRule"],
    );
    for (const { inputs } of rendered as Rendered[]) {
      if (!inputs.kind) continue; // what is read only
      const { name, annotations: _, ...metadata } = inputs.metadata;
      await strictly({ ...inputs, metadata: { ...metadata, name: `${name}-2` } });
    }
    const [rule] = rendered.filter(({ inputs }: Rendered) => inputs.kind === "PrometheusRule") as Rendered[];
    const mistaken = {
      ...rule?.inputs,
      metadata: { name: "mistaken", namespace: chat },
      spec: { groups: [], rules: [] },
    };
    await assert.rejects(strictly(mistaken), /unknown field "spec\.rules"/);
  });

  it("changes nothing when it is brought up again, and goes without a trace", async () => {
    await stack.up({ expectNoChanges: true });
    await stack.destroy();
    const left = await kubectl("get", "prometheusrules,podmonitors", "-A", "-o", "name");
    assert.equal(left.trim(), "");
  });
});
