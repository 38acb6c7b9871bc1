/**
 * Walking the keys of a span in bounded pages.
 *
 * A page's limit bounds the answer, not the work: etcd goes through the whole span that it is asked about, deleted keys
 * included, while whoever writes waits. So each page is asked of a stretch that should hold little more than the page,
 * and its end is guessed from how closely the keys before it lay.
 */
import type { Etcd, Page } from "../stores/etcd.ts";
import { type KeyHead, rangeEnd, type Span } from "../stores/etcd-txn.ts";

/** How many times a page's keys a stretch should hold: too short costs a round trip, too long a walk. */
const SLACK = 2;

/** Bytes that count in a guess, from the first in which two keys differ. */
const DIGITS = 8;

/** Some keys and the stretch that they are all the keys of. */
export interface KeyPage {
  keys: KeyHead[];
  span: Span;
}

/** Keys as numbers. */
interface Numbers {
  /** What the keys begin with. */
  stem: Buffer;
  /** The bytes that follow, in order, and how many of them count. */
  digits: number[];
  width: number;
}

const BYTES = Array.from({ length: 256 }, (_, byte) => byte);

/**
 * How closely some keys lie. They are taken as numbers, of the digits that they are made of: so there is no gap between
 * the last key of a ten, or of a sixteen, and the first of the next.
 */
interface Density extends Numbers {
  /** How far from each other the ends of a page lie, and some more. */
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
  let density: Density | undefined;
  let counting = true;
  let position = from;
  while (position.compare(end) < 0) {
    const page: KeyPage = { keys: [], span: { from: position, end: position } };
    const wanted = size();
    // Grows with each stretch that turns out empty: slowly, for behind a gap there may be very many keys.
    let bits = 0n;
    while (page.keys.length < wanted && position.compare(end) < 0) {
      const stretch = { from: position, end: counting ? end : guessEnd(position, end, bits, density) };
      const limit = wanted - page.keys.length;
      const { keys, count } = await fittingPage(etcd, stretch, limit);
      if (counting) counted(count);
      counting = false;
      const last = keys.at(-1)?.key;
      // Where the limit cut it off, its keys are all that is known of the stretch.
      position = last && count > keys.length ? Buffer.concat([last, Buffer.of(0)]) : stretch.end;
      page.keys.push(...keys);
      bits = last ? 0n : bits + 3n + bits / 8n;
      // Keys so long that they had to be asked for in parts fill a page before they are as many as wanted.
      const full = keys.length < Math.min(limit, count);
      density = densityOf(page.keys, wanted) ?? density;
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
function densityOf(keys: KeyHead[], wanted: number): Density | undefined {
  const quarter = keys.slice(Math.min(Math.floor((keys.length * 3) / 4), keys.length - 2)).map(({ key }) => key);
  const [first, last] = [quarter[0], quarter.at(-1)];
  if (!first || !last || first.equals(last)) return undefined;
  let begin = 0;
  while (first[begin] === last[begin]) begin++;
  const end = begin + DIGITS;
  const used = new Set(quarter.flatMap((key) => [...key.subarray(begin, end)]));
  while (begin > 0 && used.has(last[begin - 1] as number)) begin--;
  const digits = [...used].sort((a, b) => a - b);
  const numbers = { stem: last.subarray(0, begin), digits, width: end - begin };
  const apart = numberOf(last, numbers) - numberOf(first, numbers);
  return { ...numbers, distance: (apart * BigInt(Math.ceil(wanted * SLACK))) / BigInt(quarter.length - 1) + 1n };
}

/** Where a stretch may end that holds `2^bits` times what a page should. */
function guessEnd(position: Buffer, end: Buffer, bits: bigint, density: Density | undefined): Buffer {
  const inStem = density?.stem.equals(position.subarray(0, density.stem.length));
  const likely = density && inStem && keyOf(numberOf(position, density) + (density.distance << bits), density);
  // Where nothing is known the next few places are tried, as far as a key of this length can tell them apart.
  const bytes = { stem: Buffer.of(), digits: BYTES, width: position.length };
  const next = likely && likely.compare(position) > 0 ? likely : keyOf(numberOf(position, bytes) + (1n << bits), bytes);
  return next.compare(position) > 0 && next.compare(end) < 0 ? next : end;
}

/** A key as a number: a byte that is no digit counts as the next one that is. */
function numberOf(key: Buffer, { stem, digits, width }: Numbers): bigint {
  let number = 0n;
  for (let i = stem.length; i < stem.length + width; i++) {
    const digit = digits.findIndex((one) => one >= (key[i] ?? 0));
    number = number * BigInt(digits.length) + BigInt(digit < 0 ? digits.length - 1 : digit);
  }
  return number;
}

/** A number's key; the end of all keys of the stem when it has too many digits. */
function keyOf(number: bigint, { stem, digits, width }: Numbers): Buffer {
  const bytes = Buffer.alloc(width);
  let rest = number;
  for (let i = width - 1; i >= 0; i--) {
    bytes[i] = digits[Number(rest % BigInt(digits.length))] as number;
    rest /= BigInt(digits.length);
  }
  return rest > 0n ? rangeEnd(stem) : Buffer.concat([stem, bytes]);
}
