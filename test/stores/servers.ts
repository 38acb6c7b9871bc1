/** Servers of a suite's own, to stop, hang and break: the shared platform has to stay whole. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Etcd3 } from "etcd3";
import { until } from "../../components/stores/errors.ts";
import { freePort } from "../../dev/platform/ports.ts";

const START_DEADLINE_MS = 90_000;
const LISTEN = "--listen-client-urls=";

/** An address that takes connections and never says a word. */
export class BlackHole {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
    server.on("connection", (socket) => this.#sockets.add(socket.on("error", () => {})));
  }

  static async open(): Promise<BlackHole> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    return new BlackHole(server);
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}

/** One etcd; the tool is on PATH when the suite is run by `npm test`. */
export class OwnEtcd {
  readonly endpoint: string;
  readonly #peer: number;
  readonly #flags: string[];
  readonly #directory = mkdtempSync(join(tmpdir(), "ringfence-etcd-"));
  #process: ChildProcess | undefined;

  private constructor(port: number, peer: number, flags: string[]) {
    this.endpoint = `http://127.0.0.1:${port}`;
    this.#peer = peer;
    this.#flags = flags;
  }

  /** @param flags of etcd; client URLs among them are listened at beside `endpoint` */
  static async start(...flags: string[]): Promise<OwnEtcd> {
    const etcd = new OwnEtcd(await freePort(), await freePort(), flags);
    await etcd.start();
    return etcd;
  }

  async start(): Promise<void> {
    const peers = `http://127.0.0.1:${this.#peer}`;
    const further = this.#flags.filter((flag) => flag.startsWith(LISTEN));
    const others = this.#flags.filter((flag) => !further.includes(flag));
    const args = [
      `--data-dir=${this.#directory}`,
      `${LISTEN}${[this.endpoint, ...further.map((flag) => flag.slice(LISTEN.length))].join()}`,
      `--advertise-client-urls=${this.endpoint}`,
      `--listen-peer-urls=${peers}`,
      `--initial-advertise-peer-urls=${peers}`,
      `--initial-cluster=default=${peers}`,
      "--bcrypt-cost=4",
      "--unsafe-no-fsync",
      "--log-level=error",
      ...others,
    ];
    this.#process = spawn("etcd", args, { stdio: "ignore" });
    this.#process.once("error", (error) => assert.fail(`etcd is not on PATH; run the suite by npm test (${error})`));
    const healthy = () =>
      fetch(`${this.endpoint}/health`).then(
        ({ ok }) => ok || undefined,
        () => undefined,
      );
    await until(healthy, { deadlineMs: START_DEADLINE_MS, late: () => new Error(`no etcd at ${this.endpoint}`) });
  }

  /** Turns authentication on; root's password is `password`. */
  async guard(password: string): Promise<void> {
    const client = new Etcd3({ hosts: this.endpoint });
    await client.role("root").create();
    const root = await client.user("root").create(password);
    await root.addRole("root");
    await client.auth.authEnable();
    client.close();
  }

  /** Stops the process where it is, as a machine does that swaps or has lost its disk. */
  hang(): void {
    this.#process?.kill("SIGSTOP");
    // The signal is sent, and a busy machine takes its time: until then a request may still be answered.
    while (!/^\d+ \(.*\) T /.test(readFileSync(`/proc/${this.#process?.pid}/stat`, "utf8")));
  }

  resume(): void {
    this.#process?.kill("SIGCONT");
  }

  async kill(): Promise<void> {
    if (!this.#process || this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.kill("SIGKILL");
    await once(this.#process, "exit");
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true });
  }
}
