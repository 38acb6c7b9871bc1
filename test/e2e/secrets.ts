/** The search for secrets: their real values, plain or in base64, in what people may see. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import type { Project } from "./scene.ts";

/** What no base64 encoding of a shorter piece could be told from chance. */
const SHORTEST = 20;

/** Every secret that a stack's tenants and its platform's admin have, by what it is. */
export async function secretsOf(project: Project, env: NodeJS.ProcessEnv): Promise<Map<string, string>> {
  const { platform } = JSON.parse(readFileSync(env.RINGFENCE_PLATFORM ?? "", "utf8"));
  const secrets = new Map<string, string>([
    ["the admin's password", platform.etcd.password],
    ["the operator's seed", platform.nats.operatorSeed],
  ]);
  const addCreds = (what: string, creds: string) => {
    const [jwt, seed] = creds.match(/^[\w.-]{40,}$/gm)?.filter((line) => !line.startsWith("--")) ?? [];
    assert(jwt && seed, `${what} has a JWT and a seed`);
    secrets.set(`the JWT of ${what}`, jwt).set(`the seed of ${what}`, seed);
  };
  addCreds("the system's user", platform.nats.systemCreds);
  const { stdout } = await project.pulumi("stack", "export", "--show-secrets");
  for (const { urn, type, outputs } of JSON.parse(stdout).deployment.resources) {
    const [, kind] = /^pulumi-nodejs:dynamic\/ringfence:(\w+)$/.exec(type) ?? [];
    const plain = (property: string) => JSON.parse(outputs[property].plaintext);
    if (kind === "EtcdPrefix") secrets.set(`the password of ${urn}`, plain("password"));
    if (kind !== "NatsAccount") continue;
    secrets.set(`the seed of ${urn}`, plain("seed")).set(`the signing seed of ${urn}`, plain("signingSeed"));
    for (const [user, creds] of Object.entries(plain("creds"))) addCreds(`${user} of ${urn}`, creds as string);
  }
  return secrets;
}

/** Fails with the names, never the values, of the secrets that are found. */
export function assertNoneIn(texts: Record<string, string>, secrets: Map<string, string>): void {
  const found = Object.entries(texts).flatMap(([where, text]) =>
    [...secrets]
      .filter(([, secret]) => forms(secret).some((form) => text.includes(form)))
      .map(([what]) => `${where} has ${what}`),
  );
  assert.deepEqual(found, []);
}

/** A secret as it is, and as base64 shows it inside longer data: at each of the three offsets, without the edges. */
function forms(secret: string): string[] {
  assert(secret.length >= SHORTEST, "a secret too short to look for");
  const encoded = [0, 1, 2].flatMap((offset) => {
    const bytes = Buffer.concat([Buffer.alloc(offset), Buffer.from(secret)]);
    return (["base64", "base64url"] as const).map((form) => bytes.toString(form).slice(offset === 0 ? 0 : 4, -4));
  });
  return [secret, ...encoded];
}
