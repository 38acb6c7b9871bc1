import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { backendUrl } from "../../components/provider/backend.ts";

describe("the backend that a claim records", () => {
  const { env } = process;
  const from = process.cwd();
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "ringfence-backend-"));
    mkdirSync(join(directory, "project", "inner"), { recursive: true });
    process.env = { PULUMI_HOME: directory, PWD: directory };
    process.chdir(join(directory, "project", "inner"));
  });
  afterEach(() => {
    process.env = env;
    process.chdir(from);
    rmSync(directory, { recursive: true });
  });

  const logIn = (current: string) => writeFileSync(join(directory, "credentials.json"), JSON.stringify({ current }));
  const project = (url: string) =>
    writeFileSync(join(directory, "project", "Pulumi.yaml"), JSON.stringify({ name: "p", backend: { url } }));

  it("is the environment's, before the project's, before that of the last login", () => {
    assert.equal(backendUrl(), undefined);
    logIn("https://api.pulumi.com");
    assert.equal(backendUrl(), "https://api.pulumi.com");
    project("s3://states?region=eu-1");
    assert.equal(backendUrl(), "s3://states?region=eu-1");
    process.env.PULUMI_BACKEND_URL = "gs://others";
    assert.equal(backendUrl(), "gs://others");
  });

  it("has no credentials in it, and a directory's path in full", () => {
    const spelled: Record<string, string> = {
      "https://me:secret@pulumi.example.com/x": "https://pulumi.example.com/x",
      "file:///srv/state": "file:///srv/state",
      "file://.": `file://${process.env.PWD}`,
      "file://./state": `file://${process.env.PWD}/state`,
      "file://~": `file://${homedir()}`,
      "file://~/state": `file://${homedir()}/state`,
    };
    for (const [written, expected] of Object.entries(spelled)) {
      process.env.PULUMI_BACKEND_URL = written;
      assert.equal(backendUrl(), expected, written);
    }
  });
});
