// What commands say when there is nothing to work with: one line with what was found, what is expected, and the next step.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { adoptCommand } from "../../cli/adopt.ts";
import { mapCommand } from "../../cli/map.ts";
import { withStores } from "../../cli/stores.ts";

describe("a command", () => {
  const directory = mkdtempSync(join(tmpdir(), "ringfence-command-"));
  const { RINGFENCE_PLATFORM, RINGFENCE_HOME } = process.env;
  beforeEach(() => {
    delete process.env.RINGFENCE_PLATFORM;
    process.env.RINGFENCE_HOME = directory;
  });
  afterEach(() => {
    for (const [name, value] of Object.entries({ RINGFENCE_PLATFORM, RINGFENCE_HOME }))
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
  });
  after(() => rmSync(directory, { recursive: true }));

  const file = (name: string, text: string) => {
    const path = join(directory, name);
    writeFileSync(path, text);
    return path;
  };

  it("without a platform says what to name, and not the stack's config, which it does not read", async () => {
    const way = (found: string) =>
      `RINGFENCE_PLATFORM: found ${found}; expected a JSON file with 'platform' in it, with the access that a stack's config has as ringfence:platform: name one, or run 'ringfence dev up'`;
    await assert.rejects(
      withStores(() => assert.fail("there is none")),
      { message: way("nothing") },
    );
    const other = file("other.json", '{ "another": {} }');
    process.env.RINGFENCE_PLATFORM = other;
    await assert.rejects(
      withStores(() => assert.fail("there is none")),
      { message: way(`'${other}' without it`) },
    );
  });

  it("adopt says which arguments it has, and which belong together", async () => {
    const together =
      "expected either <logical-name> and --dynamo-namespace, or --from-state alone: see 'ringfence adopt --help'";
    await assert.rejects(adoptCommand(undefined, {}), { message: `found nothing; ${together}` });
    await assert.rejects(adoptCommand("a/b", { fromState: "f" }), {
      message: `found <logical-name> and --from-state; ${together}`,
    });
  });

  it("map names a state that is not there, or is none, in one line", async () => {
    await assert.rejects(mapCommand({ state: join(directory, "gone") }), {
      message: /^--state .*gone: ENOENT.*; give it what 'pulumi stack export' prints$/,
    });
    await assert.rejects(mapCommand({ state: file("text", "no\nJSON\n") }), {
      message: /^[^\n]*text: expected the JSON of 'pulumi stack export': [^\n]*$/,
    });
  });
});
