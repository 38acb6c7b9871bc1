/**
 * `npm run bench:adapter [-- --pods N --rounds N]`: how long after a pod is ready and has an adapter loaded it is an endpoint of the
 * adapter's Service, and how long after its end began it is none: by Ringfence, and by the two ways of a central controller that
 * AIBrix has had. All three in one run, in turn, on an embedded platform of its own whose pods are processes. Then the same with
 * one engine that hangs, and the end of the last pod; and how many times as long as with Ringfence each of that takes.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { KubeConfig, type KubernetesObject, KubernetesObjectApi } from "@kubernetes/client-node";
import {
  ADAPTERS_LABEL,
  adapterGeneration,
  LOADED,
  loadedLabel,
  SERVING_ANNOTATION,
} from "../components/plan/adapter.ts";
import { VERTEX_LABEL } from "../components/plan/labels.ts";
import { Kubernetes } from "../components/stores/kubernetes.ts";
import { NEVER_MS, Track, WAYS, type Way } from "./adapter-track.ts";
import type { Fields } from "./adapter-ways.ts";
import { barChart } from "./chart.ts";
import { openPlatform } from "./platform.ts";
import { machine, percentile, rounded, saveResults } from "./statistics.ts";

const { values } = parseArgs({
  options: { pods: { type: "string", default: "3" }, rounds: { type: "string", default: "3" } },
});
const PODS = Number(values.pods);
const ROUNDS = Number(values.rounds);
const before = machine();
const { scratch, env, end } = await openPlatform();
const namespace = `bench-${randomBytes(3).toString("hex")}`;
const artifact = join(scratch, "artifact");
const record = {
  adapter: "sql",
  generation: adapterGeneration(artifact),
  baseModel: "base",
  artifact,
  replicas: "all" as const,
  maxBytes: 2 ** 20,
  loadTimeoutSeconds: 5,
  graceSeconds: 0,
};

try {
  mkdirSync(artifact);
  writeFileSync(join(artifact, "adapter_config.json"), "{}");
  await run();
} finally {
  await end();
}

async function run(): Promise<void> {
  const { KUBECONFIG = "" } = env;
  const config = new KubeConfig();
  config.loadFromFile(KUBECONFIG);
  const objects = KubernetesObjectApi.makeApiClient(config);
  const create = async (object: Fields) => {
    await objects.create({ ...object, metadata: { namespace, ...object.metadata } } as KubernetesObject);
  };
  await objects.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } });
  await rights(create);
  for (const way of WAYS) await create(serviceOf(way));

  const kubernetes = new Kubernetes({ kubeconfig: KUBECONFIG });
  const tracks = WAYS.map((way) => new Track(way, { namespace, record, kubernetes, objects, create }));
  const rounds: Array<{ way: Way; joined: number[]; appeared: number[]; left: number[] }> = [];
  for (let round = 0; round < ROUNDS; round++)
    // Each begins in turn: what comes first finds colder caches.
    for (const track of [...tracks.slice(round % tracks.length), ...tracks.slice(0, round % tracks.length)]) {
      const pods: string[] = [];
      const joined: number[] = [];
      const appeared: number[] = [];
      const left: number[] = [];
      for (let i = 0; i < PODS; i++) {
        const name = await track.start();
        pods.push(name);
        const times = await track.served(name);
        joined.push(times.afterReadyMs);
        appeared.push(times.afterCreationMs);
      }
      for (const name of pods) left.push(await track.end(name));
      rounds.push({ way: track.way, joined, appeared, left });
      console.error(JSON.stringify(rounds.at(-1)));
    }
  const hung: Record<string, number> = {};
  for (const track of tracks) {
    await track.forget();
    const stuck = await track.start({ LOAD: "hangs" });
    await track.ready(stuck);
    hung[track.way] = (await track.served(await track.start())).afterCreationMs;
  }
  for (const track of tracks) track.stop();

  const of = (way: Way, what: "joined" | "appeared" | "left") =>
    rounds.flatMap((round) => (round.way === way ? round[what] : []));
  const figures = (numbers: number[]) => {
    const came = numbers.filter(Number.isFinite);
    return {
      count: numbers.length,
      never: numbers.length - came.length,
      ...(came.length > 0 && { p50: rounded(percentile(came, 0.5)), max: rounded(Math.max(...came)) }),
    };
  };
  const lasts = (way: Way) => rounds.flatMap(({ way: one, left }) => (one === way ? [left.at(-1) as number] : []));
  const ways = Object.fromEntries(
    WAYS.map((way) => [
      way,
      {
        readyAndLoadedToEndpointMs: figures(of(way, "joined")),
        createdToEndpointMs: figures(of(way, "appeared")),
        terminationToRemovalMs: figures(of(way, "left")),
        terminationOfTheLastMs: figures(lasts(way)),
        createdToEndpointBesideAHungEngineMs: rounded(hung[way] ?? Number.NaN),
      },
    ]),
  );
  const p50 = (numbers: number[]) =>
    percentile(
      numbers.map((each) => Math.min(each, NEVER_MS)),
      0.5,
    );
  /** How many times as long as with Ringfence; a millisecond is the least that is told apart, what never came took `NEVER_MS`. */
  const times = (what: (way: Way) => number) =>
    Object.fromEntries(
      WAYS.slice(1).map((way) => [way, rounded(Math.max(1, what(way)) / Math.max(1, what("ringfence")))]),
    );
  const ratios = {
    readyAndLoadedToEndpoint: times((way) => p50(of(way, "joined"))),
    createdToEndpoint: times((way) => p50(of(way, "appeared"))),
    terminationToRemoval: times((way) => p50(of(way, "left"))),
    terminationOfTheLast: times((way) => p50(lasts(way))),
    createdToEndpointBesideAHungEngine: times((way) => hung[way] as number),
  };
  const result = { ...before, pods: PODS, rounds: ROUNDS, neverAfterMs: NEVER_MS, ways, ratios };
  console.log(JSON.stringify(result, null, 2));
  const group = (label: string, what: (way: Way) => number) => ({ label, bars: WAYS.map(what) });
  const groups = [
    group("ready, loaded → endpoint", (way) => p50(of(way, "joined"))),
    group("termination → removal", (way) => p50(of(way, "left"))),
    group("created → endpoint, one hangs", (way) => hung[way] as number),
  ];
  const title = `Adapter endpoints, p50 (a removal at ${NEVER_MS / 1000} s did not come)`;
  saveResults("adapter", result, barChart({ title, bars: [...WAYS], groups, unit: "ms" }));
}

/** As a vertex gives them, but for the admission, which measures nothing here. */
async function rights(create: (object: Fields) => Promise<void>): Promise<void> {
  const metadata = { name: "loader" };
  await create({ apiVersion: "v1", kind: "ServiceAccount", metadata });
  const rbac = { apiVersion: "rbac.authorization.k8s.io/v1", metadata };
  const rules = [
    { apiGroups: [""], resources: ["pods", "configmaps", "services"], verbs: ["list", "watch"] },
    { apiGroups: [""], resources: ["pods/status"], verbs: ["patch"] },
    { apiGroups: [""], resources: ["events"], verbs: ["create"] },
  ];
  await create({ ...rbac, kind: "Role", rules });
  const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "loader" };
  const subjects = [{ kind: "ServiceAccount", name: "loader", namespace }];
  await create({ ...rbac, kind: "RoleBinding", roleRef, subjects });
}

function serviceOf(way: Way): Fields {
  const ours = way === "ringfence";
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      name: way,
      ...(ours && {
        labels: { [ADAPTERS_LABEL]: way },
        annotations: { [SERVING_ANNOTATION]: JSON.stringify({ ...record, adapter: "sql" }) },
      }),
    },
    spec: {
      ...(ours && { selector: { [VERTEX_LABEL]: way, [loadedLabel(record)]: LOADED } }),
      ports: [{ name: "http", port: 8000, targetPort: 8000 }],
    },
  };
}
