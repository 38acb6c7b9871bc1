// `node test/upgrade/record.ts` on a platform without tenants, in the shell of `npx ringfence dev env`: writes the
// checkpoint of the version that package.json names, for the tests of all versions after it. See README.md.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { REGISTRY_PREFIX } from "../../components/plan/names.ts";
import { listClaims } from "../../components/tenancy/registry.ts";
import { Project, ROOT, withStores } from "../e2e/scene.ts";
import { readRelease, releases } from "./world.ts";

const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
const directory = join(import.meta.dirname, version);
assert(!existsSync(directory), `${directory} is there already: a release's checkpoint is never changed`);
const config = readRelease(
  releases.at(-1) ?? assert.fail("there is no release to take the config from"),
  "config.json",
);

const project = new Project(process.env, config);
try {
  await project.pulumi("stack", "init");
  await project.pulumi("up", "--yes", "--skip-preview");
  const { stdout } = await project.pulumi("stack", "export");
  const files = { config, registry: await registry(), state: JSON.parse(stdout) };
  await project.pulumi("destroy", "--yes", "--skip-preview");
  mkdirSync(directory);
  for (const [name, content] of Object.entries(files))
    writeFileSync(join(directory, `${name}.json`), `${JSON.stringify(content, null, name === "state" ? 0 : 1)}\n`);
  console.log(`wrote ${directory}`);
} finally {
  project.close();
}

/** The registry's lasting records of the one tenant that is there. */
function registry(): Promise<Record<string, unknown>> {
  return withStores(process.env, async ({ etcd }) => {
    const [held, ...others] = await listClaims(etcd);
    assert(held && others.length === 0, "the platform has tenants of others: take one that is empty");
    const { owner, generation } = held.claim;
    const records = (await etcd.list(REGISTRY_PREFIX)).filter(
      ({ key, value, lease }) => lease === "0" && [owner, generation].some((id) => `${key} ${value}`.includes(id)),
    );
    return Object.fromEntries(
      records.map(({ key, value }) => [key, value.startsWith("{") ? JSON.parse(value) : value]),
    );
  });
}
