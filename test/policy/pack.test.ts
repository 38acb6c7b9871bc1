import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { AnalyzerClient } from "@pulumi/pulumi/proto/analyzer_grpc_pb.js";
import type { AnalyzerInfo } from "@pulumi/pulumi/proto/analyzer_pb.js";
import { policies } from "../../policy/policies.ts";

const PACK = fileURLToPath(new URL("../../policy", import.meta.url));
const require = createRequire(import.meta.url);
/** What @pulumi/pulumi speaks gRPC with; a client must use the same copies. */
const ofPulumi = createRequire(require.resolve("@pulumi/pulumi"));

/** Starts the pack as Pulumi's own language host does, with no options that only another host might know. */
async function withPack<T>(use: (client: AnalyzerClient) => Promise<T>): Promise<T> {
  const pack = spawn(process.execPath, [require.resolve("@pulumi/pulumi/cmd/run-policy-pack"), "127.0.0.1:1", PACK], {
    cwd: PACK,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(pack, "exit");
  try {
    const started = once(pack.stdout, "data").then(([chunk]) => Number(chunk));
    const port = await Promise.race([started, ended.then(([code]) => assert.fail(`the pack ended with ${code}`))]);
    const { credentials } = ofPulumi("@grpc/grpc-js");
    const client = new AnalyzerClient(`127.0.0.1:${port}`, credentials.createInsecure());
    try {
      return await use(client);
    } finally {
      client.close();
    }
  } finally {
    pack.kill();
    await ended;
  }
}

describe("policy pack", () => {
  it("starts as Pulumi starts it, and serves every policy with its level, its severity and its parameters", async () => {
    const { Empty } = ofPulumi("google-protobuf/google/protobuf/empty_pb.js");
    const info = await withPack(
      (client) =>
        new Promise<AnalyzerInfo.AsObject>((resolve, reject) => {
          client.getAnalyzerInfo(new Empty(), (error, answer) => (error ? reject(error) : resolve(answer.toObject())));
        }),
    );
    assert.equal(info.name, "ringfence");
    const { EnforcementLevel, PolicySeverity, PolicyType } = require("@pulumi/pulumi/proto/analyzer_pb.js");
    assert.deepEqual(
      info.policiesList.map(({ name, description, enforcementlevel, severity, policyType }) => ({
        name,
        description,
        enforcementlevel,
        severity,
        policyType,
      })),
      policies.map(({ name, description, enforcementLevel, severity }) => ({
        name,
        description,
        enforcementlevel: EnforcementLevel[enforcementLevel?.toUpperCase() ?? ""],
        severity: PolicySeverity[`POLICY_SEVERITY_${severity?.toUpperCase()}`],
        policyType: PolicyType.POLICY_TYPE_STACK,
      })),
    );
    const served = info.policiesList.map(({ name, configschema }) => [
      name,
      ((configschema?.properties as { fieldsMap?: unknown[] } | undefined)?.fieldsMap ?? []).length > 0,
    ]);
    assert.deepEqual(
      served.flatMap(([name, has]) => (has ? [name] : [])),
      policies.flatMap(({ name, configSchema }) =>
        Object.keys(configSchema?.properties ?? {}).length > 0 ? [name] : [],
      ),
    );
  });
});
