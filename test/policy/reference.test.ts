import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { policies } from "../../policy/policies.ts";
import { reference } from "../../policy/reference.ts";

const PAGE = fileURLToPath(new URL("../../docs/policies.md", import.meta.url));

describe("docs/policies.md", () => {
  it("is what the policies say of themselves", () => {
    assert.equal(
      readFileSync(PAGE, "utf8"),
      reference(),
      "node dev/bootstrap.js policy/reference.ts > docs/policies.md",
    );
  });

  it("has every policy with each of its parameters", () => {
    for (const { name, configSchema } of policies) {
      const section = reference().split(`\n## ${name}\n`)[1]?.split("\n## ")[0] ?? "";
      for (const parameter of Object.keys(configSchema?.properties ?? {}))
        assert(section.includes(`\`${parameter}\``), parameter);
      assert.match(section, /\*\*Fix\.\*\*/);
    }
  });
});
