import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import config from "../../.dependency-cruiser.js";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** What may be imported in the fixture: a module in each room, and packages of each kind. */
const targets = [
  "components/index.ts",
  "components/plan/target.ts",
  "components/graphs/target.ts",
  "components/resources/target.ts",
  "components/provider/v1/target.ts",
  "components/tenancy/target.ts",
  "components/stores/target.ts",
  "dev/target.ts",
  "policy/target.ts",
  "stacks/target.ts",
  "test/target.ts",
];
const packages = [
  "zod",
  "etcd3",
  "nats",
  "@nats-io/jwt",
  "@kubernetes/client-node",
  "cockatiel",
  "@pulumi/pulumi",
  "mocha",
  "transitive",
];

interface Case {
  file: string;
  line: string;
  /** The rule that refuses it; allowed when left out. */
  rule?: string;
}

/** @param specifier from the fixture's root, or a package */
const value = (file: string, specifier: string, rule?: string): Case => ({
  file,
  line: `import { x } from "${specifier}"; console.log(x);`,
  rule,
});
const type = (file: string, specifier: string, rule?: string): Case => ({
  file,
  line: `import type { x } from "${specifier}"; export type y = x;`,
  rule,
});

const cases: Case[] = [
  value("components/plan/a.ts", "../graphs/target.ts", "plan-imports-nothing-of-ours"),
  type("components/plan/b.ts", "../stores/target.ts", "plan-imports-nothing-of-ours"),
  value("components/plan/c.ts", "node:fs", "plan-does-no-io"),
  value("components/plan/d.ts", "child_process", "plan-does-no-io"),
  value("components/plan/e.ts", "@pulumi/pulumi", "plan-needs-zod-only"),
  value("components/plan/f.ts", "node:crypto"),
  value("components/plan/g.ts", "zod"),
  value("components/graphs/a.ts", "../resources/target.ts", "graphs-to-plan"),
  value("components/graphs/b.ts", "../plan/target.ts"),
  value("components/stores/a.ts", "../tenancy/target.ts", "stores-to-plan"),
  type("components/stores/b.ts", "@pulumi/pulumi", "protocol-without-pulumi"),
  value("components/stores/c.ts", "etcd3"),
  value("components/tenancy/a.ts", "../provider/v1/target.ts", "tenancy-to-stores"),
  value("components/tenancy/b.ts", "@pulumi/pulumi", "protocol-without-pulumi"),
  value("components/tenancy/c.ts", "../stores/target.ts"),
  value("components/provider/v1/a.ts", "../../stores/target.ts", "provider-to-tenancy"),
  value("components/provider/v1/b.ts", "@pulumi/pulumi", "provider-without-pulumi"),
  type("components/provider/v1/c.ts", "@pulumi/pulumi"),
  value("components/provider/v1/d.ts", "../../tenancy/target.ts"),
  value("components/resources/a.ts", "../tenancy/target.ts", "resources-to-provider-types"),
  value("components/resources/b.ts", "ringfence/provider/v1/target", "stubs-import-late"),
  type("components/resources/c.ts", "../provider/v1/target.ts"),
  { file: "components/resources/d.ts", line: 'export const late = () => import("ringfence/provider/v1/target");' },
  value("components/pipeline.ts", "./tenancy/target.ts", "components-to-resources"),
  value("components/tenant.ts", "./stores/target.ts", "components-to-resources"),
  value("components/vertex.ts", "./resources/target.ts"),
  value("stacks/a.ts", "../components/resources/target.ts", "stacks-to-components"),
  value("stacks/b.ts", "ringfence"),
  value("policy/a.ts", "ringfence", "policy-to-plan"),
  value("policy/b.ts", "../components/plan/target.ts"),
  value("dev/a.ts", "../components/tenancy/target.ts", "dev-to-stores"),
  value("dev/b.ts", "nats", "clients-in-stores-only"),
  value("dev/c.ts", "mocha", "shipped-without-dev-dependencies"),
  value("cli/d.ts", "transitive", "shipped-without-dev-dependencies"),
  value("dev/d.ts", "../components/stores/target.ts"),
  value("cli/a.ts", "../components/stores/target.ts", "cli-to-tenancy-and-dev"),
  value("cli/b.ts", "@nats-io/jwt", "clients-in-stores-only"),
  value("cli/c.ts", "../dev/target.ts"),
  value("runtime/a.ts", "../components/tenancy/target.ts", "runtime-to-stores"),
  value("runtime/b.ts", "cockatiel", "clients-in-stores-only"),
  value("bench/a.ts", "../test/target.ts", "nothing-imports-test"),
  value("bench/b.ts", "etcd3"),
  value("test/a.ts", "etcd3"),
  value("test/b.ts", "./missing.ts", "resolvable"),
  value("test/one.ts", "./two.ts", "no-cycles"),
];

describe("the design's arrows", () => {
  const tree = mkdtempSync(join(tmpdir(), "ringfence-arrows-"));
  const refused = new Map<string, string[]>();

  before(() => {
    const write = (file: string, text: string) => {
      mkdirSync(dirname(join(tree, file)), { recursive: true });
      writeFileSync(join(tree, file), text);
    };
    for (const file of ["package.json", "tsconfig.json", ".dependency-cruiser.js"])
      cpSync(join(root, file), join(tree, file));
    for (const name of packages) {
      write(`node_modules/${name}/package.json`, JSON.stringify({ name, version: "1.0.0", main: "index.js" }));
      write(`node_modules/${name}/index.js`, "");
    }
    symlinkSync("..", join(tree, "node_modules/ringfence"));
    for (const file of targets) write(file, "export const x = 1;\n");
    write("test/two.ts", 'import { x } from "./one.ts"; console.log(x);');
    for (const { file, line } of cases) write(file, `${line}\n`);

    const cruiser = join(root, "node_modules/.bin/depcruise");
    const { stdout, stderr } = spawnSync(cruiser, [".", "--output-type", "json"], { cwd: tree, encoding: "utf8" });
    assert.ok(stdout, stderr);
    const violations: { from: string; rule: { name: string } }[] = JSON.parse(stdout).summary.violations;
    for (const { from, rule } of violations) refused.set(from, [...(refused.get(from) ?? []), rule.name]);
  });
  after(() => rmSync(tree, { recursive: true }));

  for (const { file, line, rule } of cases)
    it(`${file}: ${line.split(";")[0]} is ${rule ? `refused by ${rule}` : "allowed"}`, () => {
      assert.deepEqual(refused.get(file) ?? [], rule ? [rule] : []);
    });

  it("tries every rule", () => {
    const tried = new Set(cases.flatMap(({ rule }) => rule ?? []));
    const names = (config.forbidden ?? []).map(({ name }) => name as string);
    assert.deepEqual(
      names.filter((name) => !tried.has(name)),
      [],
    );
  });
});
