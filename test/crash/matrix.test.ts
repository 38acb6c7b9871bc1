import assert from "node:assert/strict";
import Mocha from "mocha";
import { seedText } from "../support/sample.ts";
import { allCases, type Case, type LATE, type Recording, sample, sampleForPulumi, titleOf } from "./cases.ts";
import { acts } from "./life.ts";
import { Ground } from "./platform.ts";
import { alone, play, record } from "./play.ts";
import { playWithPulumi } from "./with-pulumi.ts";

/** `all` cases, or those whose titles have this in them; a sample when unset. */
const wanted = process.env.RINGFENCE_CRASH;

/** At least as many cases are drawn. */
const CASES = 200;
/** Cases of each act with the whole CLI. */
const WITH_PULUMI = 2;
/** Cases after which the platform is looked at, which takes as long as graves are kept: 80 s. */
const BATCH = 75;

/** A case on its way; the suite has a test for each, which waits for its end. */
interface Playing {
  title: string;
  play: (names: Set<string>) => Promise<void>;
  ended: PromiseWithResolvers<void>;
}

describe(`a crash at any write (${seedText})`, function () {
  this.timeout("2h");
  const recording = {} as Recording;
  let ground: Ground;
  let over: Promise<string[]> | undefined;
  let interrupted = false;

  before(async () => {
    // The test that waits at that moment, too, ends with the cases that have begun.
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => (interrupted = true));
    ground = await Ground.open();
    for (const act of acts) recording[act] = await record(ground, act);
    const cases = allCases(recording);
    const chosen = wanted === undefined ? sample(cases, CASES) : cases;
    const playing = (each: Case): Playing => ({
      title: titleOf(each),
      play: (names) => play(ground, each, names),
      ended: Promise.withResolvers(),
    });
    const withPulumi = (each: Case<typeof LATE>): Playing => ({
      title: `with the whole CLI, ${titleOf(each)}`,
      play: (names) => playWithPulumi(ground, each, names),
      ended: Promise.withResolvers(),
    });
    // Cases wait for servers most of the time; those that break one, or all of whose commands are heavy, go by themselves.
    const lanes = [
      { abreast: 6, cases: chosen.filter((each) => !alone(each)).map(playing) },
      { abreast: 2, cases: sampleForPulumi(cases, WITH_PULUMI).map(withPulumi) },
      { abreast: 1, cases: chosen.filter(alone).map(playing) },
    ].map(({ abreast, cases }) => ({ abreast, cases: cases.filter(isWanted) }));
    for (const { title, ended } of lanes.flatMap(({ cases }) => cases)) {
      // Awaited by its test, maybe later.
      ended.promise.catch(() => {});
      this.addTest(new Mocha.Test(title, () => ended.promise));
    }
    over = playAll(lanes);
    this.addTest(new Mocha.Test("leaves nothing that is no case's", async () => assert.deepEqual(await over, [])));
  });
  after(async () => {
    interrupted = true;
    await over;
    await ground?.close();
  });

  it("is a crash at one of those that a run was seen to make, to all three stores", () => {
    for (const act of acts) assert(recording[act].length > 10, JSON.stringify(recording[act]));
    const stores = new Set(acts.flatMap((act) => recording[act].map(({ store }) => store)));
    assert.deepEqual([...stores].sort(), ["etcd", "kube-apiserver", "nats"]);
  });

  const isWanted = ({ title }: Playing) => wanted === undefined || wanted === "all" || title.includes(wanted);

  /** @returns what is left behind that is no case's */
  async function playAll(lanes: Array<{ abreast: number; cases: Playing[] }>): Promise<string[]> {
    const unaccounted: string[] = [];
    for (const { abreast, cases } of lanes)
      for (let at = 0; at < cases.length; at += BATCH)
        if (!interrupted) unaccounted.push(...(await playBatch(cases.slice(at, at + BATCH), abreast)));
    return unaccounted;
  }

  /** Plays cases side by side; then, once no late call can be left, looks at what they have left behind. */
  async function playBatch(batch: Playing[], abreast: number): Promise<string[]> {
    const queue = [...batch];
    const played: Array<Playing & { names: Set<string>; error: Error | undefined }> = [];
    const player = async () => {
      for (let next = queue.shift(); next && !interrupted; next = queue.shift()) {
        const names = new Set<string>();
        const error = await next.play(names).then(
          () => undefined,
          (caught: Error) => caught,
        );
        played.push({ ...next, names, error });
      }
    };
    await Promise.all(Array.from({ length: abreast }, player));
    const left = await ground.settle().catch((error: Error) => [`nobody could look at what is left: ${error.message}`]);
    const accounted = new Set<string>();
    for (const { ended, names, error } of played) {
      const own = left.filter((line) => [...names].some((name) => line.includes(name)));
      for (const line of own) accounted.add(line);
      if (error) ended.reject(error);
      else if (own.length > 0) ended.reject(new Error(own.join("\n")));
      else ended.resolve();
    }
    return left.filter((line) => !accounted.has(line));
  }
});
