import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer } from "node:tls";
import { StoreError, until } from "../../components/stores/errors.ts";
import { Etcd } from "../../components/stores/etcd.ts";
import { op } from "../../components/stores/etcd-txn.ts";
import { Nats } from "../../components/stores/nats.ts";
import { type ClientTls, probeTls } from "../../components/stores/tls.ts";
import { resolveAccess } from "../../components/tenancy/resolve-access.ts";
import { type Certificate, issue, makeAuthority } from "../../dev/platform/certificates.ts";
import { down, startServer, status } from "../../dev/platform/index.ts";
import { layout } from "../../dev/platform/layout.ts";
import { freePort } from "../../dev/platform/ports.ts";
import { clientTls, ensureTls, tlsOf } from "../../dev/platform/tls.ts";
import { ensureTools, pathsOf } from "../../dev/tools/index.ts";

const text = (path: string) => readFileSync(path, "utf8");
const texts = ({ cert, key }: Certificate) => ({ cert: text(cert), key: text(key) });

/** The error of connecting, on one line and without anything of the key. */
async function failure(act: Promise<unknown>, tls: ClientTls): Promise<string> {
  const error: unknown = await act.then(
    () => assert.fail("it succeeded"),
    (reason: unknown) => reason,
  );
  assert(error instanceof StoreError, (error as Error).stack);
  assert.equal(error.unreachable, true);
  assert(!error.message.includes("\n"), error.message);
  assert(!tls.key || !error.message.includes(tls.key.split("\n")[1] ?? ""), "it shows the key");
  return error.message;
}

describe("TLS to the stores", () => {
  const home = realpathSync(mkdtempSync(join(tmpdir(), "ringfence-tls-")));
  const { tls: directory, etcdPassword, systemCreds } = layout(home);
  const foreign = join(home, "foreign");
  const plain = resolveAccess("platform", () => assert.fail("RINGFENCE_PLATFORM is not set; run by npm test"));
  let tools: Record<string, string>;
  let right: ClientTls;
  let places: { etcd: string; nats: string };

  before(async () => {
    tools = pathsOf(await ensureTools({ log: () => {} }));
    ensureTls(home);
    mkdirSync(foreign);
    makeAuthority(foreign);
    for (const server of ["etcd", "nats"]) await startServer({ home, tools, server });
    right = clientTls(home) ?? assert.fail();
    const { endpoints } = await status({ home });
    places = { etcd: endpoints.etcd[0] ?? "", nats: endpoints.nats[0] ?? "" };
  });
  after(async () => {
    await down({ home });
    rmSync(home, { recursive: true });
  });

  /** Logs in, and asks something. */
  const stores: Record<string, { label(): string; reach(tls?: ClientTls, place?: string): Promise<void> }> = {
    etcd: {
      label: () => `etcd at ${places.etcd}`,
      reach: async (tls, place = places.etcd) => {
        const etcd = new Etcd({ endpoints: [place], username: "root", password: text(etcdPassword), tls });
        await etcd.requireAuthentication().finally(() => etcd.close());
      },
    },
    NATS: {
      label: () => `NATS at ${places.nats}`,
      reach: async (tls, place = places.nats) => {
        const nats = await Nats.connect({ servers: [place], creds: text(systemCreds), tls });
        await nats.accounts().finally(() => nats.close());
      },
    },
  };

  const untrusted =
    "its certificate is not trusted (unable to verify the first certificate): " +
    "set tls.ca in the platform's access to the authority that signed it";
  const cases: Array<[mistake: string, tls: () => ClientTls, cause: string | RegExp]> = [
    ["the authority is another one", () => ({ ...right, ca: text(join(foreign, "ca.pem")) }), untrusted],
    ["the authority is left out", () => ({ ...right, ca: undefined }), untrusted],
    ["there is nothing of TLS at all", () => ({}), untrusted],
    [
      "the client's certificate is left out",
      () => ({ ca: right.ca }),
      "it requires a client certificate: set tls.cert and tls.key in the platform's access",
    ],
    [
      "the client's certificate has expired",
      () => ({ ...right, ...texts(issue(directory, "expired", "/O=expired", -1)) }),
      /^it refused the client certificate, which is valid from \S+ to \S+: renew tls.cert in the platform's access$/,
    ],
  ];
  for (const [name, { label, reach }] of Object.entries(stores)) {
    it(`lets in whoever has a certificate (${name})`, async () => {
      await reach(right);
      await reach({ ...right, ...texts(issue(directory, "root", "/CN=root")) });
    });

    for (const [mistake, tls, cause] of cases) {
      it(`is refused with the server and the cause where ${mistake} (${name})`, async () => {
        const message = await failure(reach(tls()), tls());
        assert(message.startsWith(`${label()}: `), message);
        const rest = message.slice(label().length + 2);
        if (typeof cause === "string") assert.equal(rest, cause);
        else assert.match(rest, cause);
      });
    }
  }

  it("tells a certificate of another authority's that a client shows", async () => {
    const stranger = { ca: right.ca, ...texts(issue(foreign, "stranger", "/O=stranger")) };
    const message = await failure(stores.etcd?.reach(stranger) ?? assert.fail(), stranger);
    assert.match(message, /: it refused the client certificate \(.+\): correct tls\.cert in the platform's access$/);
  });

  it("never logs in in plain text where the address promises TLS", async () => {
    const [etcd = "", nats = ""] = [plain.etcd.endpoints[0], plain.nats.servers[0]];
    for (const [store, place] of [
      // By name: gRPC for Node.js sends an address as TLS server name, and Node.js warns of it.
      [stores.etcd, etcd.replace("http://127.0.0.1", "https://localhost")],
      [stores.NATS, nats.replace("nats:", "tls:")],
    ] as const) {
      const message = await failure(store?.reach(right, place) ?? assert.fail(), right);
      assert.match(message, /: it speaks no TLS: turn TLS on there, or correct the scheme and leave tls out/);
    }
  });

  /** Runs a grpc-proxy with a client's certificate, as a tenant has one whose etcd asks for certificates. */
  const proxying = async (certificate: Certificate, work: (proxy: ChildProcess, place: string) => Promise<void>) => {
    const listen = `127.0.0.1:${await freePort()}`;
    const trust = [`--cacert=${join(directory, "ca.pem")}`, `--cert=${certificate.cert}`, `--key=${certificate.key}`];
    const where = [`--endpoints=${places.etcd}`, `--listen-addr=${listen}`, `--advertise-client-url=${listen}`];
    const args = ["grpc-proxy", "start", "--namespace=/tenant/", ...where, ...trust];
    const proxy = spawn(tools.etcd ?? assert.fail(), args, { stdio: ["ignore", "pipe", "pipe"] });
    try {
      await work(proxy, `http://${listen}`);
    } finally {
      proxy.kill("SIGKILL");
      if (proxy.exitCode === null && proxy.signalCode === null) await once(proxy, "exit");
    }
  };

  it("is a grpc-proxy's too, which shows a certificate without a name and hands passwords on", () =>
    proxying(tlsOf(home)?.client ?? assert.fail(), async (_proxy, place) => {
      const log = { endpoints: [place], username: "root", password: text(etcdPassword) };
      const [etcd, wrong] = [new Etcd(log), new Etcd({ ...log, password: "wrong" })];
      const put = () =>
        etcd.txn([], [op.put("key", "value")]).then(
          () => true,
          () => undefined,
        );
      await until(put, { deadlineMs: 90_000, late: () => new Error(`no proxy answers at ${place}`) });
      await assert.rejects(wrong.get("key"), /refused the log-in of 'root'/);
      for (const client of [etcd, wrong]) client.close();
      const direct = new Etcd({ ...log, endpoints: [places.etcd], tls: right });
      assert.equal((await direct.get("/tenant/key"))?.value, "value");
      direct.close();
    }));

  it("is refused by a grpc-proxy for a certificate that names a user", () =>
    proxying(issue(directory, "named", "/CN=root"), async (proxy) => {
      const said = proxy.stderr?.toArray() ?? assert.fail();
      const [code] = await once(proxy, "exit");
      assert.notEqual(code, 0);
      assert.match(String(Buffer.concat(await said)), /non empty Common Name/);
    }));

  /** Serves with a certificate of the right authority. */
  const serving = async (address: string, days: number, work: (port: number) => Promise<void>) => {
    const server = createServer(texts(issue(directory, "faulty", "/O=faulty", days))).listen(0, address);
    await once(server, "listening");
    await work((server.address() as AddressInfo).port).finally(() => server.close());
  };

  it("tells a server whose certificate has expired", () =>
    serving("127.0.0.1", -1, async (port) => {
      const place = `https://localhost:${port}`;
      assert.equal(
        await failure(stores.etcd?.reach(right, place) ?? assert.fail(), right),
        `etcd at ${place}: its certificate is not valid now (certificate has expired): renew the server's certificate`,
      );
    }));

  it("tells a server whose certificate is another's, also where another address is dialled", () =>
    serving("127.0.0.1", 1, async (port) => {
      const trouble = await probeTls("https://etcd.ringfence-system.svc:2379", right, `127.0.0.1:${port}`);
      assert.match(
        trouble?.cause ?? "",
        /^its certificate is another's \(.*etcd\.ringfence-system\.svc.*DNS:localhost.*\): connect by a name that it has/,
      );
    }));
});
