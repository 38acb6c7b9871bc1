/** The reading end of a buffer, and what it delivers. */
import { createInbox, type Msg, type NatsConnection, type Subscription } from "nats";
import { CALL_DEADLINE_MS, type StoreError } from "./errors.ts";

/** The header in which a writer says what a message is. */
export const HEADER = "Ringfence";
/** The header by which a buffer knows a message again. */
const ID = "Nats-Msg-Id";

/** Codes by which a server says that a request for messages is over, and nothing is wrong. */
const OVER = [404, 408];

/** How long the server waits for messages to come, and how much longer we wait for the server, milliseconds. */
const WAIT_MS = 1_000;

interface Pull {
  reply: string;
  left: number;
  end: (error?: StoreError) => void;
}

/**
 * The reading end of a buffer. Its subscription lives as long as it does: nats.js' own `fetch` has one for each request, and
 * what comes when that has just been given up, on a busy machine, is nobody's until its acknowledgement was waited for.
 */
export class Inlet {
  readonly #connection: NatsConnection;
  readonly #subject: string;
  readonly #inbox = createInbox();
  readonly #explained: (cause: unknown) => StoreError;
  readonly #subscription: Subscription;
  #pull: Pull | undefined;
  #pulls = 0;

  constructor(
    connection: NatsConnection,
    name: string,
    take: (delivery: Delivery) => void,
    explained: (cause: unknown) => StoreError,
  ) {
    this.#connection = connection;
    this.#subject = `$JS.API.CONSUMER.MSG.NEXT.${name}.${name}`;
    this.#explained = explained;
    this.#subscription = connection.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => {
        if (error) this.#pull?.end(explained(error));
        else if (message.subject.startsWith(this.#inbox)) this.#said(message);
        else {
          take(new Delivery(name, message, connection));
          if (this.#pull && --this.#pull.left === 0) this.#pull.end();
        }
      },
    });
  }

  /**
   * Asks for messages; one such request at a time. Resolves when so many have come, or no more will.
   * @throws StoreError
   */
  pull(most: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const reply = `${this.#inbox}.${++this.#pulls}`;
      const late = setTimeout(
        () => this.#pull?.end(this.#explained(new Error("no answer"))),
        WAIT_MS + CALL_DEADLINE_MS,
      );
      this.#pull = {
        reply,
        left: most,
        end: (error) => {
          clearTimeout(late);
          this.#pull = undefined;
          if (error) reject(error);
          else resolve();
        },
      };
      this.#connection.publish(this.#subject, JSON.stringify({ batch: most, expires: WAIT_MS * 1e6 }), { reply });
    });
  }

  /** Ends the request that is under way: the server that had it is gone. */
  interrupt(): void {
    this.#pull?.end();
  }

  close(): void {
    this.#subscription.unsubscribe();
  }

  #said({ subject, headers }: Msg): void {
    if (subject !== this.#pull?.reply || !headers) return;
    if (OVER.includes(headers.code)) this.#pull.end();
    else this.#pull.end(this.#explained(new Error(headers.description || `it answers with ${headers.code}`)));
  }
}

/** A message as a buffer delivered it; it comes again until it is acknowledged. */
export class Delivery {
  readonly #connection: NatsConnection;
  readonly #message: Msg;
  readonly #buffer: string;

  constructor(buffer: string, message: Msg, connection: NatsConnection) {
    this.#buffer = buffer;
    this.#message = message;
    this.#connection = connection;
  }

  /** The same at each delivery. What somebody published without an id is named by its place and time. */
  get id(): string {
    const { sequence, time } = this.#place();
    return this.#message.headers?.get(ID) || `${this.#buffer}:${sequence}:${time}`;
  }

  /** What its writer says of it; empty when somebody else wrote it. */
  get header(): string {
    return this.#message.headers?.get(HEADER) ?? "";
  }

  get data(): Uint8Array {
    return this.#message.data;
  }

  /** How often it was delivered, this time included. */
  get deliveries(): number {
    return this.#place().deliveries;
  }

  /** Says that it is done with. May be called again. @returns whether the server has confirmed it */
  async acknowledge(): Promise<boolean> {
    try {
      await this.#connection.request(this.#reply, "+ACK", { timeout: CALL_DEADLINE_MS });
      return true;
    } catch {
      return false;
    }
  }

  /** Gives it back, to be delivered again after so many milliseconds. */
  giveBack(afterMs = 0): void {
    this.#say(afterMs > 0 ? `-NAK ${JSON.stringify({ delay: afterMs * 1e6 })}` : "-NAK");
  }

  /** Says that somebody is at work on it, which begins the wait for its acknowledgement anew. */
  keep(): void {
    this.#say("+WPI");
  }

  get #reply(): string {
    return this.#message.reply ?? "";
  }

  #say(word: string): void {
    if (!this.#connection.isClosed()) this.#connection.publish(this.#reply, word);
  }

  /** `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<sequence>.<of the consumer>.<time>.<pending>…` */
  #place(): { deliveries: number; sequence: string; time: string } {
    const words = this.#reply.split(".");
    const [deliveries, sequence = "", , time = ""] = words.slice(words.length > 9 ? 6 : 4);
    return { deliveries: Number(deliveries), sequence, time };
  }
}
