/** `ringfence request`: one request to a pipeline, as its own software would send it. */
import { hostname } from "node:os";
import { INSTANCES } from "../components/plan/figures.ts";
import { VisibleError } from "../components/plan/visible-error.ts";
import type { Stores } from "../components/tenancy/access.ts";
import { etcdInside, natsInside, requireInside } from "../components/tenancy/inside.ts";
import type { HeldClaim } from "../components/tenancy/registry.ts";
import { Client } from "../runtime/client.ts";
import { type ConnectionAccess, connectTo } from "../runtime/connection.ts";
import { type Attempt, told } from "../runtime/errors.ts";
import { readRegistration } from "../runtime/registration.ts";
import { claimsNamed } from "./claims.ts";
import { withStores } from "./stores.ts";

export interface RequestOptions {
  /** @default the only one that the pipeline serves */
  endpoint?: string;
}

/** Seconds for which the NATS user is good that the request is sent as. */
const USER_SECONDS = 60;

/** Milliseconds. */
const DEADLINE = 30_000;

/**
 * Sends a request, and prints the reply, a line for each part of a streamed one; who answered, and how fast, goes to stderr.
 * @param pipeline its name, or `<realm>/<name>` where there are several of that name
 * @param body JSON
 * @throws VisibleError; RequestError, which says who was asked and what came of it
 */
export async function requestCommand(pipeline: string, body: string, options: RequestOptions = {}): Promise<void> {
  const parsed = parsedBody(body);
  await withStores(async (stores) => {
    const held = await requireInside(stores, await logicalNameOf(stores, pipeline));
    const endpoint = await endpointOf(stores, held, options.endpoint);
    const { parts, path } = await ask(stores, held, endpoint, parsed);
    for (const part of parts) console.log(JSON.stringify(part));
    console.error(path);
  });
}

/** @throws VisibleError */
function parsedBody(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (cause) {
    throw new VisibleError(`json: found ${body}; expected JSON (${(cause as Error).message}): quote it`, { cause });
  }
}

/** @throws VisibleError when no pipeline, or more than one, is meant */
async function logicalNameOf(stores: Stores, pipeline: string): Promise<string> {
  const names = (await claimsNamed(stores, pipeline)).map(({ logicalName }) => logicalName);
  if (names.length === 1) return names[0] as string;
  throw new VisibleError(`pipeline: found '${pipeline}'; expected ${names.join(" or ")}: say which`);
}

/** @throws VisibleError unless an instance of it is registered, or of exactly one when none is named */
async function endpointOf({ etcd }: Stores, { logicalName, claim }: HeldClaim, named?: string): Promise<string> {
  const begin = claim.intents.prefix + INSTANCES;
  const keys = await etcd.list(begin, { keysOnly: true });
  const endpoints = [...new Set(keys.map(({ key }) => key.slice(begin.length).split("/")[0] ?? ""))].sort();
  if (named !== undefined ? endpoints.includes(named) : endpoints.length === 1)
    return named ?? (endpoints[0] as string);
  const found = named === undefined ? "none" : `'${named}'`;
  const expected = `one that '${logicalName}' serves (${endpoints.join(", ") || "none now"})`;
  throw new VisibleError(`--endpoint: found ${found}; expected ${expected}: name one, or see 'ringfence status'`);
}

/**
 * Sends it with what the tenant's own software has: its etcd user, and a NATS user made for this request.
 * @returns the reply's parts, and a line on how it came
 * @throws VisibleError; RequestError
 */
export async function ask(stores: Stores, held: HeldClaim, endpoint: string, body: unknown) {
  const where = { role: "client", host: hostname(), log: () => {} };
  const client = Client.over(await connectTo(await accessOf(stores, held), where));
  try {
    const begun = performance.now();
    const parts: unknown[] = [];
    let attempts: readonly Attempt[] = [];
    const onAnswered = (all: readonly Attempt[]) => {
      attempts = all;
    };
    for await (const part of client.stream(endpoint, body, { deadlineMs: DEADLINE, onAnswered })) parts.push(part);
    const took = `answered in ${(performance.now() - begun).toFixed(1)} ms, discovery included`;
    const host = await hostOf(stores, held, endpoint, attempts.at(-1)?.instance);
    return { parts, path: `${took}: ${[held.logicalName, endpoint, host].join(" → ")}, ${told(attempts)}` };
  } finally {
    await client.close();
  }
}

/** What a vertex of the tenant has, by the ways to the stores that the admin has. */
async function accessOf(stores: Stores, held: HeldClaim): Promise<ConnectionAccess> {
  const { prefix, ...user } = etcdInside(stores, held);
  const { creds, ...nats } = await natsInside(stores, held, "request", USER_SECONDS);
  return { etcd: stores.etcdAs(user), nats: { ...nats, creds: () => creds }, prefix, vertex: "request" };
}

/** The pod that an instance runs in; an ellipsis once its lease has ended. */
async function hostOf({ etcd }: Stores, { claim }: HeldClaim, endpoint: string, instance = ""): Promise<string> {
  const found = await etcd.get(`${claim.intents.prefix}${INSTANCES}${endpoint}/${instance}`);
  return readRegistration(found?.value ?? "")?.host ?? "…";
}
