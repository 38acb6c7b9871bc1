import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { accessSpec } from "../../components/plan/access.ts";
import { parse } from "../../components/plan/problem.ts";
import { openStores } from "../../components/tenancy/access.ts";
import { issue, makeAuthority } from "../../dev/platform/certificates.ts";
import * as platform from "../../dev/platform/index.ts";
import { layout } from "../../dev/platform/layout.ts";
import { ensureTls, tlsOf } from "../../dev/platform/tls.ts";
import { ensureTools, pathsOf } from "../../dev/tools/index.ts";
import { Command } from "../e2e/command.ts";

describe("the embedded platform's TLS mode", () => {
  const home = realpathSync(mkdtempSync(join(tmpdir(), "ringfence-tls-mode-")));
  const servers = ["etcd", "nats"];
  let tools: Record<string, string>;
  const start = async () => {
    for (const server of servers) await platform.startServer({ home, tools, server });
  };
  const pids = async () =>
    (await platform.status({ home })).servers.flatMap(({ name, pid }) => (servers.includes(name) ? [pid] : []));
  const etcdctl = (env: Record<string, string>, ...args: string[]) =>
    new Command(tools.etcdctl ?? assert.fail(), args, { cwd: home, env }).ended;

  before(async () => {
    tools = pathsOf(await ensureTools({ log: () => {} }));
  });
  after(async () => {
    await platform.down({ home });
    rmSync(home, { recursive: true });
  });

  it("is off until it is asked for, and then keeps the data", async () => {
    await start();
    assert.equal(tlsOf(home), undefined);
    const plain = platform.environment(home);
    assert.match(plain.ETCDCTL_ENDPOINTS ?? "", /^http:/);
    await etcdctl(plain, "put", "before", "stays");
    const before = await pids();

    ensureTls(home);
    await start();
    for (const pid of await pids()) assert(pid !== undefined && !before.includes(pid), "started again");
    const env = platform.environment(home);
    assert.match(env.ETCDCTL_ENDPOINTS ?? "", /^https:/);
    assert.match(env.NATS_URL ?? "", /^tls:/);
    assert.match((await etcdctl(env, "get", "before", "--print-value-only")).stdout, /^stays/);
  });

  it("stays on, with the same certificates and processes", async () => {
    const { ca = "" } = tlsOf(home) ?? {};
    const [authority, before] = [readFileSync(ca, "utf8"), await pids()];
    ensureTls(home);
    await start();
    assert.equal(readFileSync(ca, "utf8"), authority);
    assert.deepEqual(await pids(), before);
  });

  it("takes a password from whoever has a certificate, and nothing from others", async () => {
    const { ETCDCTL_CERT: _cert, ETCDCTL_KEY: _key, ...stranger } = platform.environment(home);
    assert.notEqual((await etcdctl(stranger, "get", "before", "--command-timeout=2s")).code, 0);
    const { ETCDCTL_USER: _user, ...anonymous } = platform.environment(home);
    assert.match((await etcdctl(anonymous, "get", "before")).output, /permission denied/);
  });

  it("is what the access file says, after a rotation and a move as well", async () => {
    await platform.rotateAdminPassword({ home });
    await platform.moveEtcd({ home, tools });
    const { platform: written } = JSON.parse(readFileSync(layout(home).access, "utf8"));
    const stores = openStores(parse(accessSpec, written, "platform"));
    await stores.etcd.requireAuthentication();
    await (await stores.nats()).accounts();
    await stores.close();
  });

  it("lets only the owner read the keys, and gives clients a certificate that names no user", () => {
    const { tls } = layout(home);
    for (const name of readdirSync(tls).filter((each) => each.endsWith(".key")))
      assert.equal(statSync(join(tls, name)).mode & 0o077, 0, name);
    const { client } = tlsOf(home) ?? assert.fail();
    assert.equal(new X509Certificate(readFileSync(client.cert)).subject, "O=ringfence-dev");
  });

  it("makes all certificates or none", () => {
    const killed = join(home, "killed");
    const draft = `${layout(killed).tls}.draft`;
    makeAuthority(draft);
    issue(draft, "server", "/O=half");
    assert.equal(tlsOf(killed), undefined);
    ensureTls(killed);
    assert.equal(existsSync(draft), false);
    const { ca, client } = tlsOf(killed) ?? assert.fail();
    const authority = new X509Certificate(readFileSync(ca));
    assert(new X509Certificate(readFileSync(client.cert)).verify(authority.publicKey));
  });
});
