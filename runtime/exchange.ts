/** One inbox for all that a client waits for; each message sent has a token of its own in it. */
import { randomBytes } from "node:crypto";
import type { Bus } from "../components/stores/nats-bus.ts";
import { readToClient, type ToClient } from "./wire.ts";

/**
 * What a waiting client is told besides the worker's words: `silence` when nothing came in time, `look` when something
 * happened to the instance or to the connection, so that it is worth asking again.
 */
export type Heard = ToClient | { kind: "silence" } | { kind: "look" };

const SILENCE: Heard = { kind: "silence" };
const LOOK: Heard = { kind: "look" };

export class Mailbox {
  /** Names this client in every request. */
  readonly client = randomBytes(9).toString("base64url");
  readonly #bus: Bus;
  readonly #inbox = `_INBOX.${this.client}`;
  readonly #open = new Map<string, Exchange>();
  readonly #close: () => Promise<void>;
  #count = 0;

  constructor(bus: Bus) {
    this.#bus = bus;
    this.#close = bus.subscribe(`${this.#inbox}.*`, (message) =>
      this.#open.get(message.subject.slice(this.#inbox.length + 1))?.hear(readToClient(message)),
    );
  }

  /** Sends a message whose answers the exchange hears. */
  send(subject: string, header: string, data: Uint8Array): Exchange {
    const token = (this.#count++).toString(36);
    const exchange = new Exchange(() => this.#open.delete(token));
    this.#open.set(token, exchange);
    this.#bus.publish(subject, data, { header, reply: `${this.#inbox}.${token}` });
    return exchange;
  }

  /** Whoever still waits looks up. */
  async close(): Promise<void> {
    for (const exchange of this.#open.values()) exchange.look();
    await this.#close();
  }
}

export class Exchange {
  readonly #forget: () => void;
  readonly #heard: Heard[] = [];
  #listener: ((heard: Heard) => void) | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(forget: () => void) {
    this.#forget = forget;
  }

  /** The next thing that is heard; `silence` when there is none in time. */
  next(withinMs: number): Promise<Heard> {
    const heard = this.#heard.shift();
    if (heard) return Promise.resolve(heard);
    return new Promise((resolve) => {
      this.#listener = resolve;
      this.#timer = setTimeout(() => this.hear(SILENCE), withinMs);
    });
  }

  hear(heard: Heard): void {
    const listener = this.#listener;
    if (!listener) {
      this.#heard.push(heard);
      return;
    }
    clearTimeout(this.#timer);
    this.#listener = undefined;
    listener(heard);
  }

  /** Wakes whoever waits; nobody waiting needs none. */
  look(): void {
    if (this.#listener) this.hear(LOOK);
  }

  /** Nothing that still comes is heard. */
  close(): void {
    clearTimeout(this.#timer);
    this.#forget();
  }
}
