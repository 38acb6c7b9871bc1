import assert from "node:assert/strict";
import * as pulumi from "@pulumi/pulumi";
import { GpuPool, type GpuPoolArgs, Pipeline, type PipelineArgs, Vertex } from "../../components/index.ts";
import { type Fields, failureOf, type Registered, run, warningsOf } from "./engine.ts";
import { envOf, platformNamed } from "./scene.ts";

/** A pipeline `chat` of these vertices. */
const chat = (vertices: PipelineArgs["vertices"], change: Partial<PipelineArgs> = {}) =>
  new Pipeline("chat", { platform: platformNamed("platform"), vertices, ...change });

/** What a test reads of a vertex. */
function vertexOf(all: Map<string, Registered>, vertex: string) {
  const { spec } = (all.get(`Deployment chat.${vertex}-deployment`) as Registered).inputs;
  const pod: Fields = spec.template.spec;
  const [container] = pod.containers as [Fields];
  const env = envOf(container);
  const { lifecycle, terminationGracePeriodSeconds: grace } = { ...container, ...pod } as Fields;
  return { sleep: lifecycle?.preStop.sleep.seconds, grace, env, strategy: spec.strategy.rollingUpdate };
}

const surge = { maxUnavailable: 0, maxSurge: 1 };
const replace = { maxUnavailable: 1, maxSurge: 0 };

describe("how a vertex' pods end", () => {
  it("is the pipeline's word, and the vertex' own before it", async () => {
    const all = await run(() =>
      chat(
        {
          web: { image: "i", ports: { http: 80 } },
          worker: { image: "i", availability: { leaseTtlSeconds: 6, shutdownGraceSeconds: 100 } },
          slow: { image: "i", ports: { http: 80 }, preStopSleepSeconds: 0, terminationGracePeriodSeconds: 300 },
        },
        { availability: { leaseTtlSeconds: 20, propagationSeconds: 7 } },
      ),
    );
    const [web, worker, slow] = ["web", "worker", "slow"].map((vertex) => vertexOf(all, vertex));
    assert.deepEqual([web?.sleep, web?.grace], [7, 7 + 7 + 30 + 10]);
    assert.deepEqual([worker?.sleep, worker?.grace], [undefined, 7 + 100 + 10]);
    assert.deepEqual([slow?.sleep, slow?.grace], [undefined, 300]);
    const told = ({ env }: { env: Fields }) =>
      ["LEASE_TTL", "PROPAGATION_SECONDS", "GRACE_SECONDS"].map((name) => env[`RINGFENCE_${name}`]);
    assert.deepEqual(told(web ?? assert.fail()), ["20", "7", "30"]);
    assert.deepEqual(told(worker ?? assert.fail()), ["6", "7", "100"]);
  });

  it("tells the program which rollout it belongs to", async () => {
    const all = await run(() => chat({ web: { image: "i" } }));
    const { env } = all.get("Deployment chat.web-deployment")?.inputs.spec.template.spec.containers[0] ?? {};
    assert.deepEqual(
      env.find(({ name }: Fields) => name === "RINGFENCE_ROLLOUT").valueFrom.fieldRef.fieldPath,
      "metadata.labels['pod-template-hash']",
    );
  });

  it("is the default in a Vertex that no plan has looked at", async () => {
    const all = await run(() => {
      const { tenant } = chat({ web: { image: "i" } });
      const made = { replicas: 1, phase: "Running", planDigest: "", image: "i", ports: { http: 80 } } as const;
      const pool = new GpuPool("h100", { product: "H100", rollout: "replace" });
      new Vertex("chat.extra", { tenant, pipeline: "chat", vertex: "web", ...made, pool });
    });
    const { sleep, grace, strategy } = vertexOf(all, "extra");
    assert.deepEqual([sleep, grace, strategy], [5, 50, replace]);
  });

  it("is refused when SIGKILL would come before it, as soon as that is known", async () => {
    const told = /chat\.vertices\.web\.terminationGracePeriodSeconds: found 9; expected 45 or more \(sleep before/;
    const plain = await failureOf(() => chat({ web: { image: "i", terminationGracePeriodSeconds: 9 } }));
    assert.match(plain.message, told);
    const late = () => chat({ web: { image: "i", terminationGracePeriodSeconds: pulumi.output(9) } });
    assert.match((await failureOf(late)).message, told);
  });

  it("is warned of when a lease is short or long, and nothing else is", async () => {
    const lines = await warningsOf(() =>
      chat({
        web: { image: "i", availability: { leaseTtlSeconds: 2 } },
        worker: { image: "i", availability: { leaseTtlSeconds: 60 } },
        quiet: { image: "i" },
      }),
    );
    assert.equal(lines.length, 2, lines.join("\n"));
    assert.match(lines[0] ?? "", /chat\.web\.availability\.leaseTtlSeconds: found 2; a pause .* use 5 to 30$/);
    assert.match(lines[1] ?? "", /chat\.worker\.availability\.leaseTtlSeconds: found 60; .* use 5 to 30$/);
  });
});

describe("how a vertex' pods are exchanged", () => {
  const worker = (pool: GpuPool, replicas: number) => ({ image: "w", gpus: 1, pool, replicas });
  const exchanged = async (args: Partial<GpuPoolArgs>, replicas: number, change: Partial<PipelineArgs> = {}) => {
    const all = await run(() => {
      const pool = new GpuPool("h100", { product: "H100", ...args });
      return chat({ web: { image: "i" }, worker: worker(pool, replicas) }, change);
    });
    const quota = all.get("ResourceQuota chat-quota")?.inputs.spec.hard["requests.nvidia.com/gpu"];
    assert.deepEqual(vertexOf(all, "web").strategy, surge);
    return [vertexOf(all, "worker").strategy, quota];
  };
  const small = { nodes: 1, gpusPerNode: 8 };

  it("is the new one first where pool and quota are not known to be full, and the quota holds it", async () => {
    assert.deepEqual(await exchanged({}, 8), [surge, "9"]);
    assert.deepEqual(await exchanged(small, 7), [surge, "8"]);
    assert.deepEqual(await exchanged(small, 7, { lifecycle: { desiredPhase: "Paused" } }), [surge, "8"]);
  });

  it("is the old one first where they are, and the quota holds no more than that", async () => {
    assert.deepEqual(await exchanged(small, 8), [replace, "8"]);
    assert.deepEqual(await exchanged({}, 4, { quota: { gpus: { "nvidia.com/gpu": 4 } } }), [replace, "4"]);
    assert.deepEqual(await exchanged({ rollout: "replace" }, 4), [replace, "4"]);
  });

  it("is warned of where it leaves nobody to answer, and nobody chose that", async () => {
    const warned = (args: Partial<GpuPoolArgs>, replicas: number) =>
      warningsOf(() => chat({ worker: worker(new GpuPool("h100", { product: "H100", ...args }), replicas) }));
    const one = { nodes: 1, gpusPerNode: 1 };
    const [line, ...others] = await warned(one, 1);
    assert.match(
      line ?? "",
      /chat\.worker\.replicas: found 1; pool 'h100' or the quota has no room for another, so an /,
    );
    assert.deepEqual(others, []);
    assert.deepEqual(await warned({ ...one, rollout: "replace" }, 1), []);
    assert.deepEqual(await warned({ nodes: 1, gpusPerNode: 2 }, 2), []);
    assert.deepEqual(await warned({}, 1), []);
  });
});
