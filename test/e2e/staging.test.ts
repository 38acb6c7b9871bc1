import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import type { Snapshot } from "../../components/tenancy/outside.ts";
import { assertUntouched, etcdctl, OwnPlatform, Project, ROOT, snapshot } from "./scene.ts";
import { assertNoneIn, secretsOf } from "./secrets.ts";
import type { TenantEtcd } from "./tenant.ts";

/** The committed staging stack; its platform is one on this machine that speaks TLS only, to clients with a certificate. */
describe("the staging stack on a platform with TLS", () => {
  const text = readFileSync(join(ROOT, "Pulumi.staging.yaml"), "utf8");
  const entries = Object.entries<never>(parse(text).config).map(([key, value]) => [
    key.replace("ringfence:", ""),
    value,
  ]);
  const { realm: _, ...staging } = Object.fromEntries(entries);
  const key = "/outside/of/every/tenant";
  let embedded: OwnPlatform;
  let env: NodeJS.ProcessEnv;
  let project: Project;
  let outside: Snapshot;

  before(async () => {
    embedded = await OwnPlatform.up({ tls: true });
    // What a person on another network would write: addresses of one's own for the admin, the cluster's for pods.
    const { platform } = JSON.parse(readFileSync(embedded.env.RINGFENCE_PLATFORM ?? "", "utf8"));
    const { clusterEndpoints } = staging.platform.etcd;
    const { clusterServers } = staging.platform.nats;
    const access = join(embedded.home, "staging.json");
    const etcd = { ...platform.etcd, clusterEndpoints };
    writeFileSync(
      access,
      JSON.stringify({ platform: { ...platform, etcd, nats: { ...platform.nats, clusterServers } } }),
    );
    env = { ...embedded.env, RINGFENCE_PLATFORM: access };
    project = new Project(env, staging, "own", "staging");
    await project.pulumi("stack", "init");
    await etcdctl(env, "put", key, "stays");
    await etcdctl(env, "put", "v1/mdc/legacy/model", `{"namespace":"legacy"}`);
    await project.ringfence(0, "adopt", `${project.realm}/legacy`, "--dynamo-namespace", "legacy");
    outside = await snapshot(env);
  });
  after(async () => {
    project?.close();
    await embedded?.close();
  });

  const tenants = async () => {
    const { stdout } = await project.pulumi("stack", "output", "--json", "--show-secrets");
    return Object.values<{ etcd: TenantEtcd }>(JSON.parse(stdout).pipelines);
  };

  it("goes up, past every policy", async () => {
    const { output } = await project.pulumi("up", "--yes", "--skip-preview", "--policy-pack", "policy");
    assert.doesNotMatch(output, /authenticated-stores/);
    assert.match(output, /\+ \d+ created/);
  });

  it("gives its pipelines the cluster's addresses, and credentials that etcd takes over TLS alone", async () => {
    const [tenant = assert.fail()] = await tenants();
    assert.deepEqual(
      { ...tenant.etcd, endpoints: [] },
      { ...tenant.etcd, endpoints: [], clusterEndpoints: staging.platform.etcd.clusterEndpoints },
    );
    const greeting = `${tenant.etcd.prefix}greeting`;
    const asTenant: NodeJS.ProcessEnv = { ...env, ETCDCTL_USER: `${tenant.etcd.username}:${tenant.etcd.password}` };
    await etcdctl(asTenant, "put", greeting, "hello");
    await assert.rejects(etcdctl(asTenant, "put", key, "hello"), /permission denied/);
    const { ETCDCTL_CERT: _cert, ETCDCTL_KEY: _key, ...withoutCertificate } = asTenant;
    const stranger = { ...withoutCertificate, ETCDCTL_DIAL_TIMEOUT: "2s", ETCDCTL_COMMAND_TIMEOUT: "5s" };
    await assert.rejects(etcdctl(stranger, "get", greeting), /certificate|deadline/);
  });

  it("is what audit, sweep and adopt see there", async () => {
    const { stdout } = await project.ringfence(0, "audit");
    assert.match(stdout, new RegExp(`^${project.realm}/chat +active +`, "m"));
    assert.match(stdout, new RegExp(`^${project.realm}/legacy +active +`, "m"));
    const swept = await project.ringfence(0, "sweep", "--dry-run");
    assert.match(swept.stdout, /^2 claims: 1 held by a stack, 1 external, 0 lost, 0 owner unknown$/m);
  });

  it("has no key of the admin's in what Pulumi wrote", async () => {
    const { platform } = JSON.parse(readFileSync(env.RINGFENCE_PLATFORM ?? "", "utf8"));
    const key = platform.etcd.tls.key.split("\n")[1];
    const state = readFileSync(join(project.directory, "state/.pulumi/stacks/ringfence/staging.json"), "utf8");
    assertNoneIn({ state }, (await secretsOf(project, env)).set("the client's private key", key));
  });

  it("is destroyed, and everything outside is as it was", async () => {
    await project.pulumi("destroy", "--yes", "--skip-preview");
    assert.deepEqual(await project.resources(), []);
    await assertUntouched(env, outside);
    assert.match(await etcdctl(env, "get", key, "--print-value-only"), /^stays/);
  });
});
