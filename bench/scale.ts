/**
 * `npm run bench:scale [-- PIPELINES … --rounds N]`: what it takes to bring pipelines up, look that nothing is to be done,
 * update one and destroy them all: by Ringfence, by a Pulumi program that has the same Kubernetes objects and nothing else,
 * and by kubectl's server-side apply of them. Beside the objects Ringfence makes a claim, an etcd user with its prefix and a NATS
 * account for each pipeline, and at the end purges and verifies them; the others do none of that.
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { barChart } from "./chart.ts";
import type { Cost } from "./measured.ts";
import { installPackage } from "./package.ts";
import { openPlatform } from "./platform.ts";
import { Kubectl, Plain, Ringfence, type Surroundings, type Way } from "./scale-ways.ts";
import { machine, percentile, rounded, saveResults } from "./statistics.ts";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: "string", default: "3" } },
});
const SIZES = positionals.length > 0 ? positionals.map(Number) : [1, 10, 50];
/** Of the previews, one way after the other, so that a drift of the machine's speed hits all. */
const ROUNDS = Number(values.rounds);
/** GPU nodes beside the platform's own: a pod of each pipeline on each way, one more while it is updated. */
const NODES = Math.ceil((Math.max(...SIZES) * 3 + 1) / 8);

type Act = "up" | "preview" | "update" | "destroy";
const ACTS: Act[] = ["up", "preview", "update", "destroy"];
type Costs = Record<Act, Cost>;

const before = machine();
const { scratch, env, end } = await openPlatform();
const sizes: Record<string, Awaited<ReturnType<typeof compare>>> = {};
try {
  const modules = installPackage(join(scratch, "package"));
  addNodes();
  for (const size of SIZES) {
    sizes[size] = await compare(size, { env, modules });
    save();
  }
} finally {
  await end();
}

/** Copies of the platform's first GPU node. */
function addNodes(): void {
  const kubectl = (args: string[], input = "") => execFileSync("kubectl", args, { env, input, encoding: "utf8" });
  const { metadata, spec, status } = JSON.parse(kubectl(["get", "node", "gpu-0", "-o", "json"]));
  const items = Array.from({ length: NODES }, (_, i) => {
    const name = `bench-${i}`;
    const labels = { ...metadata.labels, "kubernetes.io/hostname": name };
    const podCIDR = `10.245.${i}.0/24`;
    return {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name, labels, annotations: { "kwok.x-k8s.io/node": "fake" } },
      spec: { taints: spec.taints, podCIDR, podCIDRs: [podCIDR] },
      status: { capacity: status.capacity, allocatable: status.allocatable },
    };
  });
  kubectl(["create", "-f", "-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  kubectl(["wait", "node", "--all", "--for=condition=Ready", "--timeout=1m"]);
}

/** All three ways stand side by side, so that each step of one can be taken right after the same step of another. */
async function compare(pipelines: number, surroundings: Surroundings) {
  const directory = (way: string) => join(scratch, `${way}-${pipelines}`);
  const ringfence = new Ringfence(directory("ringfence"), surroundings, pipelines);
  const costs: Record<string, Partial<Costs>> = { ringfence: {}, plain: {}, kubectl: {} };
  const take = async (name: string, act: Act, way: Way) => {
    const cost = await way[act]();
    (costs[name] as Partial<Costs>)[act] = cost;
    console.error(`${pipelines} pipelines: ${name} ${act}: ${rounded(cost.seconds)} s`);
  };
  await take("ringfence", "up", ringfence);
  const plain = new Plain(directory("plain"), surroundings, ringfence.manifests("plain"));
  const kubectl = new Kubectl(directory("kubectl"), surroundings, ringfence.manifests("kubectl"));
  const ways: Record<string, Way> = { ringfence, plain, kubectl };
  await take("plain", "up", plain);
  await take("kubectl", "up", kubectl);

  const previews: Record<string, Cost[]> = { ringfence: [], plain: [], kubectl: [] };
  for (let round = 0; round < ROUNDS; round++)
    for (const [name, way] of Object.entries(ways)) previews[name]?.push(await way.preview());
  for (const [name, all] of Object.entries(previews)) (costs[name] as Partial<Costs>).preview = middle(all);

  const objects = ringfence.manifests("none").length;
  const stateBytes = { ringfence: ringfence.stateBytes, plain: plain.stateBytes };
  const providers = ringfence.providerBytes;
  await take("ringfence", "update", ringfence);
  plain.take(ringfence.manifests("plain"));
  kubectl.take(ringfence.manifests("kubectl"));
  await take("plain", "update", plain);
  await take("kubectl", "update", kubectl);
  for (const [name, way] of Object.entries(ways)) await take(name, "destroy", way);

  const done = costs as Record<"ringfence" | "plain" | "kubectl", Costs>;
  return {
    timesOfPlain: {
      ...timesOf(done.plain, done.ringfence),
      upCpu: rounded(done.ringfence.up.cpuSeconds / done.plain.up.cpuSeconds),
      previewCpu: rounded(done.ringfence.preview.cpuSeconds / done.plain.preview.cpuSeconds),
      upMemory: rounded(done.ringfence.up.memoryMiB / done.plain.up.memoryMiB),
      state: rounded(stateBytes.ringfence / stateBytes.plain),
    },
    kubectlTimesOfPlain: timesOf(done.plain, done.kubectl),
    upSecondsPerPipeline: rounded(done.ringfence.up.seconds / pipelines),
    kubernetesObjects: objects,
    dynamicResources: providers.length,
    providerBytes: Math.max(...providers),
    stateBytes,
    costs: Object.fromEntries(Object.entries(done).map(([name, acts]) => [name, shown(acts)])),
  };
}

/** On the clock. */
function timesOf(base: Costs, costs: Costs): Record<Act, number> {
  const ratio = (act: Act) => rounded(costs[act].seconds / base[act].seconds);
  return { up: ratio("up"), preview: ratio("preview"), update: ratio("update"), destroy: ratio("destroy") };
}

/** Each figure's own median. */
function middle(all: Cost[]): Cost {
  const of = (key: keyof Cost) =>
    percentile(
      all.map((cost) => cost[key]),
      0.5,
    );
  return { seconds: of("seconds"), cpuSeconds: of("cpuSeconds"), memoryMiB: of("memoryMiB") };
}

function shown(acts: Costs) {
  const figures = (cost: Cost) => Object.fromEntries(Object.entries(cost).map(([key, value]) => [key, rounded(value)]));
  return Object.fromEntries(Object.entries(acts).map(([act, cost]) => [act, figures(cost)]));
}

function save(): void {
  const result = {
    timesOfPlain: Object.fromEntries(Object.entries(sizes).map(([size, { timesOfPlain }]) => [size, timesOfPlain])),
    sizes,
    rounds: ROUNDS,
    machine: before,
  };
  saveResults("scale", result, picture());
  console.log(JSON.stringify(result, null, 2));
}

function picture(): string {
  return barChart({
    title: "The same Kubernetes objects, brought by Ringfence and by kubectl",
    bars: ["Ringfence", "kubectl"],
    groups: ACTS.flatMap((act) =>
      Object.entries(sizes).map(([size, { timesOfPlain, kubectlTimesOfPlain }]) => ({
        label: `${act}, ${size} ${size === "1" ? "pipeline" : "pipelines"}`,
        bars: [timesOfPlain[act], kubectlTimesOfPlain[act]],
      })),
    ),
    unit: "times of a Pulumi program with these objects alone; Ringfence also makes and removes a claim, an etcd prefix and a NATS account each",
  });
}
