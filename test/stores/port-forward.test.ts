import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { ask } from "../../cli/request.ts";
import { accessSpec } from "../../components/plan/access.ts";
import { parse } from "../../components/plan/problem.ts";
import { type StoreError, until } from "../../components/stores/errors.ts";
import { Etcd } from "../../components/stores/etcd.ts";
import { Kubernetes } from "../../components/stores/kubernetes.ts";
import { Nats } from "../../components/stores/nats.ts";
import { PortForward, type ServiceAddress } from "../../components/stores/port-forward.ts";
import { openStores } from "../../components/tenancy/access.ts";
import { requireInside } from "../../components/tenancy/inside.ts";
import { createLedger } from "../../components/tenancy/ledger.ts";
import { down, startServer, status } from "../../dev/platform/index.ts";
import { layout } from "../../dev/platform/layout.ts";
import { freePort } from "../../dev/platform/ports.ts";
import { clientTls, ensureTls, tlsOf } from "../../dev/platform/tls.ts";
import { ensureTools, pathsOf } from "../../dev/tools/index.ts";
import { serve } from "../../runtime/index.ts";
import { Kubelet } from "../support/kubelet.ts";
import { provision, type Tenant } from "../tenancy/scene.ts";

describe("a port-forward", () => {
  const namespace = `forward-${randomBytes(3).toString("hex")}`;
  const kubernetes = async () => new Kubernetes({});
  let echo: Server;
  let kubelet: Kubelet;
  const opened = new Set<PortForward>();

  const to = (service: Partial<ServiceAddress>, cluster = kubernetes): PortForward => {
    const forward = new PortForward({ namespace, name: "echo", port: 7, ...service }, cluster);
    opened.add(forward);
    return forward;
  };
  const dial = async (forward: PortForward): Promise<Socket> => {
    const [host, port] = (await forward.address()).split(":");
    const socket = connect({ host: host ?? "", port: Number(port) }).on("error", () => undefined);
    await once(socket, "connect");
    return socket;
  };
  /** What comes back, as long as what was said or until the connection ends. */
  const answer = async (socket: Socket, said: string): Promise<string> => {
    socket.write(said);
    let heard = "";
    for await (const chunk of socket) {
      heard += chunk;
      if (heard.length >= said.length) break;
    }
    return heard;
  };

  before(async () => {
    echo = createServer((socket) => socket.on("error", () => undefined).pipe(socket));
    await once(echo.listen({ host: "127.0.0.1", port: 0 }), "listening");
    const { port } = echo.address() as AddressInfo;
    kubelet = await Kubelet.start(process.env.KUBECONFIG ?? assert.fail("run by npm test"), namespace, [
      { name: "echo", port: 7, target: port },
      { name: "closed", port: 9, target: 9 },
    ]);
  });
  afterEach(async () => {
    for (const forward of opened) await forward.close();
    opened.clear();
  });
  after(async () => {
    await kubelet?.stop();
    echo?.close();
  });

  it("carries what either side says, connection by connection, through the API server", async () => {
    const forward = to({});
    const sockets = await Promise.all([1, 2, 3].map(() => dial(forward)));
    const said = sockets.map((_, i) => randomBytes(300_000).toString("hex") + i);
    const heard = await Promise.all(sockets.map((socket, i) => answer(socket, said[i] as string)));
    assert.deepEqual(heard, said);
  });

  it("finds another pod when the one that it used is gone", async () => {
    const forward = to({});
    const first = await dial(forward);
    assert.equal(await answer(first, "one"), "one");
    await kubelet.addPod("echo", "echo-1");
    await kubelet.removePod("echo", "echo-0");
    assert.equal(await answer(await dial(forward), "two"), "two");
    await kubelet.addPod("echo", "echo-0");
    await kubelet.removePod("echo", "echo-1");
  });

  it("goes on when no pod was ready for a while, and says so meanwhile", async () => {
    const forward = to({});
    await forward.address();
    await kubelet.removePod("echo", "echo-0");
    assert.equal(await answer(await dial(forward), "lost"), "");
    assert.match(forward.trouble ?? "", /^port-forward to Service .*\/echo:7: none of its 0 pods is ready: /);
    await kubelet.addPod("echo", "echo-0");
    assert.equal(await answer(await dial(forward), "there"), "there");
    assert.equal(forward.trouble, undefined);
  });

  it("cuts a connection that its pod refuses, and says why", async () => {
    const forward = to({ name: "closed", port: 9 });
    assert.equal(await answer(await dial(forward), "anybody?"), "");
    assert.match(forward.trouble ?? "", /pod closed-0 refused: .*connection refused/);
  });

  const refusals: Array<[what: string, service: Partial<ServiceAddress>, message: RegExp]> = [
    ["a Service that is not there", { name: "nobody" }, /\/nobody:7: Kubernetes at .* has no such Service: correct it/],
    ["a port that the Service lacks", { port: 8 }, /\/echo:8: the Service has no such port, but 7$/],
  ];
  for (const [what, service, message] of refusals)
    it(`refuses ${what}`, async () => {
      await assert.rejects(to(service).address(), (error: StoreError) => {
        assert.match(error.message, message);
        assert.equal(error.unreachable, true);
        return true;
      });
    });

  it("names the cluster that does not answer", async () => {
    const elsewhere = new Kubernetes({});
    const { server } = elsewhere.config.getCurrentCluster() ?? assert.fail();
    const kubeconfig = elsewhere.config.exportConfig().replace(server, "https://127.0.0.1:1");
    const nowhere = async () => new Kubernetes({ kubeconfig: `${kubeconfig}\n` });
    await assert.rejects(to({}, nowhere).address(), /^StoreError: Kubernetes at https:\/\/127.0.0.1:1 does not answer/);
  });

  it("ends with its connections when it is closed, and opens again when it is asked", async () => {
    const forward = to({});
    const before = await forward.address();
    const socket = await dial(forward);
    await forward.close();
    assert.equal(await text(socket), "");
    const [host, port] = before.split(":");
    const [error] = await once(connect({ host: host ?? "", port: Number(port) }), "error");
    assert.equal(error.code, "ECONNREFUSED");
    assert.equal(await answer(await dial(forward), "again"), "again");
  });

  it("keeps no process that has done its work", async () => {
    const program = `
      const { PortForward } = await import("${new URL("../../components/stores/port-forward.ts", import.meta.url)}");
      const { Kubernetes } = await import("${new URL("../../components/stores/kubernetes.ts", import.meta.url)}");
      const service = ${JSON.stringify({ namespace, name: "echo", port: 7 })};
      console.log(await new PortForward(service, async () => new Kubernetes({})).address());`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [said] = await Promise.all([text(child.stdout), once(child, "exit")]);
    assert.match(said, /^127\.0\.0\.1:\d+\n$/);
  });
});

describe("TLS to the stores behind a port-forward", () => {
  const home = realpathSync(mkdtempSync(join(tmpdir(), "ringfence-forward-")));
  const namespace = `tls-${randomBytes(3).toString("hex")}`;
  const opened: PortForward[] = [];
  let kubelet: Kubelet;

  const to = (name: string, port: number): PortForward => {
    const forward = new PortForward({ namespace, name, port }, async () => new Kubernetes({}));
    opened.push(forward);
    return forward;
  };
  /** Logs in to the server that is known by that name, over the real way to it. */
  const reach = {
    etcd: async (name: string) => {
      const password = readFileSync(layout(home).etcdPassword, "utf8");
      const login = { username: "root", password, tls: clientTls(home) };
      const etcd = new Etcd({ endpoints: [`https://${name}:2379`], ...login, forward: to("etcd", 2379) });
      await etcd.requireAuthentication().finally(() => etcd.close());
    },
    NATS: async (name: string) => {
      const creds = readFileSync(layout(home).systemCreds, "utf8");
      const way = { creds, tls: clientTls(home), forward: to("nats", 4222) };
      const nats = await Nats.connect({ servers: [`tls://${name}:4222`], ...way });
      await nats.accounts().finally(() => nats.close());
    },
  };

  before(async () => {
    const tools = pathsOf(await ensureTools({ log: () => {} }));
    ensureTls(home);
    for (const server of ["etcd", "nats"]) await startServer({ home, tools, server });
    const { endpoints } = await status({ home });
    const portOf = (url: string | undefined) => Number(new URL(url ?? "").port);
    kubelet = await Kubelet.start(process.env.KUBECONFIG ?? assert.fail("run by npm test"), namespace, [
      { name: "etcd", port: 2379, target: portOf(endpoints.etcd[0]) },
      { name: "nats", port: 4222, target: portOf(endpoints.nats[0]) },
    ]);
  });
  after(async () => {
    for (const forward of opened) await forward.close();
    await kubelet?.stop();
    await down({ home });
    rmSync(home, { recursive: true });
  });

  for (const [store, connected] of Object.entries(reach)) {
    it(`${store}'s certificate may have the server's own name`, () => connected("localhost"));

    // The address that is dialled, 127.0.0.1, is in the certificate: it must not count.
    it(`${store}'s certificate must not be another's`, async () => {
      await assert.rejects(connected(`${store.toLowerCase()}.${namespace}.svc`), (error: StoreError) => {
        assert.match(error.message, /its certificate is another's .*: connect by a name that it has, or add this one/);
        return true;
      });
    });
  }

  /** What pods have where servers ask for certificates: a proxy that has one for etcd, and one of their own for NATS. */
  const serving = async ({ claimed, etcd, nats }: Tenant, work: () => Promise<void>) => {
    const { ca, client } = tlsOf(home) ?? assert.fail();
    const { endpoints } = await status({ home });
    const listen = `127.0.0.1:${await freePort()}`;
    const trust = [`--cacert=${ca}`, `--cert=${client.cert}`, `--key=${client.key}`];
    const where = [`--endpoints=${endpoints.etcd}`, `--listen-addr=${listen}`, `--advertise-client-url=${listen}`];
    const args = ["grpc-proxy", "start", `--namespace=${etcd.prefix}`, ...where, ...trust];
    const proxy = spawn("etcd", args, { stdio: "ignore" });
    const creds = join(home, "nats.creds");
    writeFileSync(creds, nats.creds.worker ?? "", { mode: 0o600 });
    const env = {
      HOSTNAME: claimed.namespace,
      ETCD_ENDPOINTS: `http://${listen}`,
      ETCD_AUTH_USERNAME: etcd.username,
      ETCD_AUTH_PASSWORD: etcd.password,
      NATS_SERVER: endpoints.nats.join(","),
      NATS_AUTH_CREDENTIALS_FILE: creds,
      NATS_TLS_CA_CERT_PATH: ca,
      NATS_TLS_CLIENT_CERT_PATH: client.cert,
      NATS_TLS_CLIENT_KEY_PATH: client.key,
    };
    try {
      const healthy = () => fetch(`http://${listen}/health`).then(Boolean, () => undefined);
      await until(healthy, { deadlineMs: 60_000, late: () => new Error(`no proxy answers at ${listen}`) });
      const options = { env, port: false, handleSignals: false, propagationSeconds: 0 } as const;
      const worker = await serve("echo", (said) => said, options);
      await work().finally(() => worker.stop());
    } finally {
      proxy.kill("SIGKILL");
    }
  };

  it("carries a request of `ringfence request` to a pod, and so does TLS alone", async () => {
    const { etcdPassword, operatorSeed, systemCreds } = layout(home);
    const tls = clientTls(home);
    const [password, seed, creds] = [etcdPassword, operatorSeed, systemCreds].map((path) => readFileSync(path, "utf8"));
    const access = (etcd: object, nats: object) =>
      parse(
        accessSpec,
        {
          etcd: { ...etcd, tls, username: "root", password },
          nats: { ...nats, tls, operatorSeed: seed, systemCreds: creds },
          kubernetes: {},
        },
        "platform",
      );
    const { endpoints } = await status({ home });
    const direct = openStores(access({ endpoints: endpoints.etcd }, { servers: endpoints.nats }));
    const behind = access({ service: `${namespace}/etcd:2379` }, { service: `${namespace}/nats:4222` });
    // The servers' certificates have no other name.
    behind.etcd.endpoints = ["https://localhost:2379"];
    behind.nats.servers = ["tls://localhost:4222"];
    const forwarded = openStores(behind);
    try {
      const tenant = await provision(direct, await createLedger(direct), `${namespace}/chat`);
      await serving(tenant, async () => {
        for (const stores of [forwarded, direct]) {
          const { parts, path } = await ask(stores, await requireInside(stores, tenant.logicalName), "echo", "hello");
          assert.deepEqual(parts, ["hello"]);
          assert.match(
            path,
            new RegExp(`${namespace}/chat → echo → ${tenant.claimed.namespace}, 1 attempt: \\w+ answered$`),
          );
        }
      });
    } finally {
      for (const stores of [forwarded, direct]) await stores.close();
    }
  });
});
