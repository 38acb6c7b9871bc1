import assert from "node:assert/strict";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ADAPTERS_GATE, loadedLabel, loadedName } from "../../components/plan/adapter.ts";
import { rollOut } from "../../components/tenancy/adapter-rollout.ts";
import { adapterStatus } from "../../components/tenancy/adapter-status.ts";
import { until } from "../../dev/platform/wait.ts";
import { withStores } from "../e2e/scene.ts";
import type { Pod } from "./adapter-pod.ts";
import { AdapterScene } from "./adapter-scene.ts";
import { ArtifactStore } from "./artifact-store.ts";

describe("an adapter's loader", () => {
  let scene: AdapterScene;
  let pod: Pod;
  let other: Pod;

  before(async () => {
    scene = await AdapterScene.open();
    pod = await scene.pod("decode-0");
  });
  after(() => scene?.close());

  /** An artifact on the disk that all engines share. */
  function artifact(name: string): string {
    const path = join(scene.directory, "artifacts", name);
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, "adapter_config.json"), JSON.stringify({ name }));
    return path;
  }
  const labelled = (label: string) => (state: { labels: string[]; open: boolean }) => state.labels.includes(label);
  /** Nothing is wanted, and nothing is left in the engine. */
  async function forget(adapter: string): Promise<void> {
    await scene.remove("ConfigMap", `adapter.${adapter}`);
    await until({
      what: `${adapter} is unloaded`,
      within: 90,
      attempt: async () => assert.deepEqual(await pod.models(), []),
    });
    await scene.sees(pod, "says nothing", ({ labels, message }) => labels.length === 0 && message === "");
  }
  /** Waits for an Event: it comes beside what the pod says, and of one failure there are soon several. */
  const tells = (type: string, reason: string, message: RegExp) =>
    until({
      what: `an Event ${reason}`,
      within: 90,
      attempt: async () => {
        const events = await scene.events(pod);
        const told = events.some((each) => each.type === type && each.reason === reason && message.test(each.message));
        assert.ok(told, JSON.stringify(events.map((each) => each.message)));
      },
    });
  const failed = (why: RegExp) => (state: { labels: string[]; message: string; open: boolean }) =>
    why.test(state.message) && state.labels.length === 0 && state.open;

  it("opens the gate of a pod that needs none", async () => {
    await scene.sees(pod, "is open", ({ open, labels }) => open && labels.length === 0);
    await until({ what: "ready", within: 90, attempt: async () => assert.equal((await pod.ready()).status, 200) });
  });

  it("loads what is wanted, labels its pod and says so in an Event", async () => {
    const record = await scene.want("sql", artifact("one"), { graceSeconds: 0 });
    await scene.sees(pod, "is labelled", labelled(loadedLabel(record)));
    assert.deepEqual(await pod.models(), [loadedName(record)]);
    await tells("Normal", "AdapterLoaded", /./);
  });

  it("takes the label away when the engine ends, closes the gate, and loads again when another is there", async () => {
    const label = loadedLabel(await scene.want("sql", artifact("one"), { graceSeconds: 0 }));
    await pod.killEngine();
    await scene.sees(pod, "is not labelled", (state) => !state.labels.includes(label) && !state.open);
    await pod.startEngine();
    const state = await scene.sees(pod, "is labelled", labelled(label));
    assert.ok(state.open);
  });

  it("takes the label away when the engine hangs", async () => {
    const label = loadedLabel(await scene.want("sql", artifact("one"), { graceSeconds: 0 }));
    await pod.behave({ hangs: true });
    await scene.sees(pod, "is not labelled", (state) => !state.labels.includes(label) && !state.open);
    await pod.behave({ hangs: false });
    await scene.sees(pod, "is labelled", (state) => state.labels.includes(label) && state.open);
  });

  it("is not ready after its own restart before it has looked at the engine", async () => {
    const label = loadedLabel(await scene.want("sql", artifact("one"), { graceSeconds: 0 }));
    await pod.killLoader();
    await pod.killEngine();
    // The label is still there, and nobody could take it away.
    assert.ok((await scene.state(pod)).labels.includes(label));
    await assert.rejects(pod.ready());
    await pod.startLoader();
    await scene.sees(pod, "is not labelled", (state) => !state.labels.includes(label) && !state.open);
    assert.equal((await pod.ready()).status, 503);
    await pod.startEngine();
    await scene.sees(pod, "is labelled", (state) => state.labels.includes(label) && state.open);
  });

  it("loads a new generation beside the one that serves, and unloads that when it serves no more", async () => {
    const first = await scene.want("sql", artifact("one"), { graceSeconds: 3600 });
    await scene.serve(first);
    const second = await scene.want("sql", artifact("two"), { graceSeconds: 0 });
    const both = [loadedName(first), loadedName(second)].sort();
    await scene.sees(pod, "has both", ({ labels }) => labels.length === 2);
    await scene.serve(second);
    await scene.sees(pod, "has the second", ({ labels }) => String(labels) === loadedLabel(second));
    // Requests that name it are still on their way.
    assert.deepEqual((await pod.models()).sort(), both);
    await scene.serve({ ...first, graceSeconds: 1 });
    await scene.sees(pod, "has both again", ({ labels }) => labels.length === 2);
    await scene.serve(second);
    await until({
      what: "the first is unloaded",
      within: 90,
      attempt: async () => assert.deepEqual(await pod.models(), [loadedName(second)]),
    });
  });

  it("keeps the generation that serves when the new one cannot be loaded, and says why", async () => {
    const second = await scene.want("sql", artifact("two"), { graceSeconds: 0 });
    const missing = await scene.want("sql", join(scene.directory, "missing"), { graceSeconds: 0 });
    const state = await scene.sees(pod, "says why", ({ message }) => message.includes("No adapter found"));
    assert.deepEqual(state.labels, [loadedLabel(second)]);
    assert.ok(state.open, "a failed load does not take the pod away");
    assert.match(state.message, new RegExp(`^${loadedName(missing)}: the engine answered 404 `));
    await tells("Warning", "AdapterLoadFailed", /No adapter found.*try 1, the next in \d+ s/);
    await scene.remove("Service", "sql");
    await forget("sql");
  });

  it("fails a rollout of what is nowhere served when it does not come, and is told of in the status", async () => {
    const record = await scene.want("fin", join(scene.directory, "missing"), { graceSeconds: 0 });
    await scene.sees(pod, "says why", failed(/No adapter found/));
    const { namespace } = scene;
    const rollout = { namespace, vertex: "decode", record, minReady: 1, pods: 1, timeoutSeconds: 1 };
    await withStores(process.env, async (stores) => {
      await assert.rejects(
        rollOut(stores, rollout),
        /^StoreError: adapter 'fin': 0 of at least 1 ready pods of 'decode' .* after 1 s \(decode-0: .*No adapter found/,
      );
      const earlier = { ...record, generation: "0123456789ab" };
      const { serving, problem } = await rollOut(stores, rollout, earlier);
      assert.deepEqual(serving, earlier);
      assert.match(problem, /No adapter found.*'fin-0123456789ab' goes on serving/);
      const paused = await rollOut(stores, { ...rollout, pods: 0 });
      assert.equal(paused.serving.generation, record.generation);
      const [status] = await adapterStatus(stores, namespace);
      assert.deepEqual(
        { ...status, failures: status?.failures.map((failure) => failure.pod) },
        {
          adapter: "fin",
          vertex: "decode",
          generation: record.generation,
          serving: undefined,
          wanted: 1,
          loaded: 0,
          ready: 0,
          failures: ["decode-0"],
        },
      );
    });
    await forget("fin");
  });

  for (const [load, why] of [
    ["fails", /the engine answered 500 to POST \/v1\/load_lora_adapter: CUDA error: out of memory/],
    ["hangs", /did not answer POST \/v1\/load_lora_adapter within its time/],
    ["unlisted", /said that it loaded it, and does not list it/],
    ["mute", /answered 404 to POST \/v1\/completions/],
  ] as const)
    it(`reports an engine whose loading ${load}, tries again, and loads when it works`, async () => {
      await pod.behave({ load });
      const loadTimeoutSeconds = load === "hangs" ? 1 : 60;
      await scene.want("fin", artifact("one"), { graceSeconds: 0, loadTimeoutSeconds });
      await scene.sees(pod, "says why", failed(why));
      await pod.behave({ load: "works" });
      const record = await scene.want("fin", artifact("one"), { graceSeconds: 0, loadTimeoutSeconds: 60 });
      await scene.sees(
        pod,
        "is labelled",
        ({ labels, message }) => labels.includes(loadedLabel(record)) && message === "",
      );
      await forget("fin");
    });

  it("believes a pooling model by what it pools, for it has no completions", async () => {
    await pod.behave({ pools: true });
    const record = await scene.want("fin", artifact("one"), { graceSeconds: 0 });
    await scene.sees(pod, "is labelled", labelled(loadedLabel(record)));
    await forget("fin");
    await pod.behave({ pools: false });
  });

  it("lets an engine serve that an adapter has ended, and removes what nobody wants", async () => {
    const secret = "adapter.deadly";
    const store = await ArtifactStore.open((request, response) => {
      const listing = { siblings: [{ rfilename: "adapter_config.json" }] };
      return response.end(request.url?.startsWith("/api/") ? JSON.stringify(listing) : "{}");
    });
    await scene.secret(secret, { HF_ENDPOINT: store.url });
    await pod.behave({ load: "kills" });
    await scene.want("deadly", "hf://acme/deadly", { secret, graceSeconds: 0 });
    await scene.sees(pod, "says why", ({ message }) => /did not answer POST \/v1\/load_lora_adapter/.test(message));
    await scene.sees(pod, "is closed without an engine", ({ open }) => !open);
    // The next try does not come to an end, and the gate does not wait for it.
    await pod.startEngine("hangs");
    await scene.sees(pod, "is open", failed(/did not answer POST \/v1\/load_lora_adapter/));
    await scene.remove("ConfigMap", "adapter.deadly");
    await pod.killEngine();
    await pod.startEngine();
    await scene.sees(pod, "says nothing", ({ labels, message, open }) => open && labels.length === 0 && message === "");
    await until({
      what: "its artifact is removed",
      within: 90,
      attempt: async () => assert.deepEqual(readdirSync(join(pod.directory, "adapters")), []),
    });
    store.close();
  });

  it("refuses an engine with another base model", async () => {
    await scene.want("fin", artifact("one"), { baseModel: "llama", graceSeconds: 0 });
    await scene.sees(pod, "says why", failed(/baseModel: found 'llama'; the engine serves 'base'/));
    await forget("fin");
  });

  it("brings an artifact from the Hugging Face Hub, with a token from a Secret", async () => {
    const files: Record<string, string> = { "adapter_config.json": '{"from":"hub"}', "weights/a.safetensors": "0000" };
    const store = await ArtifactStore.open((request, response) => {
      if (request.headers.authorization !== "Bearer hf_sesame") return response.writeHead(401).end();
      if (request.url === "/api/models/acme/sql/revision/v1")
        return response.end(JSON.stringify({ siblings: Object.keys(files).map((rfilename) => ({ rfilename })) }));
      const text = files[request.url?.replace("/acme/sql/resolve/v1/", "") ?? ""];
      return response.writeHead(text === undefined ? 404 : 200).end(text);
    });
    const secret = "adapter.hub";
    const record = await scene.want("hub", "hf://acme/sql@v1", { secret, graceSeconds: 0 });
    await scene.sees(pod, "may not read it", failed(/answered 403 to GET .*secrets\/adapter.hub/));
    await scene.secret(secret, { HF_TOKEN: "hf_sesame", HF_ENDPOINT: store.url });
    await scene.sees(pod, "is labelled", labelled(loadedLabel(record)));
    const answer = await pod.fetch("/v1/completions", { model: loadedName(record), prompt: "a" });
    assert.match(await answer.text(), /from.*hub/);
    assert.doesNotMatch(pod.log, /hf_sesame/);
    await forget("hub");
    store.close();
  });

  it("ends an artifact that never ends, by its time and by its size", async () => {
    const drip = (bytes: number, everyMs: number) =>
      ArtifactStore.open((request, response) => {
        if (request.url?.includes("list-type"))
          return response.end(
            "<ListBucketResult><Contents><Key>sql/adapter_config.json</Key></Contents></ListBucketResult>",
          );
        const timer = setInterval(() => response.write(Buffer.alloc(bytes)), everyMs);
        response.on("close", () => clearInterval(timer));
      });
    const slow = await drip(1, 100);
    const large = await drip(2 ** 20, 1);
    await scene.secret("adapter.slow", { AWS_ENDPOINT_URL: slow.url });
    await scene.secret("adapter.large", { AWS_ENDPOINT_URL: large.url });
    await scene.want("slow", "s3://models/sql", { secret: "adapter.slow", loadTimeoutSeconds: 1 });
    await scene.sees(pod, "says why", failed(/s3:\/\/models\/sql did not come within its time/));
    await forget("slow");
    await scene.want("large", "s3://models/sql", { secret: "adapter.large", maxBytes: 2 ** 24 });
    await scene.sees(pod, "says why", failed(/s3:\/\/models\/sql is larger than maxBytes \(16777216\)/));
    await forget("large");
    slow.close();
    large.close();
  });

  it("loads on the newest pods when not all shall have it, and moves without a gap", async () => {
    const record = await scene.want("few", artifact("one"), { replicas: 1, graceSeconds: 0 });
    const label = loadedLabel(record);
    await scene.sees(pod, "is labelled", labelled(label));
    await until({
      what: "a second with another time of creation",
      within: 90,
      attempt: async () => {
        const { metadata } = await scene.read("Pod", pod.name);
        assert.ok(Date.now() > new Date(metadata.creationTimestamp).getTime() + 1000);
      },
    });
    other = await scene.pod("decode-1");
    await scene.sees(other, "is labelled", labelled(label));
    // It is not ready yet, so the earlier one goes on.
    assert.ok((await scene.state(pod)).labels.includes(label));
    const ready = { type: "Ready", status: "True" };
    const path = `/api/v1/namespaces/${scene.namespace}/pods/decode-1/status`;
    assert.equal((await scene.ask("PATCH", path, { status: { conditions: [ready] } })).status, 200);
    await scene.sees(pod, "is not labelled", ({ labels }) => labels.length === 0);
    assert.ok((await scene.state(other)).labels.includes(label));
    await scene.remove("ConfigMap", "adapter.few");
  });

  it("may change its own pod's labels of ours and its own condition, and nothing else", async () => {
    const pods = `/api/v1/namespaces/${scene.namespace}/pods`;
    const ask = async (path: string, body: object) => {
      const { status, body: answer } = await scene.ask("PATCH", `${pods}/${path}`, body, pod.token);
      return `${status} ${answer.message ?? ""}`;
    };
    const ours = { metadata: { labels: { "adapter.ringfence.dev/x.1": "loaded" } } };
    assert.match(await ask("decode-1/status", ours), /^422 .*may change the status of its own pod only/);
    assert.match(await ask("decode-0", ours), /^403 .*cannot patch resource "pods"/);
    const foreign = { metadata: { labels: { "ringfence.dev/vertex": "frontend" } } };
    assert.match(await ask("decode-0/status", foreign), /^422 .*labels only that begin with adapter.ringfence.dev\//);
    const note = { metadata: { annotations: { note: "1" } } };
    assert.match(await ask("decode-0/status", note), /^422 .*no annotation/);
    assert.match(await ask("decode-0/status", { status: { podIP: "10.0.0.1" } }), /^422 .*no part of the status/);
    assert.match(await ask("decode-0/status", { status: { observedGeneration: 7 } }), /^422 .*no part of the status/);
    const ready = { status: { conditions: [{ type: "Ready", status: "True" }] } };
    assert.match(await ask("decode-0/status", ready), /^422 .*no part of the status/);
    const gate = { status: { conditions: [{ type: ADAPTERS_GATE, status: "False" }] } };
    assert.match(await ask("decode-0/status", gate), /^200 /);
    assert.match(await ask("decode-0/status", ours), /^200 /);
    await scene.sees(pod, "says again what is so", ({ labels, open }) => labels.length === 0 && open);
  });

  it("says that it may not, and goes on when it may", async () => {
    const role = `/apis/rbac.authorization.k8s.io/v1/namespaces/${scene.namespace}/roles/adapters.decode`;
    const { body } = await scene.ask("GET", role);
    const without = body.rules.filter(({ verbs }: { verbs: string[] }) => !verbs.includes("patch"));
    await scene.ask("PATCH", role, { rules: without });
    const record = await scene.want("sql", artifact("one"), { graceSeconds: 0 });
    await until({
      what: "it says so",
      within: 90,
      attempt: async () => {
        const { status, text } = await pod.ready();
        assert.equal(status, 503);
        assert.match(text, /answered 403 to PATCH .*decode-0\/status/);
      },
    });
    await scene.ask("PATCH", role, { rules: body.rules });
    await scene.sees(pod, "is labelled", labelled(loadedLabel(record)));
  });
});
