/** The process of a neighbour; see neighbour.ts. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { noop } from "cockatiel";
import { Etcd3 } from "etcd3";
import { Etcd } from "../components/stores/etcd.ts";
import { op } from "../components/stores/etcd-txn.ts";
import { serve } from "./child.ts";
import type { NeighbourOptions, Observed, Question } from "./neighbour.ts";

const KEYS = 1_000;
const VALUE = "v".repeat(100);

/** Milliseconds for one request, as in our own client. */
const DEADLINE = 5_000;

interface Client {
  get(key: string): Promise<unknown>;
  put(key: string, value: string): Promise<unknown>;
  watch(prefix: string, changed: (value: string) => void, failed: (error: Error) => void): Promise<unknown>;
}

function plainClient({ endpoint, username, credentials }: NeighbourOptions): Client {
  const access =
    "password" in credentials
      ? { auth: { username, password: credentials.password } }
      : {
          credentials: {
            rootCertificate: readFileSync(credentials.ca),
            certChain: readFileSync(credentials.cert),
            privateKey: readFileSync(credentials.key),
          },
        };
  const client = new Etcd3({
    hosts: endpoint,
    ...access,
    defaultCallOptions: ({ isStream }) => (isStream ? {} : { deadline: Date.now() + DEADLINE }),
    // Its circuit breaker would turn a few failures into seconds of them.
    faultHandling: { host: () => noop, global: noop },
  });
  return {
    get: (key) => client.get(key).exec(),
    put: (key, value) => client.put(key).value(value).exec(),
    watch: async (prefix, changed, failed) => {
      const watcher = await client.watch().prefix(prefix).create();
      watcher.on("put", ({ value }) => changed(value.toString())).on("error", failed);
    },
  };
}

function ownClient({ endpoint, username, credentials }: NeighbourOptions): Client {
  if (!("password" in credentials)) throw new Error("our own client logs in with a password");
  const etcd = new Etcd({ endpoints: [endpoint], username, password: credentials.password });
  return {
    get: (key) => etcd.get(key),
    put: (key, value) => etcd.txn([], [op.put(key, value)]),
    watch: () => Promise.reject(new Error("our own client has no watch")),
  };
}

interface Observation {
  /** Takes new requests; the watch may be behind when it ends. */
  open: boolean;
  seen: Observed;
  /** Requests that are on their way. */
  pending: Array<Promise<void>>;
  /** Values that were put and that the watch has not told of yet. */
  awaited: Set<string>;
}

let observation: Observation | undefined;

async function start(options: NeighbourOptions): Promise<void> {
  const client = options.client === "etcd3" ? plainClient(options) : ownClient(options);
  const { prefix, requests, rate } = options;
  await client.put(prefix, VALUE);
  if (options.watch) {
    const failed = ({ message }: Error) => observation?.seen.watchFailures.push(message);
    await client.watch(prefix, (value) => observation?.awaited.delete(value), failed);
  }
  const begun = performance.now();
  const request = (number: number): void => {
    const due = begun + (number * 1000) / rate;
    setTimeout(
      () => {
        request(number + 1);
        const kind = requests[number % requests.length];
        const key = `${prefix}${number % KEYS}`;
        const into = observation?.open ? observation : undefined;
        const value = `${number} ${VALUE}`;
        if (kind === "put" && options.watch) into?.awaited.add(value);
        const made = (kind === "put" ? client.put(key, value) : client.get(key)).then(
          () => undefined,
          ({ message }: Error) => message,
        );
        if (!into) return;
        const seen = made.then((failed) => {
          into.seen.samples.push({ ms: performance.now() - due, failed });
          if (failed !== undefined) into.awaited.delete(value);
        });
        into.pending.push(seen);
      },
      Math.max(0, due - performance.now()),
    );
  };
  request(0);
}

async function observe(what: "begin" | "end"): Promise<Observed | undefined> {
  if (what === "begin") {
    const seen = { samples: [], missed: 0, watchFailures: [] };
    observation = { open: true, seen, pending: [], awaited: new Set() };
    return undefined;
  }
  if (!observation) throw new Error("nothing was begun that could end");
  observation.open = false;
  const { seen, pending, awaited } = observation;
  await Promise.all(pending);
  const end = Date.now() + DEADLINE;
  while (awaited.size > 0 && Date.now() < end) await sleep(20);
  seen.missed = awaited.size;
  observation = undefined;
  return seen;
}

serve<Question>((question) => ("start" in question ? start(question.start) : observe(question.observe)));
