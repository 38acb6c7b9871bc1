import assert from "node:assert/strict";
import { EtcdPrefix, Ledger, NatsAccount, TenantClaim } from "../../components/index.ts";
import { credentials, type Registered, run } from "./engine.ts";
import { chat } from "./scene.ts";

/** Each method costs some 170 characters of Pulumi's wrapping; a captured library would cost ten thousands. */
const MAX_STUB = 2500;

const resources = {
  ledger: Ledger,
  "tenant-claim": TenantClaim,
  "etcd-prefix": EtcdPrefix,
  "nats-account": NatsAccount,
};

describe("the provider that state keeps of a dynamic resource", () => {
  let all: Registered[];
  before(async () => {
    all = [...(await run(() => chat())).values()];
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
    const types = new Set([...(await run(() => chat())).values()].map(({ type }) => type));
    assert.deepEqual([...types].filter((type) => type.includes("ringfence")).sort(), [
      "pulumi-nodejs:dynamic/ringfence:EtcdPrefix",
      "pulumi-nodejs:dynamic/ringfence:Ledger",
      "pulumi-nodejs:dynamic/ringfence:NatsAccount",
      "pulumi-nodejs:dynamic/ringfence:TenantClaim",
      "ringfence:index:GpuPool",
      "ringfence:index:Pipeline",
      "ringfence:index:Platform",
      "ringfence:index:Tenant",
      "ringfence:index:Vertex",
    ]);
  });
});
