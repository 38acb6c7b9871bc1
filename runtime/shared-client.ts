/** The client that a process shares, made by the environment when it is first needed. */
import { Client } from "./client.ts";
import type { RequestOptions } from "./options.ts";

let shared: Promise<Client> | undefined;

function sharedClient(): Promise<Client> {
  if (!shared) {
    const opening = Client.open();
    const forget = () => {
      if (shared === opening) shared = undefined;
    };
    // One that NATS lets in no more is replaced: the file with its credentials may be another by then.
    opening.then(({ closed }) => closed).then(forget, forget);
    shared = opening;
  }
  return shared;
}

/** `Client.request` of a client that the process shares. */
export async function request<Answer = unknown>(
  endpoint: string,
  body: unknown,
  options?: RequestOptions,
): Promise<Answer> {
  return (await sharedClient()).request<Answer>(endpoint, body, options);
}

/** `Client.stream` of a client that the process shares. */
export async function* stream<Chunk = unknown>(
  endpoint: string,
  body: unknown,
  options?: RequestOptions,
): AsyncGenerator<Chunk, void> {
  yield* (await sharedClient()).stream<Chunk>(endpoint, body, options);
}
