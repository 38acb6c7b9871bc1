import assert from "node:assert/strict";
import type { Stores } from "../../components/tenancy/access.ts";
import { readTopology } from "../../components/tenancy/topology-record.ts";
import { novel, seedText, shuffled } from "../support/sample.ts";
import { type Fault, faults, faulty } from "./faults.ts";
import { natsOf, newLedger, newProcess, newRealm, provision, type Tenant, tidy } from "./scene.ts";
import { assertIs, down, newState, passActs, plans, SHARE, type State, up, type Wanted } from "./topology-engine.ts";

type Plan = keyof typeof plans;
type Phase = Wanted["phase"];

interface Act {
  from: [Plan, Phase];
  /** A buffer that has messages which nobody reads. */
  unread?: string;
  /** Nothing for a destroy. */
  to?: [Plan, Phase];
  /** It is refused, for messages would be lost. */
  refused?: true;
  /** What the next run is asked for; nothing for a destroy. */
  sequels: Array<[Plan, Phase] | undefined>;
}

const RUNNING = "Running";

const acts: Record<string, Act> = {
  "an edit": {
    from: ["straight", RUNNING],
    to: ["through", RUNNING],
    sequels: [
      ["through", RUNNING],
      ["straight", RUNNING],
      ["wide", "Paused"],
    ],
  },
  "a change of buffers with unread messages": {
    from: ["through", RUNNING],
    unread: "cat_0",
    to: ["wide", RUNNING],
    sequels: [
      ["wide", RUNNING],
      ["through", RUNNING],
    ],
  },
  "an edit that would lose unread messages": {
    from: ["forked", RUNNING],
    unread: "dog_0",
    to: ["through", RUNNING],
    refused: true,
    sequels: [["forked", RUNNING]],
  },
  "a pause with another topology": {
    from: ["forked", RUNNING],
    to: ["through", "Paused"],
    sequels: [
      ["through", "Paused"],
      ["forked", RUNNING],
    ],
  },
  "a resume": { from: ["through", "Paused"], to: ["through", RUNNING], sequels: [["through", RUNNING]] },
  "a retention that makes buffers anew": {
    from: ["straight", RUNNING],
    to: ["queued", RUNNING],
    sequels: [
      ["queued", RUNNING],
      ["straight", RUNNING],
    ],
  },
  "a destroy with unread messages": {
    from: ["through", RUNNING],
    unread: "cat_0",
    sequels: [undefined, ["through", RUNNING]],
  },
};

interface Case {
  name: string;
  at: number;
  write: string;
  fault: Fault;
}

/** All cases, hundreds; else a sample that has every act, every kind of write and every fault. */
const everything = process.env.RINGFENCE_CRASH === "all";

/** At once: a run waits for servers most of the time. */
const ABREAST = 3;

describe(`a run that changes a topology and fails at any of its writes (${seedText})`, () => {
  let stores: Stores;
  const realm = newRealm();
  let tenants = 0;

  before(() => {
    stores = newProcess();
  });
  after(tidy);

  /** A tenant whose topology goes from act to act, of a stack of its own. */
  class Subject {
    readonly tenant: Tenant;
    readonly state: State = newState();
    constructor(tenant: Tenant) {
      this.tenant = tenant;
    }

    static of = async () =>
      new Subject(await provision(stores, await newLedger(stores), `${realm}/flow-${++tenants}`, SHARE));

    up = (own: Stores, plan: Plan, phase: Phase, discard = false) =>
      up(own, this.tenant, this.state, { plan: plans[plan], phase, discard });

    act = (own: Stores, { to }: Act) => (to ? this.up(own, ...to) : down(own, this.tenant, this.state));

    /** @param send messages that nobody reads, before they are counted */
    async unread(buffer: string, send = 0): Promise<number> {
      const connection = await natsOf(this.tenant);
      try {
        for (let i = 0; i < send; i++) await connection.jetstream().publish(buffer, `${i}`);
        return (await (await connection.jetstreamManager()).consumers.info(buffer, buffer)).num_pending;
      } finally {
        await connection.close();
      }
    }
  }

  /** @returns the names of its writes */
  async function record(act: Act): Promise<string[]> {
    const subject = await Subject.of();
    await subject.up(stores, ...act.from);
    if (act.unread) await subject.unread(act.unread, 2);
    const { stores: counted, writes } = faulty(newProcess());
    const done = subject.act(counted, act);
    if (act.refused) await assert.rejects(done, /is not drained/);
    else await done;
    return writes;
  }

  async function play(subject: Subject, { name, at, fault }: Case, sequel: Act["sequels"][number]): Promise<void> {
    const { tenant, state } = subject;
    const { from, unread, ...act } = acts[name] as Act;
    // Whatever the case before left.
    await passActs(stores, tenant);
    await subject.up(newProcess(), ...from, true);
    const before = unread && (await subject.unread(unread, 2));

    const failing = faulty(newProcess(), fault, at);
    await subject.act(failing.stores, { from, ...act }).catch(() => undefined);
    assert(failing.writes.length > at, `there was no write ${at}`);
    await passActs(stores, tenant);

    // No refresh: a plain rerun has to do.
    const next = newProcess();
    if (sequel) {
      await subject.up(next, ...sequel);
      await assertIs(next, tenant, plans[sequel[0]]);
      // A destroy lets them go.
      if (unread && act.to) assert.equal(await subject.unread(unread), before, "messages were lost");
    } else {
      await down(next, tenant, state);
      assert.deepEqual(await (await next.nats()).streams(tenant.nats.account), []);
      assert.equal((await readTopology(next.etcd, tenant))?.record.state, "none");
    }
  }

  it("is carried on by the next one: all is as the last spec says, and no message is lost", async () => {
    const recorded = await Promise.all(
      Object.entries(acts).map(async ([name, act]) => ({ name, writes: await record(act) })),
    );
    const cases: Case[] = recorded.flatMap(({ name, writes }) =>
      writes.flatMap((write, at) => faults.map((fault) => ({ name, at, write, fault }))),
    );
    const isNovel = novel(({ name, write, fault }: Case) => [name, write, fault]);
    const queue = everything ? shuffled(cases) : shuffled(cases).filter(isNovel);
    const failures: string[] = [];
    let played = 0;
    const worker = async () => {
      const subject = await Subject.of();
      for (let each = queue.shift(); each && failures.length === 0; each = queue.shift()) {
        const { sequels } = acts[each.name] as Act;
        const sequel = sequels[played++ % sequels.length];
        await play(subject, each, sequel).catch((error: Error) =>
          failures.push(`${each.name}: ${each.fault} ${each.write} (write ${each.at}), then ${sequel}: ${error.stack}`),
        );
      }
    };
    await Promise.all(Array.from({ length: ABREAST }, worker));
    assert.equal(failures.join("\n"), "");
  });
});
