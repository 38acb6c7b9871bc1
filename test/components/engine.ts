/** Pulumi's mock engine, which also records what the SDK asks of it: Pulumi's own mocks see no parents, no dependencies. */
import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { type MockMonitor, type MockResourceArgs, setMocks } from "@pulumi/pulumi/runtime/mocks.js";
import { specialSecretSig, specialSigKey } from "@pulumi/pulumi/runtime/rpc.js";
import { disconnect, getMonitor } from "@pulumi/pulumi/runtime/settings.js";

/** Fields of an object whose shape the test knows. */
// biome-ignore lint/suspicious/noExplicitAny: Kubernetes objects are read field by field
export type Fields = Record<string, any>;

/** One resource, as the engine was asked to register it. */
export interface Registered {
  type: string;
  name: string;
  /** Plain values; where a secret was, a `Secret`. */
  inputs: Fields;
  /** The parent's name. */
  parent: string | undefined;
  /** Names of the resources that have to be there first. */
  dependencies: string[];
  /** The provider's name. */
  provider: string | undefined;
  protect: boolean | undefined;
  aliases: string[];
  additionalSecretOutputs: string[];
  /** What `registerOutputs` was called with. */
  outputs?: Fields;
}

/** A secret, with what is in it. */
export class Secret {
  readonly value: unknown;
  constructor(value: unknown) {
    this.value = value;
  }
}

/** What a test's stores hand out; a test that rotates a credential changes it. */
export const credentials = { password: "the-etcd-password", creds: "the-nats-creds", seed: "the-account-seed" };

/**
 * Runs a program to its end.
 * @returns what it registered, by type's last word and name: `Deployment chat.web-deployment`
 */
export async function run(program: () => unknown): Promise<Map<string, Registered>> {
  await setMocks({ newResource: created, call: ({ inputs }) => inputs }, "proj", "test", false);
  const registered = new Map<string, Registered>();
  record(getMonitor() as unknown as MockMonitor, registered);
  await program();
  await disconnect();
  return registered;
}

/** The warnings of a program. */
export async function warningsOf(program: () => unknown): Promise<string[]> {
  const { warn } = console;
  const told: string[] = [];
  console.warn = (line: string) => told.push(line);
  try {
    await run(program);
  } finally {
    console.warn = warn;
  }
  return told;
}

/** What the providers answer. */
function created({ type, name, inputs }: MockResourceArgs) {
  const { __provider, ...state } = inputs;
  // The Kubernetes provider names what has no name.
  if (type.startsWith("kubernetes:")) state.metadata = { name, ...inputs.metadata };
  const users = Array.isArray(inputs.users) ? inputs.users : [];
  const generation = `gen-of-${inputs.logicalName}`;
  const outputs: Record<string, object> = {
    Ledger: {},
    TenantClaim: { generation },
    EtcdPrefix: { prefix: "/p/", username: "u", password: credentials.password },
    NatsAccount: {
      account: "A",
      seed: credentials.seed,
      creds: Object.fromEntries(users.map((user: string) => [user, `${credentials.creds} of ${user}`])),
    },
    AdapterRollout: { serving: inputs.record, problem: "", wanted: 1, loaded: 1, ready: 1 },
    Deployment: { status: { readyReplicas: 1 } },
    Topology: { topologyGeneration: 7, digest: inputs.plan?.digest },
    Drain: { outcome: inputs.phase === "Paused" ? "drained" : "running" },
  };
  const ids: Record<string, string> = { TenantClaim: `${inputs.logicalName}#${generation}`, NatsAccount: "A" };
  const id = ids[lastWord(type)] ?? `${name}-id`;
  return { id, state: { ...state, ...outputs[lastWord(type)] } };
}

function record(monitor: MockMonitor, registered: Map<string, Registered>): void {
  const register = monitor.registerResource.bind(monitor);
  const registerOutputs = monitor.registerResourceOutputs.bind(monitor);
  const keys = new Map<string, string>();
  monitor.registerResource = async (request, callback) => {
    const [type, name] = [request.getType(), request.getName()];
    const key = `${lastWord(type)} ${name}`;
    if (registered.has(key)) return callback(new Error(`Duplicate resource URN: ${key}`), undefined);
    registered.set(key, {
      type,
      name,
      inputs: readable(request.getObject().toJavaScript()) as Fields,
      parent: nameOf(request.getParent()),
      dependencies: request.getDependenciesList().map(nameOf).sort(),
      provider: nameOf(request.getProvider().replace(/::[^:]*$/, "")),
      protect: request.getProtect(),
      // The Kubernetes SDK adds aliases of its own, by type.
      aliases: request
        .getAliasesList()
        .flatMap((alias: { getSpec(): { getName(): string } }) => alias.getSpec().getName() || []),
      additionalSecretOutputs: request.getAdditionalsecretoutputsList(),
    });
    await register(request, (error: unknown, response: Fields | undefined) => {
      if (response) {
        keys.set(response.getUrn(), key);
        response.setObject(sealed(response.getObject(), request.getAdditionalsecretoutputsList()));
      }
      callback(error, response);
    });
  };
  monitor.registerResourceOutputs = (request, callback) => {
    const resource = registered.get(keys.get(request.getUrn()) ?? "");
    if (resource) resource.outputs = readable(request.getOutputs()?.toJavaScript() ?? {}) as Fields;
    registerOutputs(request, callback);
  };
}

/** As the engine does: outputs that are asked to be secret come back so. */
function sealed(struct: Fields, names: string[]): Fields {
  const plain: Fields = struct.toJavaScript();
  for (const name of names) {
    if (name in plain) plain[name] = { [specialSigKey]: specialSecretSig, value: plain[name] };
  }
  return (struct.constructor as unknown as Fields).fromJavaScript(plain);
}

function readable(value: unknown): unknown {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(readable);
  const fields = value as Fields;
  if (fields[specialSigKey] === specialSecretSig) return new Secret(readable(fields.value));
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, readable(inner)]));
}

const lastWord = (type: string) => type.split(":").at(-1) as string;
const nameOf = (urn: string) => urn.split("::")[3];

/** What ended a program: thrown at once, or out of an `apply`, where Pulumi's host hears of it as unhandled. */
export async function failureOf(program: () => unknown): Promise<Error> {
  const listeners = process.listeners("unhandledRejection");
  const failures: unknown[] = [];
  process.removeAllListeners("unhandledRejection").on("unhandledRejection", (reason) => failures.push(reason));
  try {
    await run(program).catch((error) => failures.push(error));
    await setImmediate();
  } finally {
    process.removeAllListeners("unhandledRejection");
    for (const listener of listeners) process.on("unhandledRejection", listener);
  }
  assert.ok(failures[0] instanceof Error, "nothing failed");
  return failures[0];
}
