import assert from "node:assert/strict";
import {
  AdapterRollout,
  EtcdPrefix,
  Ledger,
  ModelAdapter,
  ModelRegistration,
  ModelRoute,
  NatsAccount,
  RetiredCredentials,
  TenantClaim,
} from "../../components/index.ts";
import { credentials, type Registered, run } from "./engine.ts";
import { chat, vertices } from "./scene.ts";

/** A list of methods and a path; functions that Pulumi serialized would be wrapped in some 170 characters each. */
const MAX_STUB = 300;

const resources = {
  ledger: Ledger,
  "tenant-claim": TenantClaim,
  "etcd-prefix": EtcdPrefix,
  "nats-account": NatsAccount,
  "retired-credentials": RetiredCredentials,
  "model-registration": ModelRegistration,
  "adapter-rollout": AdapterRollout,
};

/** One of each. */
const program = () => {
  const { web, ...others } = vertices();
  const adapters = { port: "http", image: "registry.example.com/ringfence:1" };
  const pipeline = chat({ rotation: "1", vertices: { web: { image: "web:1", ...web, adapters }, ...others } });
  new ModelRoute("route", { pipeline, model: "m" });
  new ModelAdapter("sql", { pipeline, vertex: "web", baseModel: "m", artifact: "/models/sql" });
};

describe("the provider that state keeps of a dynamic resource", () => {
  let all: Registered[];
  before(async () => {
    all = [...(await run(program)).values()];
  });

  for (const [module, { __pulumiType }] of Object.entries(resources)) {
    const path = `ringfence/provider/v1/${module}`;

    it(`forwards to ${path} and holds nothing else`, async () => {
      const stubs = all.filter(({ type }) => type === __pulumiType).map(({ inputs }) => inputs.__provider);
      assert.equal(stubs.length, 1);
      const [stub] = stubs;
      assert.ok(stub.length <= MAX_STUB, `${stub.length} characters`);
      assert.deepEqual(
        [...stub.matchAll(/\b(?:import|require)\(\s*(.*?)\s*\)/g)].map(([, from]) => from),
        [`"${path}"`],
      );
      for (const secret of Object.values(credentials)) assert.equal(stub.includes(secret), false);

      const exports: { handler?: () => Record<string, unknown> } = {};
      new Function("exports", stub)(exports);
      const methods = ["check", "configure", "create", "delete", "diff", "read", "update"];
      assert.deepEqual(Object.keys(exports.handler?.() ?? {}).sort(), methods);
      const target = await import(`../../components/provider/v1/${module}.ts`);
      for (const method of methods) assert.equal(typeof target[method], "function", `${path} has no ${method}`);
    });
  }
});

describe("type tokens", () => {
  it("are those that state files in the field have", async () => {
    const types = new Set([...(await run(program)).values()].map(({ type }) => type));
    assert.deepEqual([...types].filter((type) => type.includes("ringfence")).sort(), [
      "pulumi-nodejs:dynamic/ringfence:AdapterRollout",
      "pulumi-nodejs:dynamic/ringfence:EtcdPrefix",
      "pulumi-nodejs:dynamic/ringfence:Ledger",
      "pulumi-nodejs:dynamic/ringfence:ModelRegistration",
      "pulumi-nodejs:dynamic/ringfence:NatsAccount",
      "pulumi-nodejs:dynamic/ringfence:RetiredCredentials",
      "pulumi-nodejs:dynamic/ringfence:TenantClaim",
      "ringfence:index:GpuPool",
      "ringfence:index:ModelAdapter",
      "ringfence:index:ModelRoute",
      "ringfence:index:Pipeline",
      "ringfence:index:Platform",
      "ringfence:index:Tenant",
      "ringfence:index:Vertex",
    ]);
  });
});
