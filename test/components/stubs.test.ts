import assert from "node:assert/strict";
import { EtcdPrefix, Ledger, NatsAccount, RetiredCredentials, TenantClaim } from "../../components/index.ts";
import { credentials, type Registered, run } from "./engine.ts";
import { chat } from "./scene.ts";

/** A list of methods and a path; functions that Pulumi serialized would be wrapped in some 170 characters each. */
const MAX_STUB = 300;

const resources = {
  ledger: Ledger,
  "tenant-claim": TenantClaim,
  "etcd-prefix": EtcdPrefix,
  "nats-account": NatsAccount,
  "retired-credentials": RetiredCredentials,
};

describe("the provider that state keeps of a dynamic resource", () => {
  let all: Registered[];
  before(async () => {
    all = [...(await run(() => chat({ rotation: "1" }))).values()];
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
    const types = new Set([...(await run(() => chat({ rotation: "1" }))).values()].map(({ type }) => type));
    assert.deepEqual([...types].filter((type) => type.includes("ringfence")).sort(), [
      "pulumi-nodejs:dynamic/ringfence:EtcdPrefix",
      "pulumi-nodejs:dynamic/ringfence:Ledger",
      "pulumi-nodejs:dynamic/ringfence:NatsAccount",
      "pulumi-nodejs:dynamic/ringfence:RetiredCredentials",
      "pulumi-nodejs:dynamic/ringfence:TenantClaim",
      "ringfence:index:GpuPool",
      "ringfence:index:Pipeline",
      "ringfence:index:Platform",
      "ringfence:index:Tenant",
      "ringfence:index:Vertex",
    ]);
  });
});
