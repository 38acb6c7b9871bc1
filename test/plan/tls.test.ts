import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { accessSpec } from "../../components/plan/access.ts";
import { InvalidSpec, parse } from "../../components/plan/problem.ts";
import { environmentSpec } from "../../components/plan/spec.ts";
import { issue, makeAuthority } from "../../dev/platform/certificates.ts";

const directory = mkdtempSync(join(tmpdir(), "ringfence-pem-"));
const text = (path: string) => readFileSync(path, "utf8");
const ca = text(makeAuthority(directory).cert);
const pairs = ["one", "other"].map((name) => issue(directory, name, `/CN=${name}`));
const [one, other] = pairs.map(({ cert, key }) => ({ cert: text(cert), key: text(key) }));
assert(one && other);
rmSync(directory, { recursive: true });

const right = {
  etcd: { endpoints: ["https://etcd:2379"], username: "root", password: "secret", tls: { ca, ...one } },
  nats: {
    servers: ["tls://nats:4222"],
    operatorSeed: "SOSECRET",
    systemCreds: "NATS USER JWT secret",
    tls: { ca, ...one },
  },
};
const etcd = (change: object) => ({ ...right, etcd: { ...right.etcd, ...change } });
const nats = (change: object) => ({ ...right, nats: { ...right.nats, ...change } });
const etcdTls = (tls: object) => etcd({ tls });

describe("TLS in a platform's access", () => {
  it("is an authority, a certificate and its key, each where it is needed", () => {
    for (const tls of [{}, { ca }, { ca: `${ca}${one.cert}` }, one, { ca, ...one }])
      assert.deepEqual(parse(accessSpec, etcdTls(tls), "").etcd.tls, tls);
    assert.equal(parse(accessSpec, etcd({ tls: undefined }), "").etcd.tls, undefined);
  });

  const cases: Array<[written: object, line: string]> = [
    [
      etcdTls({ ca: "/etc/ca.pem" }),
      "etcd.tls.ca: found a string; expected certificates in PEM (-----BEGIN CERTIFICATE-----)",
    ],
    [etcdTls({ ca: ca.replaceAll("M", "N") }), "etcd.tls.ca: found a string; expected certificates in PEM"],
    [etcdTls({ ca: one.key }), "etcd.tls.ca: found a string; expected certificates in PEM"],
    [etcdTls({ cert: one.cert, key: one.cert }), "etcd.tls.key: found a string; expected a private key in PEM"],
    [etcdTls({ ca, cert: one.cert }), "etcd.tls.key: found nothing; expected the private key of cert"],
    [etcdTls({ ca, key: one.key }), "etcd.tls.cert: found nothing; expected the certificate of key"],
    [
      etcdTls({ ca, cert: one.cert, key: other.key }),
      "etcd.tls.key: found a string; expected the private key of cert; this one is another's",
    ],
    [etcdTls({ ca, servername: "etcd" }), "etcd.tls.servername: found an unknown property; known here: ca, cert, key"],
    [
      etcd({ endpoints: ["https://a:2379", "http://b:2379"] }),
      "etcd.endpoints[1]: found a string; expected an address that begins with https://, since tls is given",
    ],
    [
      etcd({ clusterEndpoints: ["http://b:2379"] }),
      "etcd.clusterEndpoints[0]: found a string; expected an address that begins with https://, since tls is given",
    ],
    [
      etcd({ tls: undefined, endpoints: ["https://a:2379", "http://b:2379"] }),
      "etcd.endpoints[1]: found a string; expected either all addresses to begin with https:// or none",
    ],
    [
      nats({ servers: ["nats://a:4222"] }),
      "nats.servers[0]: found a string; expected an address that begins with tls://, since tls is given",
    ],
    [
      nats({ clusterServers: ["tls://a:4222", "nats://b:4222"] }),
      "nats.clusterServers[1]: found a string; expected an address that begins with tls://, since tls is given",
    ],
  ];
  for (const [written, line] of cases) {
    it(line, () => {
      assert.throws(
        () => parse(accessSpec, written, "ringfence:platform"),
        (error) => {
          assert(error instanceof InvalidSpec);
          assert(error.message.startsWith(`ringfence:platform.${line}`), error.message);
          for (const { key } of [one, other]) assert(!error.message.includes(key.split("\n")[1] ?? ""));
          return true;
        },
      );
    });
  }
});

describe("the certificate that a pipeline's etcd proxies show", () => {
  const declared = (certificate: object) => ({
    pipelines: { chat: { vertices: { web: { image: "web:1" } }, isolation: "proxy", proxy: { certificate } } },
  });

  it("is a certificate and its key", () => {
    assert.deepEqual(parse(environmentSpec, declared(one), "").pipelines.chat?.proxy?.certificate, one);
    for (const wrong of [{ cert: one.cert }, { cert: one.cert, key: other.key }])
      assert.throws(
        () => parse(environmentSpec, declared(wrong), "ringfence:"),
        /^InvalidSpec: ringfence:pipelines\.chat\.proxy\.certificate\.key: found /,
      );
  });
});
