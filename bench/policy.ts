/**
 * `npm run bench:policy`: what the policy pack costs. First `pulumi preview` of 100, 1,000 and 5,000 Kubernetes resources
 * with and without the pack, in turn, so that a drift of the machine's speed hits both; no server is asked. Then the
 * policies alone, on stacks made to be expensive for anything quadratic: what each costs a resource must not grow.
 *
 * Seconds on the clock and seconds of the processors: on a busy machine only the latter tell one thing from another.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { PolicyResource } from "@pulumi/policy";
import { ensureTools, toolPath } from "../dev/tools/index.ts";
import { policies } from "../policy/policies.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
/** Resources → rounds. */
const SIZES: [resources: number, rounds: number][] = [
  [100, 5],
  [1000, 3],
  [5000, 1],
];

type Props = Record<string, unknown>;

/** One of five resources of a pipeline, of which there are many: namespace, frontend, Service, budget, ConfigMap. */
function nth(i: number): { type: string; name: string; props: Props } {
  const pipeline = `p${Math.floor(i / 5)}`;
  const labels = { app: "frontend" };
  const metadata = { name: "frontend", namespace: pipeline, labels };
  const container = {
    name: "main",
    image: "nvcr.io/nvidia/ai-dynamo/dynamo-frontend:1.4.0",
    command: ["python3", "-m", "dynamo.frontend"],
    env: [
      { name: "DYN_NAMESPACE", value: `${pipeline}-x` },
      { name: "DYN_DISCOVERY_BACKEND", value: "etcd" },
      { name: "DYN_MIGRATION_LIMIT", value: "3" },
      { name: "ETCD_ENDPOINTS", value: "https://etcd-proxy:2379" },
      { name: "ETCD_AUTH_USERNAME", valueFrom: { secretKeyRef: { name: "etcd", key: "username" } } },
      { name: "NATS_SERVER", value: "tls://nats.platform.svc:4222" },
      { name: "NATS_AUTH_CREDENTIALS_FILE", value: "/creds/nats.creds" },
    ],
    resources: { limits: { cpu: "2", memory: "4Gi" } },
    livenessProbe: { httpGet: { path: "/live", port: 8000 } },
    readinessProbe: { httpGet: { path: "/health", port: 8000 } },
    lifecycle: { preStop: { sleep: { seconds: 10 } } },
  };
  const spec = { terminationGracePeriodSeconds: 120, containers: [container] };
  const shapes: [type: string, props: Props][] = [
    ["core/v1:Namespace", { metadata: { name: pipeline } }],
    [
      "apps/v1:Deployment",
      { metadata, spec: { replicas: 2, selector: { matchLabels: labels }, template: { metadata: { labels }, spec } } },
    ],
    ["core/v1:Service", { metadata, spec: { selector: labels, ports: [{ name: "http", port: 8000 }] } }],
    ["policy/v1:PodDisruptionBudget", { metadata, spec: { maxUnavailable: 1, selector: { matchLabels: labels } } }],
    ["core/v1:ConfigMap", { metadata, data: { "app.yaml": "log: info\n".repeat(50) } }],
  ];
  const [type, props] = shapes[i % 5] as (typeof shapes)[number];
  const [group, kind] = type.split(":") as [string, string];
  const apiVersion = group.replace(/^core\//, "");
  return { type: `kubernetes:${type}`, name: `${kind}-${i}`, props: { apiVersion, kind, ...props } };
}

const program = `
import { readFileSync } from "node:fs";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
const provider = new k8s.Provider("render", { renderYamlToDirectory: "rendered" });
for (const { type, name, props } of JSON.parse(readFileSync("stack.json", "utf8")))
  new pulumi.CustomResource(type, name, props, { provider });
`; // JavaScript, which lets an abstract class be made

interface Cost {
  /** On the clock. */
  seconds: number;
  /** Of the processors, all processes of the preview together. */
  cpuSeconds: number;
}

function preview(directory: string, env: NodeJS.ProcessEnv, pack: string[]): Cost {
  const args = ["preview", "--stack", "bench", "--non-interactive", ...pack];
  const script = 'TIMEFORMAT="%R %U %S"; time "$@" >preview.log 2>&1';
  const ran = spawnSync("bash", ["-c", script, "bash", "pulumi", ...args], { cwd: directory, env, encoding: "utf8" });
  if (ran.status !== 0) {
    const log = readFileSync(join(directory, "preview.log"), "utf8");
    throw new Error(`pulumi ${args.join(" ")}: ended with ${ran.status}\n${log}`);
  }
  const [seconds, user, system] = ran.stderr.trim().split(" ").map(Number) as [number, number, number];
  return { seconds, cpuSeconds: user + system };
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number;
const rounded = (value: number): number => Math.round(value * 100) / 100;

function previews(env: NodeJS.ProcessEnv) {
  const directory = mkdtempSync(join(tmpdir(), "ringfence-bench-policy-"));
  try {
    mkdirSync(join(directory, "state"));
    symlinkSync(join(root, "node_modules"), join(directory, "node_modules"));
    writeFileSync(join(directory, "package.json"), JSON.stringify({ name: "bench", type: "module" }));
    const runtime = { name: "nodejs", options: { typescript: false } };
    writeFileSync(join(directory, "Pulumi.yaml"), JSON.stringify({ name: "bench", main: "index.js", runtime }));
    writeFileSync(join(directory, "index.js"), program);
    const shell = {
      ...env,
      PULUMI_BACKEND_URL: `file://${join(directory, "state")}`,
      PULUMI_CONFIG_PASSPHRASE: "none",
    };
    execFileSync("pulumi", ["stack", "init", "bench", "--non-interactive"], { cwd: directory, env: shell });
    return SIZES.filter(([resources]) => resources <= largest).map(([resources, rounds]) => {
      writeFileSync(join(directory, "stack.json"), JSON.stringify(Array.from({ length: resources }, (_, i) => nth(i))));
      const pairs = Array.from({ length: rounds }, (_, round) => {
        const both = () => [
          preview(directory, shell, []),
          preview(directory, shell, ["--policy-pack", join(root, "policy")]),
        ];
        // Whichever goes first has the colder caches.
        if (round % 2 === 0) return both() as [Cost, Cost];
        const judged = preview(directory, shell, ["--policy-pack", join(root, "policy")]);
        return [preview(directory, shell, []), judged] as [Cost, Cost];
      });
      const of = (which: 0 | 1, what: keyof Cost) => rounded(median(pairs.map((pair) => pair[which][what])));
      const overhead = (what: keyof Cost) =>
        rounded(median(pairs.map(([without, judged]) => (judged[what] / without[what] - 1) * 100)));
      return {
        resources,
        rounds,
        seconds: { without: of(0, "seconds"), with: of(1, "seconds"), overheadPercent: overhead("seconds") },
        cpuSeconds: {
          without: of(0, "cpuSeconds"),
          with: of(1, "cpuSeconds"),
          overheadPercent: overhead("cpuSeconds"),
        },
      };
    });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/**
 * A stack for the policies alone: pipelines side by side; all in one namespace; each Dynamo namespace the beginning of the
 * next; tenants of which each waits for the one before.
 */
const shapes: Record<string, (resources: number) => PolicyResource[]> = {
  spread: (resources) => many(resources, (i) => nth(i)),
  crowded: (resources) =>
    many(resources, (i) => {
      const { props, ...rest } = nth(i);
      return { ...rest, props: { ...props, metadata: { ...(props.metadata as Props), namespace: "one" } } };
    }),
  nested: (resources) =>
    many(resources, (i) => {
      const { props, ...rest } = nth(i);
      const name = `x${"-x".repeat(Math.floor(i / 5) % 50)}${Math.floor(i / 250)}`;
      return { ...rest, props: JSON.parse(JSON.stringify(props).replace(/"p\d+-x"/, `"${name}"`)) };
    }),
  chained: (resources) => {
    const stack = [resource("pulumi-nodejs:dynamic/ringfence:Ledger", "ledger", { platform: "prod" })];
    for (let i = 0; stack.length < resources; i++) {
      const generation = String(i).padStart(24, "0");
      const shared = {
        platform: "prod",
        logicalName: `acme/p${i}`,
        generation,
        prefix: `/ringfence/tenants/${generation}/`,
      };
      const labels = { "ringfence.dev/pipeline": `p${i}`, "ringfence.dev/generation": generation };
      const metadata = { name: `p${i}-${generation.slice(0, 8)}`, labels };
      const part = (kind: string, after: PolicyResource[]) =>
        resource(`pulumi-nodejs:dynamic/ringfence:${kind}`, `p${i}-${kind}`, shared, after);
      const claim = part("TenantClaim", [stack[0] as PolicyResource, stack.at(-1) as PolicyResource]);
      const parts = [part("EtcdPrefix", [claim]), part("NatsAccount", [claim])];
      const room = resource("kubernetes:core/v1:Namespace", `p${i}-room`, { metadata }, parts);
      const { type, props } = nth(1);
      const vertex = { ...props, metadata: { name: "v", namespace: metadata.name, labels } };
      stack.push(claim, ...parts, room, resource(type, `p${i}-vertex`, vertex, [room]));
    }
    return stack;
  },
};

const many = (resources: number, make: (i: number) => ReturnType<typeof nth>) =>
  Array.from({ length: resources }, (_, i) => {
    const { type, name, props } = make(i);
    return resource(type, name, props);
  });

const resource = (type: string, name: string, props: Props, dependencies: PolicyResource[] = []) =>
  ({
    type,
    name,
    props,
    urn: `urn:pulumi:bench::bench::${type}::${name}`,
    dependencies,
    propertyDependencies: {},
  }) as unknown as PolicyResource;

/** Microseconds of the processor that all policies take for a resource, by the size of the stack. */
function scaling() {
  return Object.entries(shapes).map(([shape, stack]) => {
    const microseconds = [1000, 5000, 20_000].map((resources) => {
      const judged = stack(resources);
      const runs = Array.from({ length: 3 }, () => {
        const before = process.cpuUsage();
        for (const policy of policies)
          policy.validateStack(
            {
              resources: judged,
              stackTags: new Map(),
              getConfig: <T extends object>() => ({}) as T,
              notApplicable: (reason) => {
                throw new Error(reason);
              },
            },
            () => {},
          );
        const { user, system } = process.cpuUsage(before);
        return user + system;
      });
      return [resources, rounded(Math.min(...runs) / resources)];
    });
    return { shape, microsecondsAResource: Object.fromEntries(microseconds) };
  });
}

const { values } = parseArgs({ options: { largest: { type: "string", default: "5000" } } });
const largest = Number(values.largest);
const tools = await ensureTools();
const PATH = [...toolPath(tools), process.env.PATH].join(delimiter);
const result = {
  cores: cpus().length,
  load: loadavg().map(rounded),
  previews: previews({ ...process.env, PATH, PULUMI_SKIP_UPDATE_CHECK: "true" }),
  policiesAlone: scaling(),
};
const results = join(root, "bench", "results");
mkdirSync(results, { recursive: true });
writeFileSync(join(results, "policy.json"), `${JSON.stringify(result, null, 2)}\n`);
console.log(JSON.stringify(result, null, 2));
