/** How a message of a flow travels: its id, its key, and how its value is written. */
import { createHash } from "node:crypto";
import type { Envelope } from "../components/stores/flow-bus.ts";
import { decode, encode, type Tag, tagOf } from "./wire.ts";

/** A message as a handler gets it. */
export interface Message<Value = unknown> {
  /** The same at each delivery, and of no other message: what makes a sink's own effects happen once. */
  readonly id: string;
  /** What its writer said that belongs together. */
  readonly key: string | undefined;
  /** What JSON gave, or bytes (`Uint8Array`). */
  readonly value: Value;
  /** How often it was delivered, this time included. */
  readonly deliveries: number;
}

/** A message to be sent on. */
export interface Outgoing {
  /** What JSON can write, or bytes (`Uint8Array`). */
  value: unknown;
  /** Messages of one key go to one partition. @default that of the message that is handled; without one, partitions take turns by id */
  key?: string | undefined;
  /** The vertices that it is for, of those that edges lead to. @default all of them */
  to?: string | string[];
}

/** A message that has its id. */
export interface Parcel extends Outgoing {
  id: string;
}

/** Ids longer than this are written as their digest, so that a cycle does not make them grow. */
const LONGEST_ID = 120;

/** The id of what a source sends. Escaped, so that no id of a user's looks like one that `derivedId` makes. */
export const sourceId = (vertex: string, id: string): string => bounded(`${vertex}:${encodeURIComponent(id)}`);

/**
 * The id of what a vertex sends on of a message: the same one whenever and wherever that message is handled again.
 * @param index among several
 */
export const derivedId = (vertex: string, id: string, index: number, of: number): string =>
  bounded(of > 1 ? `${vertex}:${id}#${index}` : `${vertex}:${id}`);

const bounded = (id: string): string => (id.length <= LONGEST_ID ? id : `~${digest(id)}`);

const digest = (text: string): string => createHash("sha256").update(text).digest("base64url");

/** Which of so many partitions a message goes to: by a text that is the same when it is sent again. */
export const partitionOf = (text: string, partitions: number): number =>
  partitions === 1 ? 0 : createHash("sha256").update(text).digest().readUInt32BE(0) % partitions;

/** A message as it travels. */
export interface Sealed {
  envelope: Envelope;
  data: Uint8Array;
}

/** @throws TypeError for what JSON cannot write */
export function seal({ id, key, value }: Parcel): Sealed {
  const tag = tagOf(value);
  return {
    data: encode(value),
    envelope: { id, header: key === undefined ? tag : `${tag} ${encodeURIComponent(key)}` },
  };
}

/** What nobody of ours has written is bytes. @throws SyntaxError */
export function open(header: string, data: Uint8Array): { key: string | undefined; value: unknown } {
  const [tag, key] = header.split(" ") as [Tag, string | undefined];
  return { key: key === undefined ? undefined : decodeURIComponent(key), value: decode(data, tag === "j" ? "j" : "b") };
}

/** The same in the body of a request, which is JSON. */
export interface Carried extends Envelope {
  /** In base64. */
  data: string;
}

export const carry = ({ envelope, data }: Sealed): Carried => ({
  ...envelope,
  data: Buffer.from(data).toString("base64"),
});

export const uncarry = ({ header, data }: Carried) => open(header, Buffer.from(data, "base64"));
