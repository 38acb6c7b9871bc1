import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Snapshot } from "../../components/tenancy/outside.ts";
import { until } from "../../dev/platform/wait.ts";
import { Kubelet } from "../support/kubelet.ts";
import { assertUntouched, chat, Project, snapshot, temporary } from "./scene.ts";

/** What stores behind a Service leave of an access: the ports of this machine are the pods' only. */
describe("a stack whose stores only the cluster reaches", () => {
  const namespace = `stores-${randomBytes(3).toString("hex")}`;
  const directory = temporary("port-forward");
  const file = join(directory, "platform.json");
  const env = { ...process.env, RINGFENCE_PLATFORM: file };
  let kubelet: Kubelet;
  let outside: Snapshot;
  let project: Project;

  before(async () => {
    const { platform } = JSON.parse(
      readFileSync(process.env.RINGFENCE_PLATFORM ?? assert.fail("run by npm test"), "utf8"),
    );
    const { endpoints, clusterEndpoints: _, ...etcd } = platform.etcd;
    const { servers, clusterServers: __, ...nats } = platform.nats;
    kubelet = await Kubelet.start(process.env.KUBECONFIG ?? assert.fail("run by npm test"), namespace, [
      { name: "etcd", port: 2379, target: Number(new URL(endpoints[0]).port) },
      { name: "nats", port: 4222, target: Number(new URL(servers[0]).port) },
    ]);
    const access = {
      ...platform,
      etcd: { ...etcd, service: `${namespace}/etcd:2379` },
      nats: { ...nats, service: `${namespace}/nats:4222` },
    };
    writeFileSync(file, JSON.stringify({ platform: access }));
    outside = await snapshot(process.env);
    project = new Project(env, { pipelines: { chat } });
  });
  after(async () => {
    project?.close();
    await kubelet?.stop();
    rmSync(directory, { recursive: true });
  });

  it("goes up, is audited and destroyed through port-forwards, of which no process is left", async () => {
    await project.pulumi("stack", "init");
    await project.pulumi("up", "--yes", "--skip-preview");
    const { pipelines } = JSON.parse((await project.pulumi("stack", "output", "--json", "--show-secrets")).stdout);
    assert.deepEqual(pipelines.chat.etcd.clusterEndpoints, [`http://etcd.${namespace}.svc:2379`]);
    assert.deepEqual(pipelines.chat.nats.clusterServers, [`nats://nats.${namespace}.svc:4222`]);
    const { stdout } = await project.ringfence(0, "audit");
    assert.match(stdout, new RegExp(`${project.realm}/chat`));
    const { output } = await project.pulumi("destroy", "--yes", "--skip-preview");
    assert.match(output, /released .*\/chat: .*residue 0/);
    // One that was told to end may take a moment.
    const ended = async () => assert.deepEqual(project.processes(), []);
    await until({ what: "the end of its processes", within: 10, attempt: ended });
    await assertUntouched(process.env, outside);
  });

  it("names the Service and the cause when it cannot be reached", async () => {
    await kubelet.removePod("etcd", "etcd-0");
    const output = await project.refused("up", "--yes", "--skip-preview");
    assert.match(output, new RegExp(`port-forward to Service ${namespace}/etcd:2379: none of its 0 pods is ready`));
    await kubelet.addPod("etcd", "etcd-0");
    await project.pulumi("destroy", "--yes", "--skip-preview");
  });
});
