import assert from "node:assert/strict";
import type { Snapshot } from "../../components/tenancy/outside.ts";
import { assertUntouched, Project, snapshot } from "./scene.ts";

interface Outputs {
  pipelines: Record<
    string,
    {
      url: string;
      smokeTest: string;
      namespace: string;
      gpus: number;
      vertices: Record<string, { wanted: number; ready: number }>;
    }
  >;
}

interface Container {
  env: Array<{ name: string; value?: string; valueFrom?: { secretKeyRef: { name: string } } }>;
}

/** A ready graph in a stack's config. */
const graph = (change: object) => ({
  chat: {
    dynamo: {
      graph: "disaggregated",
      engine: { model: "meta-llama/Llama-3.1-8B-Instruct" },
      prefill: { pool: "h100" },
      decode: { pool: "h100", gpus: 2 },
      ...change,
    },
  },
});

describe("a Dynamo graph in a stack's config", () => {
  const { env } = process;
  let outside: Snapshot;
  let project: Project;

  const chat = async () => {
    const { stdout } = await project.pulumi("stack", "output", "--json");
    return (JSON.parse(stdout) as Outputs).pipelines.chat ?? assert.fail("no pipeline");
  };
  const decode = async (): Promise<Container> => {
    const { namespace } = await chat();
    const get = ["get", "deployment", "decode", "-n", namespace, "-o", "json"];
    const { code, output, stdout } = await project.run("kubectl", ...get);
    assert.equal(code, 0, output);
    return JSON.parse(stdout).spec.template.spec.containers[0];
  };
  const tokensSecret = async () =>
    (await decode()).env.find(({ name }) => name === "HF_TOKEN")?.valueFrom?.secretKeyRef.name ??
    assert.fail("no token");

  const TOKEN = "ringfence:pipelines.chat.dynamo.huggingFaceToken";
  const setToken = (token: string) => project.pulumi("config", "set", "--path", "--secret", TOKEN, token);

  before(async () => {
    outside = await snapshot(env);
    project = new Project(env, { pipelines: graph({ huggingFaceToken: "hf_plain" }) });
    await project.pulumi("stack", "init");
  });
  after(() => project.close());

  it("is refused with a token in plain text, which the state would hold", async () => {
    const output = await project.refused("preview");
    assert.match(output, new RegExp(`${TOKEN}: found plain text, .*pulumi config set --path --secret '${TOKEN}'`));
    assert.doesNotMatch(output, /hf_plain/);
  });

  it("goes up, every vertex ready, with nothing for the policies to say", async () => {
    project.configure({ pipelines: graph({}) });
    await setToken("hf_first");
    const { output } = await project.pulumi("up", "--yes", "--policy-pack", "policy");
    assert.doesNotMatch(output, /\[(advisory|mandatory)\]/);
    const { url, smokeTest, namespace, gpus, vertices } = await chat();
    assert.equal(gpus, 3);
    const one = { wanted: 1, ready: 1 };
    assert.deepEqual(vertices, { frontend: one, prefill: one, decode: one });
    assert.equal(url, `http://frontend.${namespace}.svc:8000`);
    assert.match(
      smokeTest,
      new RegExp(`^\\(.*kubectl --namespace ${namespace} port-forward .*"model":"meta-llama/Llama`),
    );
    const variables = Object.fromEntries((await decode()).env.map(({ name, value }) => [name, value]));
    assert.equal(variables.DYN_NAMESPACE, "chat");
    assert.equal(variables.ETCD_ENDPOINTS, "http://etcd-proxy:2379");
  });

  it("gets another token by another Secret, for pods that start anew, and keeps the token to itself", async () => {
    const before = await tokensSecret();
    await setToken("hf_second");
    const { output } = await project.pulumi("up", "--yes", "--skip-preview", "--diff");
    assert.notEqual(await tokensSecret(), before);
    const exported = (await project.pulumi("stack", "export")).stdout;
    for (const text of [output, exported]) assert.doesNotMatch(text, /.*hf_(first|second).*/);
  });

  it("is destroyed, and everything outside is as it was before", async () => {
    await project.pulumi("destroy", "--yes", "--skip-preview");
    await assertUntouched(env, outside);
  });
});
