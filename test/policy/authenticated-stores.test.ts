import assert from "node:assert/strict";
import { authenticatedStores as policy } from "../../policy/authenticated-stores.ts";
import { PLATFORM } from "../../policy/stack/ringfence.ts";
import { brokered, deployment, env } from "./sketches.ts";
import { type Props, told } from "./stack.ts";

const client = (variables: Props, container: Props = {}) =>
  deployment({ container: { env: env(variables), ...container } });
const server = (command: string[], variables: Props = {}) =>
  deployment({ container: { command, env: env(variables) } });

describe("policy authenticated-stores", () => {
  it("lets clients with a log-in and TLS be, and a proxy in their own namespace without", () => {
    for (const change of [
      {},
      { ETCD_ENDPOINTS: "http://etcd-proxy:2379" },
      { ETCD_ENDPOINTS: "http://etcd-proxy.chat.svc:2379" },
    ])
      assert.deepEqual(told(policy, [client({ ...brokered, ...change })]), []);
  });

  for (const [change, problem] of [
    [{ ETCD_ENDPOINTS: "http://etcd.platform.svc:2379" }, /'http:\/\/etcd.platform.svc:2379' is etcd without TLS/],
    [{ NATS_SERVER: "nats://nats.platform.svc:4222" }, /is NATS without TLS/],
    [{ NATS_SERVER: "nats.platform.svc:4222" }, /is NATS without TLS/],
  ] as const)
    it(`refuses ${Object.values(change)[0]}`, () => {
      const found = told(policy, [client({ ...brokered, ...change })]);
      assert.equal(found.length, 1);
      assert.match(found[0] ?? "", problem);
    });

  it("takes a certificate authority for TLS: the client upgrades", () => {
    const variables = { ...brokered, NATS_SERVER: "nats://nats.platform.svc:4222", NATS_TLS_CA_CERT_PATH: "/ca.crt" };
    assert.deepEqual(told(policy, [client(variables)]), []);
  });

  it("refuses clients without a log-in, unless it may come from elsewhere", () => {
    const { ETCD_ENDPOINTS } = brokered;
    assert.match(
      told(policy, [client({ ETCD_ENDPOINTS })]).join(),
      /names etcd, and nothing to log in with; set ETCD_AUTH_USERNAME/,
    );
    assert.deepEqual(told(policy, [client({ ETCD_ENDPOINTS }, { envFrom: [{ secretRef: { name: "etcd" } }] })]), []);
    assert.deepEqual(
      told(policy, [client({ ETCD_ENDPOINTS, ETCD_AUTH_CLIENT_CERT: { secretKeyRef: { name: "x", key: "y" } } })]),
      [],
    );
  });

  it("refuses servers that let anybody in", () => {
    assert.match(
      told(policy, [server(["etcd"], { ALLOW_NONE_AUTHENTICATION: "yes" })]).join(),
      /starts etcd without authentication/,
    );
    assert.match(
      told(policy, [server(["etcd", "--listen-client-urls=http://0.0.0.0:2379"])]).join(),
      /serves its clients without TLS/,
    );
    assert.match(told(policy, [server(["nats-server", "-js"])]).join(), /anybody may connect/);
    for (const fine of [
      ["nats-server", "--config", "/etc/nats.conf"],
      ["etcd", "--listen-client-urls=https://0.0.0.0:2379"],
      ["etcd", "grpc-proxy", "start", "--listen-addr=0.0.0.0:2379"],
    ])
      assert.deepEqual(told(policy, [server(fine)]), []);
  });

  it("judges the addresses of a Platform", () => {
    const platform = (etcd: string, nats: string) => [
      { type: PLATFORM, name: "platform", props: { etcd: { endpoints: [etcd] }, nats: { servers: [nats] } } },
    ];
    assert.deepEqual(told(policy, platform("https://etcd.example.com:2379", "tls://nats.example.com:4222")), []);
    assert.deepEqual(
      told(policy, platform("http://root:hunter2@etcd.example.com:2379", "nats://nats.example.com:4222")).map((found) =>
        found.replace(/:.*/, ""),
      ),
      ["platform.etcd.endpoints[0]", "platform.nats.servers[0]"],
    );
  });

  it("leaves stacks for development alone, as config names them", () => {
    const open = [client({ NATS_SERVER: "nats://nats.platform.svc:4222" })];
    assert.deepEqual(told(policy, open, {}, "dev"), []);
    assert.equal(told(policy, open, { plainStacks: ["sandbox"] }, "dev").length, 2);
    assert.deepEqual(told(policy, open, { plainStacks: ["sandbox"] }, "sandbox"), []);
  });
});
