import assert from "node:assert/strict";
import { ModelRoute, type PipelineArgs } from "../../components/index.ts";
import { failureOf, type Registered, run } from "./engine.ts";
import { chat } from "./scene.ts";

const MODEL = "deepseek-ai/DeepSeek-R1-Distill-Llama-8B";

const registrationOf = async (
  change: Partial<PipelineArgs> = {},
  more: { legacyAlias?: boolean } = {},
): Promise<Registered> => {
  const all = await run(() => {
    new ModelRoute("route", { pipeline: chat(change), model: MODEL, ...more });
  });
  return all.get("ModelRegistration route-registration") ?? assert.fail([...all.keys()].join(", "));
};

describe("a model route", () => {
  it("registers who serves the model, and where", async () => {
    const { inputs, parent } = await registrationOf({ realm: "acme", dynamoNamespace: "llm" });
    const { __provider, ...said } = inputs;
    assert.equal(parent, "route");
    assert.deepEqual(said, {
      platform: "platform",
      owner: "platform-ledger-id",
      logicalName: "acme/chat",
      generation: "gen-of-acme/chat",
      model: MODEL,
      dynamoNamespace: "llm",
      namespace: "chat-gen-of-a",
      url: "http://web.chat-gen-of-a.svc:8000",
      serving: true,
      legacyAlias: false,
    });
  });

  it("comes after every vertex of the pipeline, so that it goes before the first of them", async () => {
    const { dependencies } = await registrationOf();
    for (const vertex of ["web", "worker"]) assert.ok(dependencies.includes(`chat.${vertex}-deployment`), vertex);
  });

  it("is withdrawn while the pipeline is paused, without waiting for its pods to go", async () => {
    const { inputs, dependencies } = await registrationOf({ lifecycle: { desiredPhase: "Paused" } });
    assert.equal(inputs.serving, false);
    assert.deepEqual(
      dependencies.filter((name) => name.startsWith("chat.")),
      [],
    );
  });

  it("tells old frontends when it is asked to", async () => {
    assert.equal((await registrationOf({}, { legacyAlias: true })).inputs.legacyAlias, true);
  });

  it("is refused at once when its model cannot be called so", async () => {
    for (const [model, problem] of [
      ["", /route\.model: found ''; it is empty$/],
      ["/data/llama", /route\.model: found '\/data\/llama'; it may hold letters, .* as 'deepseek-ai\/DeepSeek/],
      ["a//b", /it may hold/],
      ["../b", /it may hold/],
      ["a b", /it may hold/],
      ["m".repeat(201), /it has 201 characters, at most 200 are allowed$/],
    ] as const) {
      assert.match((await failureOf(() => new ModelRoute("route", { pipeline: chat(), model }))).message, problem);
    }
  });

  it("is refused for a pipeline that nobody can ask, and for a model that has a route of it already", async () => {
    const mute = () => new ModelRoute("route", { pipeline: chat({ vertices: { web: { image: "i" } } }), model: MODEL });
    assert.match((await failureOf(mute)).message, /^route\.pipeline: found one without an endpoint/);
    const twice = () => {
      const pipeline = chat();
      new ModelRoute("one", { pipeline, model: MODEL });
      new ModelRoute("other", { pipeline, model: MODEL });
    };
    assert.match((await failureOf(twice)).message, /^other\.model: found '.*', which route 'one' of this pipeline has/);
  });
});
