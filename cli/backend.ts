/** Whose a claim is, by what the pulumi CLI reads in the backend that the claim was recorded in. */
import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, parse } from "node:path";
import { gunzipSync } from "node:zlib";
import { dynamicType } from "../components/plan/type-tokens.ts";
import type { Claim, HeldClaim } from "../components/tenancy/registry.ts";
import { STATE_VERSIONS } from "./from-state.ts";
import { withPulumi } from "./pulumi.ts";

const CLAIM = dynamicType("TenantClaim");
const LEDGER = dynamicType("Ledger");

/** How long one pulumi command may take, milliseconds, and how many run side by side. */
const DEADLINE_MS = 60_000;
const AT_ONCE = 4;

/** Who holds a claim, as far as Pulumi's states tell. */
export type Ownership =
  /** `by` is the stack, as pulumi lists it. */
  | { owner: "held"; by: string }
  /** `ledgerGone`: no state has the claim's ledger either. */
  | { owner: "lost"; ledgerGone: boolean }
  | { owner: "unknown"; why: string };

/**
 * Finds claims' owners. Each backend is read once, at the first question about it, so ask only about claims that were
 * read before: one that a stack has made meanwhile would look lost.
 */
export class Backends {
  readonly #read = new Map<string, Promise<Backend>>();

  async ownership({ logicalName, claim }: HeldClaim): Promise<Ownership> {
    const { backend } = claim.recorded;
    if (!backend) return { owner: "unknown", why: "its record names no backend: it was made by Ringfence 0.1" };
    const reading = this.#read.get(backend) ?? readBackend(backend);
    this.#read.set(backend, reading);
    try {
      return judge(await reading, logicalName, claim);
    } catch (error) {
      return { owner: "unknown", why: (error as Error).message };
    }
  }
}

/**
 * Every stack is looked through, not the recorded one alone: `pulumi stack rename` takes a stack to another name, and
 * even to another project, and nothing tells the registry.
 *
 * A recorded stack that is not there any more has been read, too: a listing that succeeds is the whole of what the
 * backend holds, and that stack is not in it. That is what `pulumi stack rm --force` leaves behind. It takes, though,
 * that the backend be the recorded one and the listing complete, which `requireWhole` sees to.
 *
 * What nothing here can see is a stack that was moved to another backend: it looks removed until its next `up`, which
 * records where it is now.
 */
function judge(backend: Backend, logicalName: string, claim: Claim): Ownership {
  const { stacks, unread } = backend;
  const holder = stacks.find(
    ({ generations, creating }) => has(generations, claim.generation) || has(creating, logicalName),
  );
  if (holder) return { owner: "held", by: holder.name };
  const [problem] = unread;
  if (problem) return { owner: "unknown", why: problem };
  requireWhole(backend, claim);
  return { owner: "lost", ledgerGone: !stacks.some(({ ledgers }) => ledgers.has(claim.owner)) };
}

/** A secret, which an export has in an envelope, may be any value. */
const has = (values: Set<unknown>, value: string) =>
  [...values].some((each) => each === value || typeof each === "object");

/**
 * - A directory of the same name may be another one: on another machine, or with nothing mounted on it. The recorded one
 *   has the ledger's random id in its files, be it in the copy that pulumi keeps of a removed stack.
 * - A service lists what the login may see: the recorded stack has to be there.
 * - A bucket's name is the same for everybody, and it can be listed as a whole or not at all.
 * @throws when the backend cannot be taken for all of the recorded one
 */
function requireWhole({ url, directory, stacks }: Backend, { owner, recorded: { project, stack } }: Claim): void {
  if (directory && !mentions(directory, owner))
    throw new Error(`${directory} has no trace of ledger ${owner}: it may not be the one that was recorded`);
  if (/^https?:/.test(url) && !stacks.some(({ name }) => `/${name}`.endsWith(`/${project}/${stack}`)))
    throw new Error(`${url} shows no stack ${project}/${stack} to this login, which may not see all`);
}

function mentions(directory: string, text: string): boolean {
  return readdirSync(directory, { recursive: true, withFileTypes: true }).some((entry) => {
    if (!entry.isFile()) return false;
    const content = readFileSync(join(entry.parentPath, entry.name));
    return (entry.name.includes(".gz") ? gunzipSync(content) : content).includes(text);
  });
}

interface Backend {
  url: string;
  /** Where it keeps its states, when that is on this machine. */
  directory: string | undefined;
  stacks: StackState[];
  /** Why stacks could not be read. */
  unread: string[];
}

/** What the state of one stack has of ours; a secret is an object. */
interface StackState {
  /** As pulumi lists it: `organization/project/stack`. */
  name: string;
  /** Ids. */
  ledgers: Set<unknown>;
  /** Of its claims. */
  generations: Set<unknown>;
  /** Logical names of the claims whose creation has begun and not been noted as done. */
  creating: Set<unknown>;
}

async function readBackend(url: string): Promise<Backend> {
  const directory = url.startsWith("file://") ? stateDirectory(url) : undefined;
  // pulumi takes any directory for a backend that is still empty.
  if (directory && !existsSync(directory)) throw new Error(`${directory} does not exist`);
  const pulumi = await pulumiFor(url);
  const listed = (await pulumi("stack", "ls", "--all", "--json")) as Array<{ name: string }>;
  const backend: Backend = { url, directory, stacks: [], unread: [] };
  const names = listed.map(({ name }) => name);
  const read = async () => {
    for (let name = names.shift(); name; name = names.shift()) {
      try {
        backend.stacks.push(stateOf(name, await pulumi("stack", "export", "--stack", name)));
      } catch (error) {
        backend.unread.push((error as Error).message);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, read));
  return backend;
}

/** Where a file backend keeps its states. @throws when that is not to be found from here */
function stateDirectory(url: string): string {
  const [, root = "", path = ""] = /^file:\/\/([^/?]*)([^?]*)/.exec(url) ?? [];
  if (root !== "" && root !== "~") throw new Error(`${url} is relative to where it was used, which is not known`);
  return join(root === "~" ? homedir() : "/", decodeURIComponent(path), ".pulumi", "stacks");
}

interface Resource {
  type: string;
  id?: string;
  inputs?: Record<string, unknown>;
  outputs?: Record<string, unknown>;
}

interface Exported {
  version: number;
  deployment: { resources?: Resource[]; pending_operations?: Array<{ type: string; resource: Resource }> };
}

function stateOf(name: string, exported: unknown): StackState {
  const { version, deployment } = exported as Exported;
  if (!STATE_VERSIONS.includes(version))
    throw new Error(`stack ${name}: its state has version ${version}, known are ${STATE_VERSIONS.join(" and ")}`);
  const { resources = [], pending_operations: pending = [] } = deployment;
  const claims = resources.filter(({ type }) => type === CLAIM);
  const creating = pending.filter(({ type, resource }) => type === "creating" && resource.type === CLAIM);
  return {
    name,
    ledgers: new Set(resources.filter(({ type }) => type === LEDGER).map(({ id }) => id)),
    generations: new Set(claims.map(({ outputs }) => outputs?.generation)),
    creating: new Set(creating.map(({ resource }) => resource.inputs?.logicalName)),
  };
}

/** pulumi on a backend: resolves with the JSON that it prints. */
async function pulumiFor(url: string): Promise<(...args: string[]) => Promise<unknown>> {
  const env = await withPulumi({ PULUMI_BACKEND_URL: url });
  // In a project's directory pulumi lists that project's stacks by a shorter name.
  const cwd = parse(process.cwd()).root;
  return (...args) =>
    new Promise((resolve, reject) => {
      const options = { cwd, env, timeout: DEADLINE_MS, maxBuffer: 2 ** 30 };
      execFile("pulumi", [...args, "--non-interactive"], options, (error, stdout, stderr) => {
        if (!error) return resolve(JSON.parse(stdout));
        const reason = error.killed ? `no answer within ${DEADLINE_MS / 1000} s` : stderr.trim() || error.message;
        reject(new Error(`pulumi ${args.join(" ")}: ${reason.replaceAll(/\s+/g, " ")} (${url})`));
      });
    });
}
