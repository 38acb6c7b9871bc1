import assert from "node:assert/strict";
import * as pulumi from "@pulumi/pulumi";
import { credentials, type Registered, run, Secret } from "./engine.ts";
import { chat } from "./scene.ts";

describe("credentials", () => {
  let all: Map<string, Registered>;
  let pipeline: ReturnType<typeof chat>;
  before(async () => {
    all = await run(() => {
      pipeline = chat();
    });
  });

  it("are secret outputs of the resources that make them", () => {
    assert.deepEqual(all.get("EtcdPrefix chat-etcd")?.additionalSecretOutputs, ["password"]);
    assert.deepEqual(all.get("NatsAccount chat-nats")?.additionalSecretOutputs, ["seed", "signingSeed", "creds"]);
  });

  it("stay secret on the way out, and nothing else is", async () => {
    assert.equal(await pulumi.isSecret(pipeline.etcd.password), true);
    assert.equal(await pulumi.isSecret(pipeline.nats.creds), true);
    const { phase, namespace, gpus, etcd, nats } = pipeline;
    const plain: pulumi.Output<unknown>[] = [phase, namespace, gpus, etcd.username, nats.account];
    for (const one of plain) assert.equal(await pulumi.isSecret(one), false);
  });

  it("reach pods as Kubernetes Secrets, one per vertex for NATS", () => {
    const data = (key: string) => all.get(key)?.inputs.stringData;
    assert.deepEqual(data("Secret chat-etcd-secret"), new Secret({ username: "u", password: credentials.password }));
    for (const vertex of ["web", "worker"]) {
      const creds = { "nats.creds": `${credentials.creds} of ${vertex}` };
      assert.deepEqual(data(`Secret chat.${vertex}-nats-secret`), new Secret(creds));
    }
  });

  it("are plain nowhere", () => {
    const plain = JSON.stringify([...all], (_key, value) => (value instanceof Secret ? "[secret]" : value));
    for (const secret of Object.values(credentials)) assert.equal(plain.includes(secret), false, secret);
  });
});

describe("a changed credential", () => {
  const kept = { ...credentials };
  afterEach(() => Object.assign(credentials, kept));
  const pods = (all: Map<string, Registered>) =>
    all.get("Deployment chat.web-deployment")?.inputs.spec.template.metadata.annotations["ringfence.dev/credentials"];

  for (const changed of ["password", "creds"] as const) {
    it(`rolls the pods: ${changed}`, async () => {
      const before = pods(await run(() => chat()));
      assert.match(before, /^[0-9a-f]{16}$/);
      assert.equal(pods(await run(() => chat())), before);
      credentials[changed] = "another";
      assert.notEqual(pods(await run(() => chat())), before);
    });
  }
});

describe("a secret in a vertex' environment", () => {
  it("hides itself, and neither its neighbours nor the image nor the phase nor a number", async () => {
    const env = { TOKEN: pulumi.secret("hunter2"), LOG: "info" };
    let pipeline: ReturnType<typeof chat> | undefined;
    const all = await run(() => {
      pipeline = chat({ vertices: { web: { image: "i", env } } });
    });
    const { spec } = (all.get("Deployment chat.web-deployment") as Registered).inputs;
    const [container] = spec.template.spec.containers;
    assert.deepEqual(container.env.slice(-2), [
      { name: "TOKEN", value: new Secret("hunter2") },
      { name: "LOG", value: "info" },
    ]);
    assert.equal(container.image, "i");
    assert.equal(spec.replicas, 1);
    for (const plain of [pipeline?.phase, pipeline?.gpus, pipeline?.vertices.web?.wanted])
      assert.equal(await pulumi.isSecret(plain as pulumi.Output<unknown>), false);
  });

  it("of a connection setting's name goes before it, for Kubernetes refuses a name that comes twice", async () => {
    const all = await run(() => chat({ vertices: { web: { image: "i", env: { NATS_SERVER: "nats://proxy" } } } }));
    const env = all.get("Deployment chat.web-deployment")?.inputs.spec.template.spec.containers[0].env;
    const servers = env.filter(({ name }: { name: string }) => name === "NATS_SERVER");
    assert.deepEqual(servers, [{ name: "NATS_SERVER", value: "nats://proxy" }]);
  });
});
