import assert from "node:assert/strict";
import fc from "fast-check";
import { aliasModel, namespaceOfKey, namespaceOfValue } from "../../components/plan/dynamo-keys.ts";
import { aliasKeys, aliasValues, modelNameProblem, modelSegment } from "../../components/plan/models.ts";

const MODELS = ["deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "Qwen/Qwen3-0.6B", "llama3.1:8b", "gpt2", "org/model@v1+a"];

/** Names that are allowed, and near misses. */
const name = fc.string({ unit: fc.constantFrom(..."aB9._-:@+/% "), maxLength: 12 });

describe("a model's name", () => {
  for (const model of MODELS)
    it(`may be ${model}`, () => {
      assert.equal(modelNameProblem(model), undefined);
      assert.deepEqual(
        aliasKeys(model).map((key) => namespaceOfKey(key)),
        ["global", "global"],
      );
    });

  it("is one segment of a key, from which it is read back", () => {
    fc.assert(
      fc.property(name, (model) => {
        if (modelNameProblem(model) !== undefined) return;
        assert.ok(!modelSegment(model).includes("/"));
        assert.equal(decodeURIComponent(modelSegment(model)), model);
      }),
      { numRuns: 2000 },
    );
  });

  it("leaves no slash, space or dot segment at the keys' ends", () => {
    fc.assert(
      fc.property(name, (model) => {
        const allowed = /^[^/ %]+(\/[^/ %]+)*$/.test(model) && model.split("/").every((one) => /^[aB9]/.test(one));
        assert.equal(modelNameProblem(model) === undefined, allowed);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("what a key for old frontends says", () => {
  const holder = {
    model: "m",
    dynamoNamespace: "chat",
    generation: "0123",
    namespace: "chat-0123",
    url: "http://web.chat-0123.svc:8000",
  };

  it("is Dynamo's entry, which tells no namespace to those who look for residue: the registry accounts for it", () => {
    for (const [key, value] of Object.entries(aliasValues(holder))) {
      const { ringfence, ...entry } = JSON.parse(value);
      assert.equal(entry.name, "m");
      assert.equal(entry.model_type.toLowerCase(), key.split("/")[4]);
      assert.equal(namespaceOfValue(JSON.stringify(entry)), "chat");
      assert.equal(namespaceOfValue(value), undefined);
      assert.equal(aliasModel(value), "m");
      assert.equal(ringfence.url, holder.url);
    }
    assert.equal(aliasModel(JSON.stringify({ name: "m" })), undefined);
  });
});
