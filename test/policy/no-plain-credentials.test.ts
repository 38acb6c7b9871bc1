import assert from "node:assert/strict";
import { CREDENTIALS_ANNOTATION } from "../../components/plan/labels.ts";
import { noPlainCredentials as policy } from "../../policy/no-plain-credentials.ts";
import { HF_TOKEN, JWT, natsCreds, PASSWORD, PRIVATE_KEY, SEED, URL_WITH_PASSWORD } from "./creds.ts";
import { configMap, deployment, env, graph, object, secret } from "./sketches.ts";
import { type Props, type Sketch, told } from "./stack.ts";

const FORMS: Record<string, [text: string, what: RegExp]> = {
  "a URL with a password": [URL_WITH_PASSWORD, /a URL with a password/],
  "an nkey seed": [SEED, /an nkey seed/],
  "NATS credentials": [natsCreds(`A${"B".repeat(55)}`), /a NATS credentials text/],
  "a JWT": [JWT, /a JWT/],
  "a private key": [PRIVATE_KEY, /a private key/],
  "a Hugging Face token": [HF_TOKEN, /a Hugging Face token/],
};

/** Everywhere that is read by more people than a Secret is. */
const PLACES: Record<string, (text: string) => Sketch> = {
  "an environment variable": (text) => deployment({ container: { env: env({ HARMLESS: text }) } }),
  "a Dynamo graph's variable": (text) => graph({ services: { W: { envs: [{ name: "HARMLESS", value: text }] } } }),
  "an argument": (text) => deployment({ container: { args: ["serve", `--upstream=${text}`] } }),
  "an init container's command": (text) =>
    deployment({ pod: { initContainers: [{ name: "i", command: ["sh", "-c", `curl ${text}`] }] } }),
  "a hook's command": (text) =>
    deployment({ container: { lifecycle: { preStop: { exec: { command: ["curl", text] } } } } }),
  "an annotation": (text) => deployment({ annotations: { "example.com/note": text } }),
  "an annotation of a pod": (text) =>
    object({
      apiVersion: "batch/v1",
      kind: "Job",
      metadata: { name: "j", namespace: "chat" },
      spec: { template: { metadata: { annotations: { note: text } }, spec: { containers: [{ name: "c" }] } } },
    }),
  "a ConfigMap": (text) => configMap({ "app.conf": `upstream = ${text}\n` }),
  "a ConfigMap's binary data": (text) =>
    object({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "b", namespace: "chat" },
      binaryData: { x: Buffer.from(text).toString("base64") },
    }),
};

describe("policy no-plain-credentials", () => {
  for (const [place, sketch] of Object.entries(PLACES))
    for (const [form, [text, what]] of Object.entries(FORMS))
      it(`finds ${form} in ${place}, and does not print it`, () => {
        const found = told(policy, [sketch(text)]);
        assert.equal(found.length, 1, `${found}`);
        assert.match(found[0] ?? "", what);
        for (const part of [PASSWORD, ...text.split(/\s+/).filter((word) => word.length > 20)])
          assert(!found[0]?.includes(part));
      });

  for (const name of [
    "DB_PASSWORD",
    "HF_TOKEN",
    "NATS_AUTH_TOKEN",
    "apiKey",
    "AWS_SECRET_ACCESS_KEY",
    "client-secret",
    "NATS_SEED",
  ])
    it(`finds what goes by the name ${name}`, () => {
      assert.match(
        told(policy, [deployment({ container: { env: env({ [name]: PASSWORD }) } })]).join(),
        new RegExp(`the value of ${name} in plain text`),
      );
      assert.equal(told(policy, [configMap({ [name]: PASSWORD })]).length, 1);
      assert.equal(told(policy, [deployment({ container: { args: [`--${name}=${PASSWORD}`] } })]).length, 1);
      assert.equal(told(policy, [deployment({ container: { args: [`--${name}`, PASSWORD] } })]).length, 1);
    });

  const fine: Props = {
    DB_PASSWORD: { secretKeyRef: { name: "db", key: "password" } },
    DB_PASSWORD_FILE: "/run/secrets/db",
    DB_TOKEN: "$(OTHER)",
    REDIS_URL: "redis://:$(REDIS_PASSWORD)@redis:6379",
    PUBLIC_URL: "https://user@example.com/x?y=z:w@v",
    REGISTRY: "oci://registry.example.com:5000/image",
    MAX_TOKENS: "4096",
    EOS_TOKEN: "</s>",
    RANDOM_SEED: "314159265358",
    SEED: "42",
    SECRET_NAME: "db",
    IMAGE_PULL_SECRET: "regcred",
    OPENAI_API_KEY: "EMPTY",
    TOKENIZER: "meta-llama/Llama-3",
    EMPTY_PASSWORD: "",
    USE_TOKEN: "true",
    ACCOUNT: `A${"B".repeat(55)}`,
    CERT: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
  };
  for (const [name, value] of Object.entries(fine))
    it(`lets ${name} be: ${typeof value === "string" ? `'${value.slice(0, 30)}'` : "a reference"}`, () => {
      assert.deepEqual(told(policy, [deployment({ container: { env: env({ [name]: value }) } })]), []);
    });

  it("finds passwords on lines of a configuration file", () => {
    assert.match(
      told(policy, [configMap({ "nats.conf": `authorization {\n  user: app\n  password: "${PASSWORD}"\n}` })]).join(),
      /the value of password in plain text in a ConfigMap/,
    );
    const harmless =
      "password_file: /run/x\npassword: $" + "{DB_PASSWORD}\npasswordPolicy: strict\n# set the password here\n";
    assert.deepEqual(told(policy, [configMap({ "app.yaml": harmless })]), []);
  });

  it("lets Secrets be, and Ringfence's own digest of credentials", () => {
    assert.deepEqual(told(policy, [secret({ password: PASSWORD, "nats.creds": natsCreds(`A${"B".repeat(55)}`) })]), []);
    assert.deepEqual(told(policy, [deployment({ annotations: { [CREDENTIALS_ANNOTATION]: "5f2c7a9d0b1e4a3c" } })]), []);
  });
});
