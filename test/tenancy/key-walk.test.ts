import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { type Operation, op, type Span, spanOf } from "../../components/stores/etcd-txn.ts";
import type { Stores } from "../../components/tenancy/access.ts";
import { walkKeys } from "../../components/tenancy/key-walk.ts";
import { bound, newProcess, tidy } from "./scene.ts";

/** Operations of one transaction. */
const BATCH = 128;

describe("walking keys in pages", () => {
  const prefix = `/walked-${randomBytes(5).toString("hex")}/`;
  let stores: Stores;

  before(() => {
    stores = newProcess();
  });
  afterEach(async () => {
    await stores.etcd.txn([], [op.removeAll(spanOf(prefix))]);
  });
  after(tidy);

  const put = async (operations: Operation[]): Promise<void> => {
    for (let i = 0; i < operations.length; i += BATCH) await stores.etcd.txn([], operations.slice(i, i + BATCH));
  };

  async function walk(span: Span, size: () => number, etcd = stores.etcd) {
    const pages: Array<{ keys: string[]; span: Span }> = [];
    let counted = 0;
    for await (const page of walkKeys(etcd, span, size, (keys) => {
      counted += keys;
    }))
      pages.push({ keys: page.keys.map(({ key }) => key.toString("hex")), span: page.span });
    return { pages, counted };
  }

  it("finds every key once and in order, however the keys lie", async () => {
    const byte = fc.oneof(fc.constantFrom(0, 0x2f, 0x30, 0x39, 0x61, 0xff), fc.integer({ min: 0, max: 255 }));
    const stem = fc.array(byte, { maxLength: 12 });
    const family = fc
      .tuple(stem, fc.array(fc.array(byte, { maxLength: 3 }), { minLength: 1, maxLength: 15 }))
      .map(([head, tails]) => tails.map((tail) => [...head, ...tail]));
    const families = fc.array(family, { maxLength: 6 }).map((all) => all.flat());
    await fc.assert(
      fc.asyncProperty(families, fc.integer({ min: 1, max: 9 }), async (tails, size) => {
        const names = new Set(
          tails.map((tail) => Buffer.concat([Buffer.from(prefix), Buffer.from(tail)]).toString("hex")),
        );
        await put([...names].map((hex) => ({ request_put: { key: Buffer.from(hex, "hex"), value: Buffer.of(1) } })));
        const { pages, counted } = await walk(spanOf(prefix), () => size);
        assert.deepEqual(
          pages.flatMap(({ keys }) => keys),
          [...names].sort(),
        );
        assert.equal(counted, names.size);
        for (const { keys, span } of pages) {
          assert(keys.length > 0 && keys.length <= size);
          for (const key of keys) {
            const bytes = Buffer.from(key, "hex");
            assert(span.from.compare(bytes) <= 0 && bytes.compare(span.end) < 0);
          }
        }
        for (const [i, { span }] of pages.entries())
          assert(i === 0 || (pages[i - 1]?.span.end.compare(span.from) ?? 1) <= 0, "pages overlap");
        await stores.etcd.txn([], [op.removeAll(spanOf(prefix))]);
      }),
      { numRuns: 60 },
    );
  });

  for (const [what, name] of [
    ["hexadecimal numbers", (i: number) => `v1/instances/chat/backend/generate/${i.toString(16).padStart(16, "0")}`],
    ["random names", () => randomBytes(16).toString("hex")],
    ["many small families", (i: number) => `streams/${Math.floor(i / 7)}/parts/${i % 7}`],
  ] as const) {
    it(`has etcd go through few more keys than there are: ${what}`, async () => {
      const keys = 6_000;
      await put(Array.from({ length: keys }, (_, i) => op.put(`${prefix}${name(i)}`, "v")));
      let gone = 0;
      let asked = 0;
      const counting = new Proxy(stores.etcd, {
        get: (target, property) =>
          property !== "page"
            ? bound(target, property)
            : async (span: Span, limit: number) => {
                const page = await target.page(span, limit);
                gone += page?.count ?? 0;
                asked++;
                return page;
              },
      });
      const { pages } = await walk(spanOf(prefix), () => 100, counting);
      assert.equal(pages.flatMap((page) => page.keys).length, keys);
      // Asking for the rest each time would go through 180,000.
      assert(gone < 15 * keys, `${gone} keys gone through for ${keys}`);
      assert(asked < 8 * (keys / 100), `${asked} requests for ${keys / 100} pages`);
    });
  }
});
