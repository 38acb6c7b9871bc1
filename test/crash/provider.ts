/** Pulumi's dynamic provider as a process, asked over gRPC as the engine asks it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import * as grpc from "@grpc/grpc-js";
import { ResourceProviderClient } from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import messages from "@pulumi/pulumi/proto/provider_pb.js";
import struct from "google-protobuf/google/protobuf/struct_pb.js";
import { ROOT } from "../e2e/scene.ts";

/** Properties of a resource. */
// biome-ignore lint/suspicious/noExplicitAny: what they hold is each resource's own business
export type Properties = Record<string, any>;

const PROGRAM = createRequire(import.meta.url).resolve("@pulumi/pulumi/cmd/dynamic-provider/index.js");

/** What a provider answers to `diff`. */
export interface Difference {
  changes: boolean;
  replaces: boolean;
}

export class Provider {
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  readonly #client: ResourceProviderClient;
  readonly #calls = new Set<Promise<unknown>>();

  private constructor(child: ChildProcess, client: ResourceProviderClient) {
    this.#child = child;
    this.#exited = once(child, "exit");
    this.#client = client;
  }

  /** Starts a provider in the repository, as the engine does in a program's directory. */
  static async start(env: NodeJS.ProcessEnv): Promise<Provider> {
    // It connects to the engine for its logs only, when it has some.
    const child = spawn(process.execPath, [PROGRAM, "127.0.0.1:1"], {
      cwd: ROOT,
      env,
      stdio: ["ignore", "pipe", "ignore"],
    });
    const died = once(child, "exit").then(([code, signal]) => {
      throw new Error(`the provider ended with ${signal ?? code} before it was ready`);
    });
    died.catch(() => {});
    const [port] = (await Promise.race([once(createInterface(child.stdout), "line"), died])) as [string];
    child.stdout.resume();
    const client = new ResourceProviderClient(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
    const provider = new Provider(child, client);
    const request = new messages.ConfigureRequest();
    request.setArgs(structOf({}));
    await provider.#ask((done) => client.configure(request, done));
    return provider;
  }

  async check(news: Properties): Promise<Properties> {
    const request = new messages.CheckRequest();
    request.setOlds(structOf({}));
    request.setNews(structOf(news));
    const answer = await this.#ask<messages.CheckResponse>((done) => this.#client.check(request, done));
    const failures = answer.getFailuresList().map((failure) => `${failure.getProperty()}: ${failure.getReason()}`);
    if (failures.length > 0) throw new Error(failures.join("; "));
    return propertiesOf(answer.getInputs());
  }

  async diff(id: string, olds: Properties, news: Properties): Promise<Difference> {
    const request = new messages.DiffRequest();
    request.setId(id);
    request.setOlds(structOf(olds));
    request.setNews(structOf(news));
    const answer = await this.#ask<messages.DiffResponse>((done) => this.#client.diff(request, done));
    return {
      changes: answer.getChanges() === messages.DiffResponse.DiffChanges.DIFF_SOME,
      replaces: answer.getReplacesList().length > 0,
    };
  }

  async create(inputs: Properties): Promise<{ id: string; outs: Properties }> {
    const request = new messages.CreateRequest();
    request.setProperties(structOf(inputs));
    const answer = await this.#ask<messages.CreateResponse>((done) => this.#client.create(request, done));
    return { id: answer.getId(), outs: propertiesOf(answer.getProperties()) };
  }

  async read(id: string, outs: Properties): Promise<{ id: string; outs: Properties }> {
    const request = new messages.ReadRequest();
    request.setId(id);
    request.setProperties(structOf(outs));
    const answer = await this.#ask<messages.ReadResponse>((done) => this.#client.read(request, done));
    return { id: answer.getId(), outs: propertiesOf(answer.getProperties()) };
  }

  async update(id: string, olds: Properties, news: Properties): Promise<Properties> {
    const request = new messages.UpdateRequest();
    request.setId(id);
    request.setOlds(structOf(olds));
    request.setNews(structOf(news));
    const answer = await this.#ask<messages.UpdateResponse>((done) => this.#client.update(request, done));
    return propertiesOf(answer.getProperties());
  }

  async delete(id: string, outs: Properties): Promise<void> {
    const request = new messages.DeleteRequest();
    request.setId(id);
    request.setProperties(structOf(outs));
    await this.#ask((done) => this.#client.delete(request, done));
  }

  /** Waits until all that it was asked has ended, whoever still wants to know. */
  async idle(): Promise<void> {
    await Promise.allSettled(this.#calls);
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#exited;
    this.#client.close();
  }

  #ask<T>(call: (done: (error: Error | null, answer: T) => void) => unknown): Promise<T> {
    const answered = new Promise<T>((resolve, reject) => {
      call((error, answer) => (error ? reject(error) : resolve(answer)));
    });
    this.#calls.add(answered);
    answered.then(
      () => this.#calls.delete(answered),
      () => this.#calls.delete(answered),
    );
    return answered;
  }
}

/** Undefined properties are left out, as the engine does. */
const structOf = (properties: Properties) =>
  struct.Struct.fromJavaScript(JSON.parse(JSON.stringify(properties)) as Record<string, never>);

const propertiesOf = (found: { toJavaScript(): object } | undefined) => (found?.toJavaScript() ?? {}) as Properties;
