import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Pipeline, Platform } from "../../components/index.ts";
import { issue, makeAuthority } from "../../dev/platform/certificates.ts";
import { type Registered, run, Secret } from "./engine.ts";
import { vertices } from "./scene.ts";

describe("a platform's TLS", () => {
  const directory = mkdtempSync(join(tmpdir(), "ringfence-platform-tls-"));
  const text = (path: string) => readFileSync(path, "utf8");
  const ca = text(makeAuthority(directory).cert);
  const { cert, key } = issue(directory, "admin", "/CN=root");
  const before = process.env.RINGFENCE_PLATFORM;
  const access = join(directory, "platform.json");
  after(() => {
    if (before === undefined) delete process.env.RINGFENCE_PLATFORM;
    else process.env.RINGFENCE_PLATFORM = before;
    rmSync(directory, { recursive: true });
  });

  /** The program on a platform with this TLS in its access. */
  async function registered(tls: object | undefined, etcd = "https://etcd:2379"): Promise<Map<string, Registered>> {
    const platform = {
      etcd: { endpoints: [etcd], username: "root", password: "p", tls },
      nats: { servers: ["tls://nats:4222"], operatorSeed: "SO", systemCreds: "NATS USER JWT", tls },
    };
    writeFileSync(access, JSON.stringify({ platform }));
    process.env.RINGFENCE_PLATFORM = access;
    return run(() => new Pipeline("chat", { platform: Platform.fromConfig(), vertices: vertices() }));
  }

  it("shows pods the authority, and nobody the admin's certificate and key", async () => {
    const all = await registered({ ca, cert: text(cert), key: text(key) });
    const { etcd, nats } = all.get("Platform platform")?.outputs ?? assert.fail();
    assert.deepEqual([etcd.tls, nats.tls], [{ ca }, { ca }]);
    const everything = JSON.stringify([...all], (_key, value) => (value instanceof Secret ? value.value : value));
    for (const path of [cert, key]) assert(!everything.includes(text(path).split("\n")[1] ?? ""), path);
  });

  it("has no authority to show where everybody trusts it already", async () => {
    for (const tls of [undefined, {}]) {
      const { etcd, nats } = (await registered(tls)).get("Platform platform")?.outputs ?? assert.fail();
      assert.deepEqual([etcd.tls, nats.tls], [undefined, undefined]);
    }
  });

  it("is refused where an address contradicts it, before anything is registered", async () => {
    await assert.rejects(
      registered({ ca }, "http://etcd:2379"),
      /platform\.etcd\.endpoints\[0\]: found a string; expected an address that begins with https:\/\/, since tls is given/,
    );
  });
});
