/** The platform that the matrix runs on, and what its cases share: nobody else is on it, for its servers get killed. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { userName } from "../../components/plan/names.ts";
import { op } from "../../components/stores/etcd-txn.ts";
import { openStores, type Stores } from "../../components/tenancy/access.ts";
import { audit } from "../../components/tenancy/audit.ts";
import { reap } from "../../components/tenancy/graves.ts";
import { compareSnapshots, type Snapshot, takeSnapshot } from "../../components/tenancy/outside.ts";
import { keys } from "../../components/tenancy/registry.ts";
import { findProcess } from "../../dev/platform/processes.ts";
import { until } from "../../dev/platform/wait.ts";
import { isAlive } from "../../dev/tools/lock.ts";
import { run } from "../components/engine.ts";
import { chat } from "../components/scene.ts";
import { OwnPlatform } from "../e2e/scene.ts";
import { passTime } from "../tenancy/scene.ts";
import { Engine, type Resource, type Stubs } from "./engine.ts";
import type { StoreName } from "./gate.ts";
import { first, live } from "./life.ts";
import { Provider } from "./provider.ts";
import { type Proxied, proxied } from "./proxied.ts";

/** A provider whose writes go by way of a gate. */
export interface Victim extends Proxied {
  provider: Provider;
}

/** One for each command of a case but the one that is struck: a process is a run, and every case has a stack of its own. */
const COMMANDS = ["prepare", "rerun", "destroy"] as const;
type Steady = Record<(typeof COMMANDS)[number], Provider>;

export class Ground {
  readonly platform: OwnPlatform;
  readonly stores: Stores;
  readonly stubs: Stubs;
  readonly steady: Steady;
  readonly #realm = `crash-${randomBytes(4).toString("hex")}`;
  readonly #neighbour: Engine;
  #named = 0;
  #spare: Promise<Victim>;
  #outside: Snapshot = {};
  #found = new Set<string>();

  private constructor(platform: OwnPlatform, stubs: Stubs, steady: Steady) {
    this.platform = platform;
    const file = platform.env.RINGFENCE_PLATFORM ?? "";
    this.stores = openStores(JSON.parse(readFileSync(file, "utf8")).platform);
    this.stubs = stubs;
    this.steady = steady;
    this.#neighbour = new Engine(steady.prepare, stubs);
    this.#spare = this.#startVictim();
  }

  static async open(): Promise<Ground> {
    const stubs = await storedStubs();
    const platform = await OwnPlatform.up();
    try {
      const started = COMMANDS.map(async (command) => [command, await Provider.start(platform.env)]);
      const ground = new Ground(platform, stubs, Object.fromEntries(await Promise.all(started)) as Steady);
      const program = first(ground.newName());
      await ground.#neighbour.up(program);
      await live(ground.stores.access, ground.#neighbour.state);
      ground.#outside = await takeSnapshot(ground.stores);
      return ground;
    } catch (error) {
      await platform.close();
      throw error;
    }
  }

  /** A logical name that nobody has had. */
  newName(): string {
    return `${this.#realm}/case-${this.#named++}`;
  }

  /** A provider to strike; the next one starts meanwhile. */
  async victim(): Promise<Victim> {
    const spare = this.#spare;
    this.#spare = spare.then(() => this.#startVictim());
    return spare;
  }

  #startVictim(): Promise<Victim> {
    const started = proxied(this.platform.env, { cluster: true }).then(async (by) => ({
      ...by,
      provider: await Provider.start(by.env),
    }));
    // Awaited by the case that takes it.
    started.catch(() => {});
    return started;
  }

  /** Has the next claim make a batch of slots, bury those of a maker that was killed, and drop the role of a burnt one. */
  async useUpSlots(): Promise<void> {
    const { etcd } = this.stores;
    const put = (generation: string, record: object) =>
      etcd.txn([], [op.put(keys.slot(generation), JSON.stringify(record))]);
    const [unfinished, burnt] = [newGeneration(), newGeneration()];
    await put(unfinished, { state: "making", password: "" });
    await etcd.addRole(userName(burnt));
    await put(burnt, { state: "burnt", role: userName(burnt) });
    for (const { key, value } of await etcd.list(keys.slots)) {
      const record = JSON.parse(value) as { state: string };
      if (record.state === "ready") await put(key.slice(keys.slots.length), { ...record, state: "making" });
    }
  }

  /** SIGKILL of a server. */
  async kill(server: StoreName): Promise<void> {
    const pid = findProcess(this.platform.home, server);
    if (pid === undefined) throw new Error(`${server} does not run`);
    process.kill(pid, "SIGKILL");
    const gone = async () => {
      if (isAlive(pid)) throw new Error("still there");
    };
    await until({ what: `the end of ${server}`, within: 120, attempt: gone });
  }

  /** Starts a server that was killed, and waits until those who live through it have noticed. */
  async restart(server: StoreName): Promise<void> {
    await this.platform.start(server);
    const { id, outs } = this.#neighbour.state.ledger as Resource;
    for (const provider of Object.values(this.steady))
      await until({ what: `a provider to find ${server} again`, within: 120, attempt: () => provider.read(id, outs) });
    await until({ what: `us to find ${server} again`, within: 120, attempt: () => this.stores.etcd.get("/") });
  }

  /**
   * Lets the time of every grave be over, then looks for whatever was left behind, disturbed or orphaned.
   * @returns a line for each thing that an earlier call has not told yet
   */
  async settle(): Promise<string[]> {
    await passTime(this.stores);
    await reap(this.stores);
    const { findings } = await audit(this.stores);
    const found = findings.map(({ kind, name, detail }) => `audit: ${kind} ${name}: ${detail}`);
    const fresh = found.filter((line) => !this.#found.has(line));
    this.#found = new Set(found);
    const now = await takeSnapshot(this.stores);
    const differences = compareSnapshots(this.#outside, now);
    this.#outside = now;
    return [...differences, ...fresh];
  }

  async close(): Promise<void> {
    const victim = await this.#spare.catch(() => undefined);
    victim?.close();
    for (const provider of [victim?.provider, ...Object.values(this.steady)]) await provider?.kill();
    await this.stores.close();
    await this.platform.close();
  }
}

const newGeneration = () => randomBytes(12).toString("hex");

/** The providers as a program's resources serialize them. */
async function storedStubs(): Promise<Stubs> {
  const registered = [...(await run(() => chat())).values()];
  const of = (type: string) => registered.find((each) => each.type.endsWith(`:${type}`))?.inputs.__provider as string;
  return { ledger: of("Ledger"), claim: of("TenantClaim"), prefix: of("EtcdPrefix"), account: of("NatsAccount") };
}
