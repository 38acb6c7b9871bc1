/** CustomResourceDefinitions of other projects, as those publish them: what ours must be valid against. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { parse } from "yaml";
import { until } from "../../dev/platform/wait.ts";

const run = promisify(execFile);

/** The module whose tree has them; `sum` is what go.sum would say. */
const OPERATOR = {
  module: "github.com/prometheus-operator/prometheus-operator",
  version: "v0.85.0",
  sum: "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
};

/** Plural names of the kinds that Ringfence makes, all of group monitoring.coreos.com. */
const KINDS = ["podmonitors", "prometheusrules"];

/** A CustomResourceDefinition; its schema is read by the API server only. */
export interface Crd {
  apiVersion: string;
  kind: "CustomResourceDefinition";
  metadata: { name: string };
  spec: { group: string; names: { kind: string }; versions: Array<{ name: string }> };
}

/**
 * The CRDs of PrometheusRule and PodMonitor, out of prometheus-operator's Go module, whose sum is pinned here.
 *
 * Dynamo's DynamoWorkerMetadata is not among them: no registry has it (the Go proxy answers 403 for ai-dynamo/dynamo's
 * modules, its Helm chart is on NGC only).
 * @throws where Go is missing or no module proxy is in reach: `skip` the suite with the message
 */
export async function prometheusOperatorCrds(): Promise<Crd[]> {
  const { module, version, sum } = OPERATOR;
  const { stdout } = await run("go", ["mod", "download", "-json", `${module}@${version}`], {
    // Outside any module: what a checkout requires must not change what is fetched.
    cwd: tmpdir(),
    env: { ...process.env, GOFLAGS: "", GOWORK: "off", GOTOOLCHAIN: "local" },
  });
  const { Dir, Sum } = JSON.parse(stdout) as { Dir: string; Sum: string };
  if (Sum !== sum) throw new Error(`${module}@${version}: its sum is ${Sum}, pinned is ${sum}`);
  return KINDS.map((kind) => {
    const file = join(Dir, "example", "prometheus-operator-crd", `monitoring.coreos.com_${kind}.yaml`);
    return parse(readFileSync(file, "utf8")) as Crd;
  });
}

/**
 * Adds CRDs to the cluster of KUBECONFIG and waits until it serves them.
 * @returns what removes them again, with every object of theirs
 */
export async function installCrds(crds: Crd[], env: NodeJS.ProcessEnv = process.env): Promise<() => Promise<void>> {
  const names = crds.map(({ metadata }) => `crd/${metadata.name}`);
  const list = { apiVersion: "v1", kind: "List", items: crds };
  // Server-side, for a client-side annotation would hold the whole schema once more, and some are too large for it.
  await kubectl(["apply", "--server-side", "-f", "-"], env, JSON.stringify(list));
  await kubectl(["wait", "--for=condition=Established", "--timeout=120s", ...names], env);
  for (const { metadata, spec } of crds) {
    const path = `/apis/${spec.group}/${spec.versions[0]?.name}/${metadata.name.split(".", 1)[0]}`;
    // Established is a little before the API server serves it.
    await until({ what: path, within: 120, attempt: () => kubectl(["get", "--raw", path], env) });
  }
  return async () => {
    await kubectl(["delete", "--ignore-not-found", "--timeout=120s", ...names], env);
  };
}

async function kubectl(args: string[], env: NodeJS.ProcessEnv, input = ""): Promise<void> {
  const running = run("kubectl", args, { env });
  running.child.stdin?.end(input);
  await running;
}
