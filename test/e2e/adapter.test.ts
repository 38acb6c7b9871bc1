import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { adapterGeneration } from "../../components/plan/adapter.ts";
import { Kubernetes } from "../../components/stores/kubernetes.ts";
import { Watched } from "../../components/stores/kubernetes-watch.ts";
import type { Snapshot } from "../../components/tenancy/outside.ts";
import { localAddress } from "../../dev/platform/process-pods.ts";
import { until } from "../../dev/platform/wait.ts";
import { assertUntouched, Project, snapshot, temporary } from "./scene.ts";

// biome-ignore lint/suspicious/noExplicitAny: Kubernetes objects are read field by field
type Fields = any;

/** Milliseconds between two requests. */
const PACE_MS = 10;

/**
 * A client that names one model, and knows of pods what kube-proxy knows: the ready endpoints of the adapter's Service. It opens
 * a connection for each request.
 */
class Traffic {
  readonly outcomes = { answered: 0, unknownModel: [] as string[], refused: [] as string[], nobody: 0 };
  /** What answered, by what its artifact says. */
  readonly artifacts = new Map<string, number>();
  /** Pods that were endpoints and are none, or were none for a while. */
  readonly left = new Set<string>();
  model: string;
  readonly #slices: Watched;
  #before: string[] = [];
  #over = false;
  readonly #done: Promise<void>;

  constructor(namespace: string, service: string, model: string) {
    this.model = model;
    this.#slices = Watched.start(new Kubernetes({}), {
      path: `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`,
      selector: `kubernetes.io/service-name=${service}`,
      changed: () => this.#changed(),
      failed: () => {},
    });
    this.#done = this.#run();
  }

  /** Pods that a new connection may go to. */
  endpoints(): Array<{ address: string; pod: string }> {
    return (this.#slices.items() ?? []).flatMap((slice: Fields) =>
      (slice.endpoints ?? []).flatMap(({ addresses, conditions, targetRef }: Fields) =>
        conditions.ready ? [{ address: addresses[0], pod: targetRef.name }] : [],
      ),
    );
  }

  #changed(): void {
    const pods = this.endpoints().map(({ pod }) => pod);
    for (const pod of this.#before) if (!pods.includes(pod)) this.left.add(pod);
    this.#before = pods;
  }

  /** Sends one to a pod. @returns the process that answered */
  async ask(address: string): Promise<number | undefined> {
    const { model } = this;
    try {
      const answer = await fetch(`http://${localAddress(address)}:8000/v1/completions`, {
        method: "POST",
        body: JSON.stringify({ model, prompt: "a" }),
        headers: { connection: "close" },
        signal: AbortSignal.timeout(60_000),
      });
      const body = (await answer.json()) as Fields;
      if (answer.status === 404) this.outcomes.unknownModel.push(`${address}: ${body.error.message}`);
      if (answer.status !== 200) return undefined;
      const { pid, adapter } = JSON.parse(body.choices[0].text);
      this.outcomes.answered++;
      this.artifacts.set(adapter, (this.artifacts.get(adapter) ?? 0) + 1);
      return pid;
    } catch (error) {
      const { message, cause } = error as Error & { cause?: Error };
      this.outcomes.refused.push(`${address}: ${cause?.message ?? message}`);
      return undefined;
    }
  }

  async #run(): Promise<void> {
    for (let turn = 0; !this.#over; turn++) {
      const endpoints = this.endpoints();
      const next = endpoints[turn % endpoints.length];
      if (next) await this.ask(next.address);
      else this.outcomes.nobody++;
      await sleep(PACE_MS);
    }
  }

  async stop(): Promise<void> {
    this.#over = true;
    await this.#done;
    this.#slices.stop();
  }
}

describe("an adapter under steady traffic", function () {
  this.timeout(600_000);
  const artifacts = temporary("artifacts");
  let project: Project;
  let outside: Snapshot;
  let traffic: Traffic | undefined;
  let replicas = 2;
  let rolled = 1;
  let rolloutTimeoutSeconds = 120;
  let artifact: string;

  function artifactNamed(name: string): string {
    const path = join(artifacts, name);
    mkdirSync(path);
    writeFileSync(join(path, "adapter_config.json"), name);
    return path;
  }

  const config = () => ({
    pipelines: {
      chat: {
        vertices: {
          engine: {
            image: "ringfence.dev/stand-in-engine:1",
            command: ["node", "/ringfence/test/support/stand-in-engine.ts"],
            env: { PORT: "8000", MODEL: "base", START_MS: "2000", ROLLED: String(rolled) },
            ports: { http: 8000 },
            probes: { readiness: { path: "/health", port: "http", periodSeconds: 1, failureThreshold: 10 } },
            availability: { propagationSeconds: 5, shutdownGraceSeconds: 5 },
            replicas,
            adapters: { port: "http", image: "ringfence.dev/ringfence:1" },
          },
        },
        adapters: {
          sql: { vertex: "engine", baseModel: "base", artifact, rolloutTimeoutSeconds, graceSeconds: 45 },
        },
      },
    },
  });

  async function up(): Promise<{ namespace: string; sql: Fields; output: string }> {
    project.configure(config());
    const { output } = await project.pulumi("up", "--yes", "--skip-preview");
    const { stdout } = await project.pulumi("stack", "output", "pipelines", "--show-secrets", "--json");
    const { namespace, adapters } = JSON.parse(stdout).chat;
    return { namespace, sql: adapters.sql, output };
  }

  const flowing = (): Traffic => traffic ?? assert.fail("there is no traffic");

  /** What a scenario may never have, and how much it answered. */
  function harmless({ refusals = false } = {}): void {
    const { outcomes } = flowing();
    assert.deepEqual(outcomes.unknownModel, [], "answered by a pod that had not loaded it");
    if (!refusals) assert.deepEqual(outcomes.refused, [], "routed to a pod that was gone");
    assert.ok(outcomes.answered > 0);
    outcomes.answered = 0;
    outcomes.refused = [];
  }

  before(async () => {
    artifact = artifactNamed("one");
    outside = await snapshot(process.env);
    project = new Project(process.env, config());
    await project.pulumi("stack", "init");
    const { namespace, sql } = await up();
    assert.equal(sql.model, `sql-${adapterGeneration(artifact)}`);
    assert.equal(sql.problem, "");
    traffic = new Traffic(namespace, "sql", sql.model);
    await until({ what: "both pods", within: 120, attempt: async () => assert.equal(flowing().endpoints().length, 2) });
    flowing().outcomes.nobody = 0;
  });
  after(async () => {
    await traffic?.stop();
    await project.pulumi("destroy", "--yes", "--skip-preview");
    project.close();
    rmSync(artifacts, { recursive: true });
    await assertUntouched(process.env, outside);
  });

  it("is answered by pods that have it through a rolling upgrade that scales out", async () => {
    const earlier = flowing().endpoints();
    rolled++;
    replicas = 3;
    await up();
    await until({
      what: "the new pods alone",
      within: 120,
      attempt: async () => {
        const pods = flowing().endpoints();
        assert.equal(pods.length, 3);
        for (const { pod } of pods) assert.ok(!earlier.some((one) => one.pod === pod));
      },
    });
    assert.equal(flowing().outcomes.nobody, 0, "at no time was there nobody");
    harmless();
  });

  it("is answered by pods that have it through scaling in", async () => {
    replicas = 2;
    await up();
    await until({ what: "two", within: 120, attempt: async () => assert.equal(flowing().endpoints().length, 2) });
    assert.equal(flowing().outcomes.nobody, 0, "at no time was there nobody");
    harmless();
  });

  it("moves to another artifact, and unloads the earlier one once nobody names it", async () => {
    artifact = artifactNamed("two");
    const { sql } = await up();
    assert.equal(sql.model, `sql-${adapterGeneration(artifact)}`);
    const loaded = async (holds: (ids: string[]) => boolean) => {
      for (const { address } of flowing().endpoints()) {
        const answer = await fetch(`http://${localAddress(address)}:8000/v1/models`);
        const ids = ((await answer.json()) as Fields).data.map(({ id }: Fields) => id);
        assert.ok(holds(ids), `${address} has ${ids}`);
      }
    };
    // What the Service selects may be known here a moment later.
    const ours = (ids: string[]) => ids.includes(sql.model);
    await until({ what: "all have it", within: 120, attempt: () => loaded(ours) });
    flowing().model = sql.model;
    harmless();
    await until({
      what: "the earlier one is unloaded everywhere",
      within: 120,
      attempt: () => loaded((ids) => String(ids) === String(["base", sql.model])),
    });
    const { artifacts } = flowing();
    artifacts.clear();
    await until({ what: "answers", within: 120, attempt: async () => assert.ok((artifacts.get("two") ?? 0) > 10) });
    assert.deepEqual([...artifacts.keys()], ["two"]);
    harmless();
  });

  it("keeps what serves when another artifact cannot be loaded, and says why", async () => {
    const kept = artifact;
    artifact = join(artifacts, "missing");
    rolloutTimeoutSeconds = 30;
    const { sql, output } = await up();
    assert.equal(sql.model, `sql-${adapterGeneration(kept)}`);
    assert.match(sql.problem, /have 'sql-\w+' after 30 s \(engine-.*No adapter found for .*goes on serving/);
    assert.match(output, /No adapter found/);
    harmless();
    const status = JSON.parse((await project.ringfence(0, "status", "chat", "--json")).stdout);
    const [found] = status.flatMap(({ logicalName, adapters }: Fields) =>
      logicalName.startsWith(project.realm) ? adapters : [],
    );
    assert.equal(found.serving, adapterGeneration(kept));
    assert.equal(found.generation, adapterGeneration(artifact));
    assert.match(found.failures[0].why, /No adapter found/);
  });

  it("is never answered by an engine that has restarted without it", async () => {
    const { address, pod } = flowing().endpoints()[0] ?? assert.fail();
    const pid = (await flowing().ask(address)) ?? assert.fail();
    const { left } = flowing();
    left.delete(pod);
    process.kill(pid, "SIGKILL");
    await until({ what: "the endpoint goes", within: 120, attempt: async () => assert.ok(left.has(pod)) });
    await until({
      what: "it is back",
      within: 120,
      attempt: async () =>
        assert.ok(
          flowing()
            .endpoints()
            .some((one) => one.pod === pod),
        ),
    });
    // Until its end is known, connections to a process that was killed are refused: nobody can help that.
    harmless({ refusals: true });
  });
});
