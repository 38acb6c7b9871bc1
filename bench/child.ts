/** Work in a process of its own, so that it and the others do not disturb each other's event loops and memory. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { stop } from "./own-etcd.ts";

/** A process that answers one question after the other. */
export class Child {
  readonly #process: ChildProcess;
  readonly #ended: Promise<never>;

  /** @param module what it runs; it calls `serve` */
  constructor(module: string) {
    this.#process = fork(new URL(module, import.meta.url), { serialization: "advanced" });
    this.#ended = once(this.#process, "exit").then(([code]) => {
      throw new Error(`the process of ${module} ended with ${code}`);
    });
    // Where nobody asks anything of it, its end is no news.
    this.#ended.catch(() => undefined);
  }

  async ask<T>(question: object): Promise<T> {
    const answered = once(this.#process, "message");
    this.#process.send(question);
    const [answer] = (await Promise.race([answered, this.#ended])) as [{ result: T } | { error: string }];
    if ("error" in answer) throw new Error(answer.error);
    return answer.result;
  }

  stop(): Promise<void> {
    return stop(this.#process);
  }
}

/** The other side: answers each question of the parent; ends with it. */
export function serve<Question>(answer: (question: Question) => Promise<unknown>): void {
  process.on("disconnect", () => process.exit());
  process.on("message", async (question: Question) => {
    try {
      process.send?.({ result: await answer(question) });
    } catch (error) {
      process.send?.({ error: (error as Error).stack });
    }
  });
}
