import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { smokeCommand } from "../../components/plan/smoke.ts";
import { SmokeTest } from "../../components/smoke-test.ts";
import { failureOf, type Registered, run } from "./engine.ts";
import { chat } from "./scene.ts";

describe("a smoke test", () => {
  const requestOf = async (change: Parameters<typeof chat>[0] = {}): Promise<Registered> => {
    const all = await run(() => {
      new SmokeTest("try", { pipeline: chat(change), environment: { KUBECONFIG: "/k" } });
    });
    return all.get("Command try-request") ?? assert.fail([...all.keys()].join(", "));
  };

  it("sends the pipeline its request, after every vertex is ready", async () => {
    const { inputs, dependencies } = await requestOf();
    assert.match(inputs.create, /port-forward .* service\/web :8000 .* curl .* "http:\/\/\$address"'\/'; /);
    assert.deepEqual(inputs.environment, { KUBECONFIG: "/k" });
    for (const vertex of ["web", "worker"]) assert.ok(dependencies.includes(`chat.${vertex}-deployment`));
  });

  it("runs again when the plan is another", async () => {
    const { triggers } = (await requestOf()).inputs;
    assert.deepEqual((await requestOf()).inputs.triggers, triggers);
    assert.notDeepEqual(
      (await requestOf({ vertices: { web: { image: "j", ports: { http: 1 } } } })).inputs.triggers,
      triggers,
    );
  });

  it("asks a paused pipeline nothing", async () => {
    assert.equal((await requestOf({ lifecycle: { desiredPhase: "Paused" } })).inputs.create, "echo paused");
  });

  it("is refused for a pipeline that serves nothing", async () => {
    const error = await failureOf(
      () => new SmokeTest("try", { pipeline: chat({ vertices: { web: { image: "i" } } }) }),
    );
    assert.equal(
      error.message,
      "try.pipeline: found one without an endpoint; give it 'endpoint', or a vertex with a port 'http'",
    );
  });
});

/** The command as a shell runs it, with kubectl and curl that write down what they are asked. */
describe("a smoke test's command", () => {
  const body = `{"say":"it's"}`;
  const served = { namespace: "chat-1", vertex: "web", port: 8000, path: "/v1/it?a=b&c", body };
  let bin: string;
  const tool = (name: string, script: string) => {
    writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  const shell = () => {
    const { status, stdout } = spawnSync("/bin/sh", ["-c", smokeCommand(served)], {
      env: { ...process.env, PATH: `${bin}:${process.env.PATH}` },
      encoding: "utf8",
    });
    return { status, words: stdout.split("\n").filter(Boolean) };
  };
  beforeEach(() => {
    bin = mkdtempSync(join(tmpdir(), "ringfence-smoke-"));
    // Its pid first: once it forwards it may be ended at any moment.
    tool("kubectl", `echo $$ >"$0.pid"; echo "Forwarding from 127.0.0.1:4711 -> 8000"; exec sleep 60`);
  });
  afterEach(() => rmSync(bin, { recursive: true }));

  it("asks by POST at the forwarded port, quoted as it was written, gives the answer, and ends the port-forward", () => {
    tool("curl", `for word in "$@"; do echo "$word"; done`);
    const { status, words } = shell();
    assert.equal(status, 0);
    assert.ok(words.includes("http://127.0.0.1:4711/v1/it?a=b&c"), words.join("\n"));
    assert.ok(words.includes(body), words.join("\n"));
    const pid = readFileSync(join(bin, "kubectl.pid"), "utf8").trim();
    assert.throws(() => readFileSync(`/proc/${pid}/cmdline`, "utf8"), /ENOENT/, "still there");
  });

  it("fails when the answer is an error", () => {
    tool("curl", "exit 22");
    assert.equal(shell().status, 22);
  });

  it("fails when there is no way in, and asks nobody", () => {
    tool("kubectl", "exit 1");
    tool("curl", "echo asked");
    assert.deepEqual(shell(), { status: 1, words: [] });
  });
});
