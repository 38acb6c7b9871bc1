/** `ringfence start` and `ringfence destroy`: the dev stack on the embedded platform, from nothing and back to nothing. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Stores } from "../components/tenancy/access.ts";
import { audit } from "../components/tenancy/audit.ts";
import { type Receipt, receiptLine } from "../components/tenancy/receipt.ts";
import { listClaims } from "../components/tenancy/registry.ts";
import { layout } from "../dev/platform/layout.ts";
import { auditText, FOUND } from "./audit.ts";
import { bringPlatform, platformHome, progress, projectRoot } from "./home.ts";
import { differencesOutside, rememberOutside } from "./outside.ts";
import { clearDeadLocks, type Project, pulumi, pulumiJson, stackExists } from "./pulumi.ts";
import { ask } from "./request.ts";
import { withStores } from "./stores.ts";
import { table } from "./table.ts";

const STACK = "dev";

/** The pipeline whose workers really run on the embedded platform, and the endpoint that they serve. */
const DEMO = "echo";
const DEMO_IMAGES = "ringfence.dev/demo:";

/** Provisions the dev stack. @returns the exit code */
export async function start(): Promise<number> {
  const project = await bringProject();
  await withStores(rememberOutside);
  await clearDeadLocks(project, STACK);
  if (!stackExists(project, STACK)) await pulumi(project, ["stack", "init", STACK]);
  const policy = existsSync(join(project.root, "policy", "PulumiPolicy.yaml")) ? ["--policy-pack", "policy"] : [];
  const code = await pulumi(project, ["up", "--yes", "--stack", STACK, ...policy]);
  if (code !== 0) return code;
  const [update] = pulumiJson<Array<{ resourceChanges?: Record<string, number> }>>(project, [
    "stack",
    "history",
    "--stack",
    STACK,
    "--json",
    "--page-size",
    "1",
  ]);
  const changes = Object.keys(update?.resourceChanges ?? {}).filter((kind) => kind !== "same");
  const pipelines = pipelinesOf(project);
  console.log(`\n${pipelinesTable(pipelines)}\n`);
  if (changes.length === 0) console.log("nothing changed");
  await withStores((stores) => tryDemo(stores, pipelines[DEMO]));
  return 0;
}

/** Sends the demo pipeline a request, where the stack has one that runs. @throws RequestError */
async function tryDemo(stores: Stores, { namespace, phase }: Partial<PipelineOutput> = {}): Promise<void> {
  if (phase !== "Running") return;
  const kubernetes = await stores.kubernetes();
  const worker = await kubernetes.get(`/apis/apps/v1/namespaces/${namespace}/deployments/worker`);
  // Some other software of that name would not know what it is asked.
  if (!JSON.stringify(worker ?? {}).includes(`"image":"${DEMO_IMAGES}`)) return;
  const claims = await listClaims(stores.etcd);
  const held = claims.find(({ claim }) => claim.intents.namespace === namespace);
  if (!held) return;
  const { parts, path } = await ask(stores, held, DEMO, { hello: "ring" });
  console.log(`request ${DEMO} {"hello":"ring"}\n${parts.map((part) => JSON.stringify(part)).join("\n")}\n${path}`);
}

/** Destroys the dev stack and proves that nothing of it is left. @returns the exit code */
export async function destroy(): Promise<number> {
  const project = await bringProject();
  const { receipts } = layout(platformHome());
  mkdirSync(receipts, { recursive: true });
  const directory = mkdtempSync(join(receipts, "destroy-"));
  await clearDeadLocks(project, STACK);
  if (stackExists(project, STACK)) {
    const withReceipts = { ...project, env: { ...project.env, RINGFENCE_RECEIPTS: directory } };
    const code = await pulumi(withReceipts, ["destroy", "--yes", "--stack", STACK]);
    if (code !== 0) return code;
  }
  return withStores(async (stores) => {
    progress("auditing");
    const result = await audit(stores);
    const differences = await differencesOutside(stores);
    console.log("\nReceipt");
    for (const file of readdirSync(directory).sort())
      console.log(receiptLine(JSON.parse(readFileSync(join(directory, file), "utf8")) as Receipt));
    if (result.findings.length > 0 || result.tenants.length > 0) console.log(auditText(result));
    for (const line of differences ?? []) console.log(line);
    console.log(`residue ${result.findings.length}; ${outsideText(differences)}`);
    return result.findings.length + (differences?.length ?? 0) > 0 ? FOUND : 0;
  });
}

const outsideText = (differences: string[] | undefined) =>
  differences
    ? `${differences.length} differences outside from before the first up`
    : "no snapshot from before the first up to compare with: 'npm start' takes it";

async function bringProject(): Promise<Project> {
  const env = await bringPlatform();
  process.env.RINGFENCE_PLATFORM = env.RINGFENCE_PLATFORM;
  return { root: projectRoot(), env: { ...env, PULUMI_SKIP_UPDATE_CHECK: "true" } };
}

interface PipelineOutput {
  phase: string;
  namespace: string;
  etcd: { prefix: string };
  nats: { account: string };
  gpus: number;
  vertices: Record<string, { ready: number; wanted: number }>;
}

function pipelinesOf(project: Project): Record<string, PipelineOutput> {
  const outputs = pulumiJson<{ pipelines?: Record<string, PipelineOutput> }>(project, [
    "stack",
    "output",
    "--stack",
    STACK,
    "--json",
  ]);
  return outputs.pipelines ?? {};
}

function pipelinesTable(pipelines: Record<string, PipelineOutput>): string {
  const rows = Object.entries(pipelines).map(([name, { phase, namespace, etcd, nats, gpus, vertices }]) => [
    name,
    phase,
    namespace,
    etcd.prefix,
    nats.account,
    String(gpus),
    Object.entries(vertices)
      .map(([vertex, { ready, wanted }]) => `${vertex} ${ready}/${wanted}`)
      .join(", "),
  ]);
  return table(
    ["PIPELINE", "PHASE", "NAMESPACE", "ETCD PREFIX", "NATS ACCOUNT", "GPUS", "VERTICES READY/WANTED"],
    rows,
  );
}
