import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Snapshot } from "../../components/tenancy/outside.ts";
import { until } from "../../dev/platform/wait.ts";
import { assertUntouched, chat, etcdctl, Project, snapshot } from "./scene.ts";
import { assertNoneIn, secretsOf } from "./secrets.ts";
import { publishAsTenant, readAsTenant, type TenantEtcd, type TenantNats, writeAsTenant } from "./tenant.ts";

interface Outputs {
  pipelines: Record<
    string,
    {
      phase: string;
      namespace: string;
      gpus: number;
      etcd: TenantEtcd & { clusterEndpoints: string[] };
      nats: TenantNats & { clusterServers: string[] };
      vertices: Record<string, { wanted: number; ready: number }>;
    }
  >;
}

describe("a stack's life", () => {
  const { env } = process;
  let outside: Snapshot;
  let project: Project;
  /** Everything that Pulumi printed or wrote, for the search for secrets at the end. */
  const seen: Record<string, string> = {};

  const pulumi = async (...args: string[]) => {
    const ended = await project.pulumi(...args);
    seen[`${Object.keys(seen).length}: pulumi ${args.join(" ")}`] = ended.output;
    return ended;
  };
  const outputs = async (...args: string[]): Promise<Outputs> =>
    JSON.parse((await project.pulumi("stack", "output", "--json", ...args)).stdout);
  const kubectl = async (...args: string[]) => {
    const { code, output, stdout } = await project.run("kubectl", ...args);
    assert.equal(code, 0, output);
    return stdout;
  };
  const deployment = async (vertex: string) => {
    const { namespace } = (await outputs()).pipelines.chat ?? assert.fail();
    return JSON.parse(await kubectl("get", "deployment", vertex, "-n", namespace, "-o", "json"));
  };
  /** The outputs' `ready` may be from right before a change, so the cluster is asked. */
  const ready = async (wanted: Record<string, number>) => {
    const { namespace, vertices } = (await outputs()).pipelines.chat ?? assert.fail();
    const declared = Object.entries(vertices).map(([vertex, { wanted }]) => [vertex, wanted]);
    assert.deepEqual(Object.fromEntries(declared), wanted);
    for (const [vertex, pods] of Object.entries(wanted)) {
      await kubectl("rollout", "status", `deployment/${vertex}`, "-n", namespace, "--timeout=120s");
      assert.equal((await deployment(vertex)).status.readyReplicas, pods);
    }
  };

  before(async () => {
    outside = await snapshot(env);
    project = new Project(env, { pipelines: { chat, summarize: chat } });
    await project.pulumi("stack", "init");
  });
  after(() => project.close());

  it("goes up, and each vertex is ready", async () => {
    const { output } = await project.pulumi("up", "--yes", "--policy-pack", "policy", "--logtostderr", "-v=9");
    seen["the first up's log"] = withoutRpcs(output);
    assert.match(output, /\+ \d+ created/);
    const { pipelines } = await outputs();
    assert.deepEqual(Object.keys(pipelines), ["chat", "summarize"]);
    for (const { phase, gpus, vertices } of Object.values(pipelines))
      assert.deepEqual(
        { phase, gpus, vertices },
        { phase: "Running", gpus: 1, vertices: { frontend: { wanted: 1, ready: 1 }, worker: { wanted: 1, ready: 1 } } },
      );
  });

  it("stays as it is by an up, or a preview with the policy pack, of the same", async () => {
    await pulumi("up", "--yes", "--skip-preview", "--expect-no-changes", "--diff");
    await pulumi("preview", "--expect-no-changes", "--policy-pack", "policy");
  });

  it("tells the admin how to reach each pipeline, with credentials that work there", async () => {
    assert.match(JSON.stringify(await outputs()), /"password":"\[secret\]".*"creds":"\[secret\]"/);
    const { pipelines } = await outputs("--show-secrets");
    for (const { etcd, nats } of Object.values(pipelines)) {
      assert.deepEqual(etcd.clusterEndpoints, etcd.endpoints, "the embedded etcd has one address");
      assert.deepEqual(nats.clusterServers, nats.servers, "the embedded NATS has one address");
      await writeAsTenant(etcd, `${etcd.prefix}greeting`);
      await publishAsTenant(nats, "greeting");
    }
    const { chat, summarize } = pipelines;
    assert(chat && summarize);
    await assert.rejects(writeAsTenant(chat.etcd, `${summarize.etcd.prefix}greeting`), /permission denied/);
  });

  it("follows an update: more pods, another environment, a vertex more", async () => {
    const { frontend, worker } = chat.vertices;
    const planner = { image: "registry.example.com/planner:1" };
    const vertices = { frontend: { ...frontend, env: { LOG: "debug" } }, worker: { ...worker, replicas: 2 }, planner };
    project.configure({ pipelines: { chat: { vertices }, summarize: chat } });
    seen.preview = (await project.pulumi("preview", "--diff")).output;
    seen["preview as JSON"] = (await project.pulumi("preview", "--json", "--diff")).output;
    const { namespace } = (await outputs()).pipelines.chat ?? assert.fail();
    await pulumi("up", "--yes", "--skip-preview", "--diff");
    const now = (await outputs()).pipelines;
    assert.equal(now.chat?.namespace, namespace, "the tenant is kept");
    assert.equal(now.chat?.gpus, 2);
    await ready({ frontend: 1, planner: 1, worker: 2 });
    const [container] = (await deployment("frontend")).spec.template.spec.containers;
    assert(container.env.some(({ name, value }: Variable) => name === "LOG" && value === "debug"));
  });

  it("pauses to no pods at all, a vertex less, and keeps the tenant's data", async () => {
    project.configure({ pipelines: { chat: { ...chat, lifecycle: { desiredPhase: "Paused" } }, summarize: chat } });
    await pulumi("up", "--yes", "--skip-preview");
    const { pipelines } = await outputs("--show-secrets");
    const { phase, gpus, vertices, namespace, etcd } = pipelines.chat ?? assert.fail();
    const none = { wanted: 0, ready: 0 };
    assert.deepEqual(
      { phase, gpus, vertices },
      { phase: "Paused", gpus: 0, vertices: { frontend: none, worker: none } },
    );
    await until({
      what: "the pods to be gone",
      within: 120,
      attempt: async () => assert.equal(await kubectl("get", "pods", "-n", namespace, "-o", "name"), ""),
    });
    assert.equal((await readAsTenant(etcd, `${etcd.prefix}greeting`)).trim(), "hello");
    await assert.rejects(deployment("planner"), /NotFound/);
  });

  it("resumes where it was", async () => {
    project.configure({ pipelines: { chat, summarize: chat } });
    await pulumi("up", "--yes", "--skip-preview");
    assert.equal((await outputs()).pipelines.chat?.phase, "Running");
    await ready({ frontend: 1, worker: 1 });
  });

  it("shows a role that somebody widened as drift, and repairs it", async () => {
    const { username, prefix } = (await outputs()).pipelines.chat?.etcd ?? assert.fail();
    const permissions = () => etcdctl(env, "role", "get", username);
    const bound = await permissions();
    await etcdctl(env, "role", "grant-permission", username, "read", "/", "--prefix");
    assert.notEqual(await permissions(), bound);

    for (const drift of [
      await pulumi("refresh", "--preview-only", "--diff"),
      await pulumi("preview", "--refresh", "--diff"),
    ]) {
      assert.match(drift.output, /~ .*EtcdPrefix/, drift.output);
      assert.match(drift.output, /=> "read \/ 0"|\+ .*"read \/ 0"/, drift.output);
    }
    assert.notEqual(await permissions(), bound, "a preview repairs nothing");
    await pulumi("up", "--yes", "--skip-preview", "--refresh");
    assert.equal(await permissions(), bound);
    assert.match(bound, new RegExp(prefix));
  });

  it("has told no secret to anybody", async () => {
    const secrets = await secretsOf(project, env);
    assert(secrets.size >= 20, `${secrets.size} secrets to look for`);
    seen["stack export"] = (await project.pulumi("stack", "export")).stdout;
    seen["stack output"] = (await project.pulumi("stack", "output", "--json")).stdout;
    const state = join(project.directory, "state");
    for (const entry of readdirSync(state, { recursive: true, withFileTypes: true })) {
      const file = join(entry.parentPath, entry.name);
      if (entry.isFile()) seen[file] = readFileSync(file, "utf8");
    }
    assert.throws(() => assertNoneIn({ there: `Basic ${btoa(`u:${secrets.values().next().value}`)}` }, secrets));
    assertNoneIn(seen, secrets);
  });

  it("is destroyed, and everything outside is as it was before", async () => {
    const { output } = await project.pulumi("destroy", "--yes", "--skip-preview");
    for (const name of ["chat", "summarize"])
      assert.match(output, new RegExp(`released ${project.realm}/${name}: 1 key, 1 user, 1 account; residue 0`));
    assert.deepEqual(await project.resources(), []);
    await assertUntouched(env, outside);
  });
});

/**
 * A verbose log without the lines in which Pulumi and its Node.js SDK write down what they hand each other, a tenant's
 * secrets in plain text: nobody but Pulumi can keep them out.
 */
const withoutRpcs = (log: string): string =>
  log.replace(/^.*(RegisterResource RPC finished|arshaling property for RPC).*$/gm, "");

interface Variable {
  name: string;
  value?: string;
}
