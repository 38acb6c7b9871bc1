/** What ends, is away or never comes, at the moment when nobody expects it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { text } from "node:stream/consumers";
import { HeldKey } from "../../components/stores/etcd-held.ts";
import type { EtcdSession } from "../../components/stores/etcd-session.ts";
import { viewPrefix } from "../../components/stores/etcd-view.ts";
import { Client } from "../../runtime/client.ts";
import type { Connection } from "../../runtime/connection.ts";

/** A stream of etcd3 that tells an error when it is cancelled, as gRPC's do. */
class Stream extends EventEmitter {
  cancel(): void {
    setImmediate(() => this.emit("error", new Error("cancelled")));
  }

  write({ ID }: { ID: string }): void {
    setImmediate(() => this.emit("data", { ID, TTL: ID === "lost" ? "0" : "60" }));
  }
}

describe("a key that is held in etcd", () => {
  const silent = { trouble: () => undefined, restored: () => undefined };
  const held = { key: "k", value: () => "v", ttl: 60, withinMs: 1_000 };

  it("comes back although the first try to write it again fails", async () => {
    const leases = ["lost", "second", "third"];
    const kept: string[] = [];
    const restored = Promise.withResolvers<number>();
    const etcd = {
      label: "etcd",
      grantLease: async () => ({ id: leases.shift() as string, ttl: 60 }),
      put: async (_key: string, _value: string, lease: string) => {
        if (lease === "second") throw new Error("too busy");
        kept.push(lease);
      },
      keepAlive: async () => new Stream(),
      hasLease: async (id: string) => id !== "lost",
      revokeLease: async (id: string) => void kept.push(`revoked ${id}`),
    };
    const key = await HeldKey.hold(etcd as unknown as EtcdSession, held, { ...silent, restored: restored.resolve });
    await restored.promise;
    await key.release();
    assert.deepEqual(kept, ["lost", "third", "revoked third"]);
  });

  it("is given back although its stream is still being opened", async () => {
    const opened = Promise.withResolvers<Stream>();
    const revoked: string[] = [];
    const etcd = {
      label: "etcd",
      grantLease: async () => ({ id: "one", ttl: 60 }),
      put: async () => undefined,
      keepAlive: () => opened.promise,
      revokeLease: async (id: string) => void revoked.push(id),
    };
    const key = await HeldKey.hold(etcd as unknown as EtcdSession, held, silent);
    const released = key.release();
    opened.resolve(new Stream());
    await released;
    assert.deepEqual(revoked, ["one"]);
  });
});

describe("a view of etcd", () => {
  it("may be ended while its watch is being opened", async () => {
    const opened = Promise.withResolvers<Stream>();
    const asked = Promise.withResolvers<void>();
    const etcd = {
      label: "etcd",
      list: async () => ({ entries: [], revision: "1" }),
      watch: () => {
        asked.resolve();
        return opened.promise;
      },
    };
    const silent = { all: () => undefined, put: () => undefined, gone: () => undefined, trouble: () => undefined };
    const stop = viewPrefix(etcd as unknown as EtcdSession, "p/", silent);
    await asked.promise;
    stop();
    const stream = new Stream();
    const cancelled = once(stream, "error");
    opened.resolve(stream);
    await cancelled;
    assert(stream.listenerCount("error") > 0, "its error would end the process");
  });
});

describe("a client", () => {
  /** Of an etcd and a NATS in which nothing ever happens. */
  const alone = (closed: Promise<Error | undefined>) => {
    const lines: string[] = [];
    const nothing = async () => undefined;
    const bus = { connected: true, maxPayload: 1_000, subscribe: () => nothing, onConnection: () => nothing, closed };
    const etcd = { label: "etcd", list: () => new Promise(() => undefined) };
    const connection = { bus, etcd, prefix: "", log: (line: string) => lines.push(line), close: nothing };
    return { client: Client.over(connection as unknown as Connection), lines };
  };

  it("that NATS lets in no more says so once, and to each request at once", async () => {
    const { client, lines } = alone(Promise.resolve(new Error("NATS closed the connection")));
    await client.closed;
    assert.deepEqual(lines, ["NATS closed the connection; no request of this client can be sent any more"]);
    await assert.rejects(client.request("any", 1), { code: "unavailable", message: /: NATS closed the connection$/ });
    await client.close();
  });

  it("waits as long as a deadline that never comes", async () => {
    const { client } = alone(Promise.resolve(undefined));
    const warnings: string[] = [];
    const warned = ({ name }: Error) => warnings.push(name);
    process.on("warning", warned);
    const leaving = new AbortController();
    const asked = client.request("any", 1, { deadlineMs: Number.POSITIVE_INFINITY, signal: leaving.signal });
    setImmediate(() => leaving.abort());
    await assert.rejects(asked, { code: "aborted" });
    process.off("warning", warned);
    assert.deepEqual(warnings, []);
    await client.close();
  });
});

describe("SIGTERM", () => {
  it("ends what was still starting, too", async () => {
    const program = `
      const { endWithSignals } = await import("${new URL("../../runtime/signals.ts", import.meta.url)}");
      const ended = Promise.withResolvers();
      setInterval(() => {}, 1_000);
      endWithSignals({ stop: async () => {
        setImmediate(() => endWithSignals({ stop: async () => { console.log("second"); ended.resolve(); return false; } }));
        await ended.promise;
        return true;
      } });
      process.kill(process.pid, "SIGTERM");`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [said, [code]] = await Promise.all([text(child.stdout), once(child, "exit")]);
    assert.deepEqual([[...new Set(said.split("\n"))], code], [["second", ""], 1]);
  });
});
