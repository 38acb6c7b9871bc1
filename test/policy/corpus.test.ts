import assert from "node:assert/strict";
import { policies } from "../../policy/policies.ts";
import { corpus } from "./corpus.ts";
import { told } from "./stack.ts";

describe("the policies on other people's manifests", () => {
  for (const { title, stack, wanted } of corpus) {
    it(`${title}: ${Object.keys(wanted).length === 0 ? "nothing" : Object.keys(wanted).join(", ")}`, () => {
      const found = policies.map((policy) => [policy.name, told(policy, stack)] as const);
      const counts = Object.fromEntries(policies.map(({ name }) => [name, wanted[name] ?? 0]));
      assert.deepEqual(
        Object.fromEntries(found.map(([name, messages]) => [name, messages.length])),
        counts,
        `${found}`,
      );
    });
  }
});
