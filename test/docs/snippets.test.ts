// Every TypeScript block of the pages compiles against the package. One that imports something stands for itself but for
// what `GIVEN` has; one that imports nothing finds the package's exports, too.
import assert from "node:assert/strict";
import { basename, join } from "node:path";
import ts from "typescript";
import { type Block, blocks, root } from "./pages.ts";

/** What pages speak of and do not declare: a reader's own. */
const GIVEN = `
import type * as pulumi from "@pulumi/pulumi";
import type { GpuPool, Pipeline, Platform } from "ringfence";

declare global {
  const platform: Platform;
  const h100: GpuPool;
  const chat: Pipeline;
  const embed: Pipeline;
  const image: string;
  const MODEL: string;
  const config: pulumi.Config;
  const key: string;

  const text: string;
  const prompt: string;
  const tokenize: (text: string) => Promise<number[]>;
  const generate: (prompt: string, signal: AbortSignal) => AsyncIterable<string>;
  interface Order { id: string }
  const userOf: (n: number) => string;
  const read: (n: number) => Promise<Order>;
  const priced: (order: Order) => Promise<object>;
}
`;

const EXPORTING = ["ringfence", "ringfence/runtime", "ringfence/smoke-test"];

describe("TypeScript in the docs", () => {
  const found = blocks("ts");
  let problems: Map<Block, string[]>;

  before(async () => {
    problems = compiled(found, await exports());
  });

  it("is there", () => assert.ok(found.some(({ page }) => page === "README.md")));

  for (const block of found)
    it(`compiles: ${block.page}:${block.line}`, () => assert.deepEqual(problems.get(block) ?? [], []));
});

/** The package's values, each with the module that exports it. */
async function exports(): Promise<Map<string, string>> {
  const modules = await Promise.all(EXPORTING.map(async (name) => ({ name, values: Object.keys(await import(name)) })));
  return new Map(modules.flatMap(({ name, values }) => values.map((value) => [value, name] as const)));
}

/** All in one program, for it is the libraries that take the time. @returns what is wrong, by block */
function compiled(found: Block[], exported: Map<string, string>): Map<Block, string[]> {
  const config = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile).config;
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [] }, ts.sys, root);
  const given = join(root, "given.ts");
  const modules = new Map(
    found.map((block) => [
      join(root, `${basename(block.page)}.${block.line}.ts`),
      { block, text: module(block, exported) },
    ]),
  );
  const textOf = (file: string) => (file === given ? GIVEN : modules.get(file)?.text);
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile } = host;
  host.fileExists = (file) => textOf(file) !== undefined || fileExists(file);
  host.readFile = (file) => textOf(file) ?? readFile(file);
  const program = ts.createProgram({
    rootNames: [given, ...modules.keys()],
    options: { ...options, noUnusedLocals: false, noUnusedParameters: false },
    host,
  });
  const problems = new Map<Block, string[]>();
  const check = (file: string) => {
    const source = program.getSourceFile(file);
    return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
  };
  assert.deepEqual(check(given).map(message), [], "GIVEN");
  for (const [file, { block }] of modules)
    problems.set(
      block,
      check(file).map((problem) => {
        const { line = 0 } = problem.file?.getLineAndCharacterOfPosition(problem.start ?? 0) ?? {};
        return `${block.page}:${block.line + line - 1}: ${message(problem)}`;
      }),
    );
  return problems;
}

const message = ({ messageText }: ts.Diagnostic) => ts.flattenDiagnosticMessageText(messageText, " ");

/** The block as a module, behind one line of what it does not import itself. */
function module({ text }: Block, exported: Map<string, string>): string {
  const { statements } = ts.createSourceFile("block.ts", text, ts.ScriptTarget.Latest);
  const own = statements.flatMap((statement) => {
    if (!ts.isVariableStatement(statement)) return [];
    return statement.declarationList.declarations.map(({ name }) => (ts.isIdentifier(name) ? name.text : ""));
  });
  const used = new Set(text.match(/\b\w+\b/g));
  const imports = statements.some(ts.isImportDeclaration)
    ? []
    : [...exported].filter(([name]) => used.has(name) && !own.includes(name));
  return `${imports.map(([name, from]) => `import { ${name} } from "${from}";`).join(" ")}export {};\n${text}`;
}
