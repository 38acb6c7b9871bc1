/** What the suites of flows share: a tenant with the buffers of a plan, and its vertices as processes. */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TopologyPlan, topologyOf } from "../../components/plan/topology.ts";
import type { TopologySpec } from "../../components/plan/topology-spec.ts";
import { until } from "../../components/stores/errors.ts";
import { JetStream } from "../../components/stores/jetstream.ts";
import { startServer, stopServer } from "../../dev/platform/index.ts";
import { ensureTools, pathsOf } from "../../dev/tools/index.ts";
import { access, etcdOf, type Tenant } from "../tenancy/scene.ts";
import { LINE, readNotes } from "./flow-notes.ts";
import type { VertexSpec } from "./flow-process.ts";
import { eventually, Scene } from "./scene.ts";

/** A vertex' process. */
export interface VertexProcess {
  port: number;
  process: ChildProcess;
  said: () => string;
  /** Resolves at its end with its exit code or signal. */
  ended: Promise<number | NodeJS.Signals>;
}

export class FlowScene {
  readonly #scene: Scene;
  readonly #directory = mkdtempSync(join(tmpdir(), "ringfence-flow-"));
  #stream: JetStream;
  readonly #running = new Set<VertexProcess>();
  #generation = 0;
  plan: TopologyPlan | undefined;

  private constructor(scene: Scene, stream: JetStream) {
    this.#scene = scene;
    this.#stream = stream;
  }

  static async make(): Promise<FlowScene> {
    const scene = await Scene.make();
    return new FlowScene(scene, await connected(scene));
  }

  /** Stops the platform's NATS meanwhile. */
  async withoutNats(during: () => Promise<unknown>): Promise<void> {
    const home = process.env.RINGFENCE_HOME ?? assert.fail("RINGFENCE_HOME is not set; run by npm test");
    const tools = pathsOf(await ensureTools({ log: () => {} }));
    await stopServer({ home, server: "nats" });
    try {
      await during();
    } finally {
      await startServer({ home, tools, server: "nats" });
    }
    // As an admin's, its connection does not come back by itself.
    await this.#stream.close();
    this.#stream = await connected(this.#scene);
  }

  /** Removes what only the topology before needed, makes what this one needs and is not there, and writes its record. */
  async apply(spec: TopologySpec): Promise<TopologyPlan> {
    const plan = topologyOf(spec);
    assert.ok(plan);
    const generation = ++this.#generation;
    const gone = (before: object = {}, now: object) => Object.keys(before).filter((name) => !Object.hasOwn(now, name));
    for (const name of gone(this.plan?.buffers, plan.buffers)) await this.#stream.deleteBuffer(name);
    for (const name of gone(this.plan?.buckets, plan.buckets)) await this.#stream.deleteBucket(name);
    for (const { name, config, digest } of Object.values(plan.buffers)) {
      if (await this.#stream.buffer(name)) continue;
      await this.#stream.createBuffer(name, config, { generation, digest });
      await this.#stream.createConsumer(name, config);
    }
    for (const { name, replicas, digest } of Object.values(plan.buckets)) {
      if (!(await this.#stream.bucket(name))) await this.#stream.createBucket(name, replicas, { generation, digest });
    }
    await this.write(plan);
    this.plan = plan;
    return plan;
  }

  /** The record that vertices look at before they start. */
  async write(plan: TopologyPlan): Promise<void> {
    const vertices = Object.fromEntries(Object.entries(plan.vertices).map(([name, flow]) => [name, flow.digest]));
    const record = { generation: this.#generation, digest: plan.digest, state: "committed", vertices };
    await etcdOf(this.#scene.tenant).put(this.#record).value(JSON.stringify(record));
  }

  get tenant(): Tenant {
    return this.#scene.tenant;
  }

  async forget(): Promise<void> {
    await etcdOf(this.#scene.tenant).delete().key(this.#record);
  }

  get #record(): string {
    return `${this.#scene.tenant.etcd.prefix}ringfence/topology`;
  }

  /** The environment of a vertex of a plan. */
  env(vertex: string, plan = this.plan): Record<string, string> {
    return {
      ...this.#scene.env,
      RINGFENCE_VERTEX: vertex,
      RINGFENCE_FLOW: JSON.stringify(plan?.vertices[vertex]),
      RINGFENCE_GRACE_SECONDS: "5",
      RINGFENCE_PROPAGATION_SECONDS: "0.2",
    };
  }

  /** Starts a vertex and waits until it is at work. */
  async start(vertex: string, spec: VertexSpec): Promise<VertexProcess> {
    const child = fork(new URL("flow-process.ts", import.meta.url), [JSON.stringify(spec)], {
      env: { ...process.env, ...this.env(vertex) },
      stdio: ["ignore", "inherit", "pipe", "ipc"],
    });
    let said = "";
    child.stderr?.on("data", (text) => {
      said += text;
    });
    const ended = once(child, "exit").then(([code, signal]) => code ?? signal);
    const running = { port: 0, process: child, said: () => said, ended };
    this.#running.add(running);
    const [started] = (await Promise.race([
      once(child, "message"),
      ended.then((code) => assert.fail(`${vertex} ended with ${code} before it was ready: ${said}`)),
    ])) as [{ port: number }];
    return Object.assign(running, started);
  }

  /** Ends a vertex as Kubernetes does, which has to go well. */
  async end(...ending: VertexProcess[]): Promise<void> {
    for (const { process } of ending) process.kill("SIGTERM");
    for (const { ended, said } of ending) assert.equal(await ended, 0, said());
  }

  /** Messages that nobody has acknowledged, of one buffer or of all. */
  async unread(...names: string[]): Promise<number> {
    let sum = 0;
    for (const name of names.length > 0 ? names : Object.keys(this.plan?.buffers ?? {})) {
      const view = await this.#stream.buffer(name);
      sum += (view?.pending ?? 0) + (view?.ackPending ?? 0);
    }
    return sum;
  }

  /** Messages that a buffer has, read ones included. */
  async length(name: string): Promise<number> {
    return (await this.#stream.buffer(name))?.lastSequence ?? 0;
  }

  /** Messages that a vertex has under way, as its metrics tell. */
  async inFlight({ port }: VertexProcess): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    return Number(/^ringfence_flow_in_flight\{[^}]*\} (\d+)$/m.exec(text)?.[1]);
  }

  drained(): Promise<true> {
    return eventually("every buffer is drained", async () => (await this.unread()) === 0);
  }

  /** Where a sink is to write. */
  notes(name: string): string {
    return join(this.#directory, name);
  }

  /** How often each number came to a sink. */
  arrived(notes: string): Map<number, number> {
    const came = new Map<number, number>();
    for (const n of readNotes(notes)) came.set(n, (came.get(n) ?? 0) + 1);
    return came;
  }

  untilArrived(notes: string, count: number, withinMs = 200_000): Promise<true> {
    const size = () => (existsSync(notes) ? statSync(notes).size / LINE : 0);
    return until(async () => size() >= count || undefined, {
      deadlineMs: withinMs,
      everyMs: 200,
      late: () => new Error(`not within ${withinMs} ms: ${count} numbers; ${size()} came`),
    });
  }

  async close(): Promise<void> {
    for (const { process } of this.#running) process.kill("SIGKILL");
    await Promise.all([...this.#running].map(({ ended }) => ended));
    await this.#stream.close();
    rmSync(this.#directory, { recursive: true, force: true });
    await this.#scene.close();
  }
}

const connected = ({ tenant }: Scene): Promise<JetStream> =>
  JetStream.connect({ servers: access.nats.servers, creds: tenant.nats.creds.worker as string });

/** Every number from 1 on came, each once. */
export function assertOnce(came: Map<number, number>, count: number): void {
  const missing = Array.from({ length: count }, (_, index) => index + 1).filter((n) => !came.has(n));
  assert.deepEqual(missing.slice(0, 10), [], `${missing.length} of ${count} were lost`);
  const twice = [...came].filter(([, times]) => times > 1);
  assert.deepEqual(twice.slice(0, 10), [], `${twice.length} of ${count} came more than once`);
}
