/**
 * Walking the keys of a span in bounded pages.
 *
 * A page's limit bounds the answer, not the work: etcd goes through the whole span that it is asked about, deleted keys
 * included, while whoever writes waits. So each page is asked of a stretch that should hold little more than the page,
 * and its end is guessed from how closely the keys before it lay.
 */
import type { Etcd, Page } from "../stores/etcd.ts";
import type { KeyHead, Span } from "../stores/etcd-txn.ts";

/** How many times a page's keys a stretch should hold: too short costs a round trip, too long a walk. */
const SLACK = 3;

/** Bytes that count in a guess, from the first in which two keys differ. */
const DIGITS = 8;

/** Some keys and the stretch that they are all the keys of. */
export interface KeyPage {
  keys: KeyHead[];
  span: Span;
}

/**
 * Where the next stretch may end: keys are taken as numbers of `width` bytes, and a stretch is `2^bits` times the
 * distance that was measured.
 */
interface Guess {
  width: number;
  distance: bigint;
}

/**
 * The keys of a span in order, page by page, each asked for when it is taken.
 * @param size keys in the next page; asked before each
 * @param counted told once how many keys there are in all
 */
export async function* walkKeys(
  etcd: Etcd,
  { from, end }: Span,
  size: () => number,
  counted: (keys: number) => void,
): AsyncGenerator<KeyPage, void> {
  let guess: Guess | undefined;
  let position = from;
  while (position.compare(end) < 0) {
    const page: KeyPage = { keys: [], span: { from: position, end: position } };
    const wanted = size();
    // Grows with each stretch that turns out empty: slowly, for behind a gap there may be very many keys.
    let bits = 0n;
    while (page.keys.length < wanted && position.compare(end) < 0) {
      const stretch = { from: position, end: guess ? endOf(position, guess, bits, end) : end };
      const limit = wanted - page.keys.length;
      const { keys, count } = await fittingPage(etcd, stretch, limit);
      if (!guess) counted(count);
      const last = keys.at(-1)?.key;
      // Where the limit cut it off, its keys are all that is known of the stretch.
      position = last && count > keys.length ? Buffer.concat([last, Buffer.of(0)]) : stretch.end;
      page.keys.push(...keys);
      bits = last ? 0n : bits + 3n + bits / 8n;
      // Keys so long that they had to be asked for in parts fill a page before they are as many as wanted.
      const full = keys.length < Math.min(limit, count);
      guess = guessFrom(page.keys, wanted) ?? guess ?? { width: from.length + DIGITS, distance: 1n };
      if (full) break;
    }
    page.span.end = position;
    if (page.keys.length > 0) yield page;
  }
}

/** A page with fewer keys than asked for when they are so long that they do not fit into an answer. */
async function fittingPage(etcd: Etcd, span: Span, limit: number): Promise<Page> {
  const page = await etcd.page(span, limit);
  return page ?? fittingPage(etcd, span, Math.max(1, Math.floor(limit / 2)));
}

/** From the last quarter of a page: where its keys come from several places, the next ones follow its last. */
function guessFrom(keys: KeyHead[], wanted: number): Guess | undefined {
  const begin = Math.min(Math.floor((keys.length * 3) / 4), keys.length - 2);
  const [earlier, last] = [keys[begin]?.key, keys.at(-1)?.key];
  if (!earlier || !last || earlier.equals(last)) return undefined;
  let common = 0;
  while (earlier[common] === last[common]) common++;
  const width = common + DIGITS;
  const steps = keys.length - 1 - begin;
  const apart = numberOf(last, width) - numberOf(earlier, width);
  return { width, distance: (apart * BigInt(Math.ceil(wanted * SLACK))) / BigInt(steps) + 1n };
}

function endOf(position: Buffer, { width, distance }: Guess, bits: bigint, end: Buffer): Buffer {
  const guessed = numberOf(position, width) + (distance << bits);
  const hex = guessed.toString(16);
  if (hex.length > width * 2) return end;
  const bytes = Buffer.from(hex.padStart(width * 2, "0"), "hex");
  return bytes.compare(end) < 0 ? bytes : end;
}

/** A key's first bytes as a number. */
function numberOf(key: Buffer, width: number): bigint {
  const digits = Buffer.alloc(width);
  key.copy(digits, 0, 0, width);
  return BigInt(`0x${digits.toString("hex")}`);
}
