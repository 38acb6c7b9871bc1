import assert from "node:assert/strict";
import { createServer } from "node:http";
import { headers, type NatsConnection } from "nats";
import { openConnection } from "../../runtime/connection.ts";
import { type Client, RequestError, serve } from "../../runtime/index.ts";
import { etcdOf, natsOf } from "../tenancy/scene.ts";
import { eventually, Scene } from "./scene.ts";

describe("what a request is promised", () => {
  let scene: Scene;
  let client: Client;
  let raw: NatsConnection;
  before(async () => {
    scene = await Scene.make();
    client = await scene.client();
    raw = await natsOf(scene.tenant);
  });
  after(() => scene.close());

  /** A message as a client sends it. */
  const send = async (instance: string, endpoint: string, header: string, body: object, timeout = 60_000) => {
    const sent = headers();
    sent.set("Ringfence", header);
    const to = `ringfence.v1.${endpoint}.${instance}`;
    return raw.request(to, JSON.stringify(body), { headers: sent, timeout });
  };

  it("JSON and bytes arrive as they were sent", async () => {
    await scene.worker("bodies");
    assert.deepEqual(
      new Uint8Array(await client.request("bodies", { key: "a", bytes: 300 })),
      new Uint8Array(300).fill(7),
    );
    const worker = await serve<Uint8Array>("lengths", (body) => ({ length: body.length }), {
      env: scene.env,
      port: false,
      handleSignals: false,
      propagationSeconds: 0,
    });
    assert.deepEqual(await client.request("lengths", new Uint8Array(1000)), { length: 1000 });
    assert.equal(await worker.stop(), true);
  });

  it("no value that a handler throws, and no message from one who waits for no answer, ends a worker", async () => {
    const throws = () => {
      throw Object.create(null);
    };
    const options = { env: scene.env, port: false, handleSignals: false, propagationSeconds: 0 } as const;
    const worker = await serve("thrower", throws, options);
    for (const _ of [1, 2])
      await assert.rejects(client.request("thrower", {}), {
        code: "failed",
        message: /it threw a value that has no text/,
      });
    const { bus, close } = await openConnection("suite", { env: scene.env });
    bus.publish("", new Uint8Array(0), { header: "pong ready" });
    await close();
    assert.equal(await worker.stop(), true);
  });

  it("a request runs once, however often it comes, and its reply is given again", async () => {
    const { instance } = await scene.worker("once");
    const run = (number: number, settled: number, timeout?: number) =>
      send(instance, "once", `run c1 ${number} ${settled} 10000 0 j`, { key: `k${number}` }, timeout);
    const [first, again] = [await run(7, 7), await run(7, 7)];
    assert.equal(first.string(), again.string());
    // Number 8 settles number 7: one that was long under way is not run.
    await run(8, 8);
    await assert.rejects(run(7, 7, 2_000), { code: "TIMEOUT" });
    assert.deepEqual(
      [...scene.runs("once")],
      [
        ["k7", 1],
        ["k8", 1],
      ],
    );
    // Whoever has a part of a reply of which nothing is known is told so.
    const cut = await send(instance, "once", "run c2 1 1 10000 3 j", { key: "cut" });
    assert.equal(cut.headers?.get("Ringfence"), "forgotten");
  });

  it("replies that would take too much are forgotten, and never run again", async () => {
    const { instance } = await scene.worker("forgetful", { replyCacheBytes: 1_000 });
    const run = (number: number) =>
      send(instance, "forgetful", `run c1 ${number} 0 10000 0 j`, { key: `k${number}`, bytes: 400 });
    for (const number of [1, 2, 3]) assert.equal((await run(number)).data.length, 400);
    assert.equal((await run(1)).headers?.get("Ringfence"), "forgotten");
    assert.equal((await run(3)).data.length, 400);
    assert.equal(scene.runs("forgetful").get("k1"), 1);
  });

  it("what a handler throws is told, and not tried again", async () => {
    await scene.worker("failing");
    await assert.rejects(client.request("failing", { key: "a", fail: "no such model" }, { idempotent: true }), {
      code: "failed",
      message: /^request to 'failing': the handler of \w+ threw TypeError: no such model$/,
    });
    assert.equal(scene.runs("failing").get("a"), 1);
  });

  it("a deadline ends it, and says whether it may have run", async () => {
    await scene.worker("slow");
    // From here on the client knows it, so that what the deadline cuts short is no search.
    await client.request("slow", { key: "first" });
    await assert.rejects(
      client.request("slow", { key: "a", workMs: 5_000 }, { deadlineMs: 300, attemptTimeoutMs: 100 }),
      {
        code: "outcome-unknown",
        message:
          /^request to 'slow': no answer within its deadline of 300 ms; \d attempts?: (\w+ no answer within \d+ ms( \(\d times\))?(, )?)+; 1 instances known, 1 usable; it may have been run: /,
      },
    );
    await assert.rejects(client.request("nobody", { key: "a" }, { deadlineMs: 300 }), {
      code: "unavailable",
      message:
        /^request to 'nobody': no answer within its deadline of 300 ms; nobody was asked; 0 instances known, 0 usable; it was not run: send it again$/,
    });
  });

  it("what cannot be sent is refused before", async () => {
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    await assert.rejects(client.request("slow", circular), { code: "invalid", message: /its body has no JSON form/ });
    await assert.rejects(client.request("slow", new Uint8Array(2 ** 21)), {
      code: "invalid",
      message: /its body has 2097152 bytes, and NATS takes \d+ at once: split it/,
    });
    await assert.rejects(client.request("a.b", 1), /endpoint: found 'a\.b'; expected up to 63 letters/);
  });

  it("a reply that is too large fails, and may be streamed", async () => {
    await scene.worker("large");
    await assert.rejects(client.request("large", { key: "a", bytes: 2 ** 21 }), {
      code: "failed",
      message: /RangeError: the reply has 2097152 bytes, and NATS takes \d+ at once: stream it in parts/,
    });
  });

  it("a caller may leave: the handler hears of it", async () => {
    await scene.worker("left");
    for await (const _ of client.stream("left", { key: "stream", parts: 1_000, workMs: 20 })) break;
    await eventually("the handler has heard", () => scene.runs("left").has("a stream's caller left"));
    const leave = new AbortController();
    const asked = client.request("left", { key: "long", workMs: 10_000 }, { signal: leave.signal });
    await eventually("it runs", () => scene.runs("left").has("long"));
    leave.abort();
    await assert.rejects(asked, { code: "aborted" });
  });

  it("a stream that breaks ends with an error, never as if it were complete", async () => {
    const worker = await scene.worker("broken");
    const parts: unknown[] = [];
    const reading = (async () => {
      for await (const part of client.stream(
        "broken",
        { key: "stream", parts: 1_000, workMs: 20 },
        { idempotent: true },
      )) {
        parts.push(part);
        if (parts.length === 5) worker.process.kill("SIGKILL");
      }
    })();
    await assert.rejects(reading, (error: RequestError) => {
      assert.equal(error.code, "outcome-unknown");
      assert.match(error.message, new RegExp(`is gone after ${parts.length} parts of its reply`));
      return true;
    });
    await assert.rejects(
      (async () => {
        await scene.worker("parts");
        await client.request("parts", { key: "a", parts: 2 });
      })(),
      /it is answered with a stream: use stream\('parts', …\)/,
    );
  });

  it("a stream's handler waits for a caller that reads slowly, and no part is lost", async () => {
    let made = 0;
    async function* numbers() {
      for (; made < 500; made++) yield made;
    }
    const settings = { env: scene.env, port: false, handleSignals: false, propagationSeconds: 0 } as const;
    const worker = await serve("slowly", (body) => (body === "all" ? numbers() : body), settings);
    const read: number[] = [];
    for await (const number of client.stream<number>("slowly", "all")) {
      read.push(number);
      if (read.length !== 1 && read.length !== 100) continue;
      await eventually("parts wait to be read", () => made >= read.length + 15);
      // Time enough to make all of them.
      for (let i = 0; i < 5; i++) await client.request("slowly", i);
      assert.ok(made <= read.length + 33, `${made} parts were made when ${read.length} were read`);
    }
    assert.deepEqual(read, [...Array(500).keys()]);

    // A client from before the window says none, and gets all at once.
    made = 0;
    const [inbox, sent] = ["_INBOX.old.1", headers()];
    sent.set("Ringfence", "run old 1 1 10000 0 j");
    const frames: string[] = [];
    raw.subscribe(inbox, { callback: (_, message) => frames.push(message.headers?.get("Ringfence") ?? "") });
    raw.publish(`ringfence.v1.slowly.${worker.instance}`, '"all"', { headers: sent, reply: inbox });
    await eventually("all have come", () => frames.at(-1) === "end 500");
    assert.equal(await worker.stop(), true);
  });

  it("a storm of refusals meets a budget of retries", async () => {
    const asked = { runs: 0 };
    for (const id of ["f1", "f2", "f3"]) {
      const subject = `ringfence.v1.storm.${id}`;
      raw.subscribe(subject, {
        callback: (_, message) => {
          const answer = headers();
          const ping = message.headers?.get("Ringfence") === "ping";
          if (!ping) asked.runs++;
          answer.set("Ringfence", ping ? "pong ready" : "refused");
          message.respond(ping ? "" : '"busy"', { headers: answer });
        },
      });
      const value = JSON.stringify({ id, subject, rollout: "", started: 1, host: "test" });
      await etcdOf(scene.tenant).put(`${scene.tenant.etcd.prefix}runtime/v1/instances/storm/${id}`).value(value);
    }
    // Asking the same instance again after a silence is no retry: a pause of this process must not look like one.
    const patient = await scene.client({ healthIntervalMs: 60_000 });
    const atOnce = 150;
    const begun = performance.now();
    const errors: RequestError[] = [];
    for (let wave = 1; wave <= 3; wave++) {
      const outcomes = await Promise.allSettled(
        Array.from({ length: atOnce }, () =>
          patient.request("storm", 1, { deadlineMs: 60_000, attemptTimeoutMs: 60_000 }),
        ),
      );
      errors.push(...outcomes.map((outcome) => (outcome as PromiseRejectedResult).reason as RequestError));
      // As many as are under way may be sent again, once: whoever dies takes all that it had with it.
      const most = wave * atOnce * 1.2 + atOnce + ((performance.now() - begun) / 1000) * 2;
      assert.ok(asked.runs <= most, `${wave * atOnce} requests were sent ${asked.runs} times`);
    }
    assert.ok(errors.every((error) => error instanceof RequestError && error.code === "unavailable"));
    const spent = errors.find(({ message }) => message.includes("retry budget is spent"));
    assert.match(spent?.message ?? "", /\w+ refused it \(busy\).*it was not run: send it again/);
  });

  it("health and metrics are at the address that the pod was given", async () => {
    const env = { ...scene.env, RINGFENCE_BIND_ADDRESS: "127.64.0.9" };
    const worker = await serve("bound", () => 1, { env, port: 0, handleSignals: false, propagationSeconds: 0 });
    const at = (host: string) => fetch(`http://${host}:${worker.port}/ready`);
    assert.equal((await at("127.64.0.9")).status, 200);
    await assert.rejects(at("127.64.0.10"), /fetch failed/);
    assert.equal(await worker.stop(), true);
  });

  it("names what is wrong with its settings", async () => {
    const { NATS_SERVER: _, ...env } = scene.env;
    const handler = () => 1;
    await assert.rejects(
      serve("x", handler, { env }),
      /NATS_SERVER: not set; expected what Ringfence gives every vertex/,
    );
    await assert.rejects(
      serve("x", handler, { env: scene.env, leaseTtl: 0.5 }),
      /leaseTtl: found 0\.5; expected a whole/,
    );
    await assert.rejects(
      serve("x", handler, { env: { ...scene.env, RINGFENCE_GRACE_SECONDS: "soon" } }),
      /graceSeconds: found 'soon'; expected seconds/,
    );
    const taken = createServer().listen(0, "127.0.0.1");
    await eventually("the port is taken", () => taken.listening);
    const { port } = taken.address() as { port: number };
    await assert.rejects(
      serve("x", handler, { env: scene.env, port, host: "127.0.0.1" }),
      /port: found \d+, .*EADDRINUSE/,
    );
    taken.close();
    const elsewhere = { ...scene.env, NATS_SERVER: "127.0.0.1:1" };
    await assert.rejects(serve("x", handler, { env: elsewhere }), /NATS at 127\.0\.0\.1:1 does not answer/);
  });
});
