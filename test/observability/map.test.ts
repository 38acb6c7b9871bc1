import assert from "node:assert/strict";
import fc from "fast-check";
import { type Box, FONT, type Layout, type Line, layoutOf } from "../../cli/map-layout.ts";
import { environmentOf } from "../../cli/map-model.ts";
import { svgOf } from "../../cli/map-svg.ts";
import { type Pipeline, rules, shop, stateOf } from "./map-state.ts";
import { textsOf } from "./xml.ts";

const draw = (state: unknown): string => svgOf(layoutOf(environmentOf(state)));

describe("the map of an environment", () => {
  it("names every pipeline with its namespace, its parts of the stores and its vertices, and every pool", () => {
    const texts = textsOf(draw(shop()));
    for (const expected of [
      "shop/prod: 3 pipelines, 2 GPU pools",
      "chat (Running)",
      "team/chat, in namespace chat-5c21aedf",
      "/ringfence/tenants/5c21aedf0123456789abcdef/",
      "etcd proxy",
      "2 pods",
      "decode",
      "3 of 4 pods ready",
      "1 GPU each, on h100",
      "listens: system 9090, requests 9092",
      "calls anywhere: 443",
      "embed (Running)",
      "2 GPUs each, on l40s",
      "Kubernetes API",
      "team/eu/search, in namespace search-deadbeef",
      "GPU pool h100: 6 GPUs in use",
      "nvidia.com/gpu.product=NVIDIA-L40S",
      "4 × embed.worker",
    ])
      assert.ok(texts.includes(expected), `'${expected}' is not among ${texts.join(" | ")}`);
    // The whole key, where a pointer rests on its short form.
    assert.ok(texts.some((text) => /^A5C21AEDF0123456789ABCDEF\w{31}$/.test(text)));
    assert.ok(texts.includes("A5C21AEDF012…XXXXXX"));
  });

  it("tells who may talk to whom, from the network policies", () => {
    const { pipelines } = environmentOf(shop());
    const [chat, embed, search] = pipelines;
    const talks = chat?.vertices.map(({ name, from, tenant, world }) => ({ name, from, tenant, world }));
    assert.deepEqual(talks, [
      {
        name: "frontend",
        from: [
          { source: "any pod of the cluster", ports: "8000" },
          { source: "pods in monitoring", ports: "http" },
        ],
        tenant: "9091",
        world: "443",
      },
      { name: "decode", from: [{ source: "pods in monitoring", ports: "system" }], tenant: "9092", world: "443" },
      { name: "prefill", from: [{ source: "pods in monitoring", ports: "system" }], tenant: undefined, world: "443" },
    ]);
    assert.equal(embed?.vertices[1]?.tenant, "any port");
    assert.deepEqual([chat?.closed, search?.closed], [true, false]);
    assert.ok(textsOf(draw(shop())).includes("network open: no policy closes it"));
  });

  it("shows a store that no vertex has credentials for as that, without a line to it", () => {
    const { boxes, lines } = layoutOf(environmentOf(shop()));
    const unused = boxes.filter(({ style }) => style === "unused");
    assert.deepEqual(
      unused.map(({ lines: [heading] }) => heading),
      ["etcd prefix", "NATS account"],
    );
    for (const box of unused) assert.ok(!lines.some(({ points }) => touches(points.at(-1) as [number, number], box)));
    const used = boxes.filter(({ style }) => style === "store");
    for (const box of used)
      assert.ok(
        lines.some(({ points }) => touches(points.at(-1) as [number, number], box)),
        box.id,
      );
  });

  it("has no secret in it, also when the state has them in plain text", () => {
    const state = shop();
    const secret = "in-plain-text";
    const plain = JSON.parse(JSON.stringify(state), (key, value) => (key === "password" ? secret : value));
    assert.ok(JSON.stringify(plain).includes(secret));
    assert.ok(!draw(plain).includes(secret));
  });

  it("draws what is there of a stack that was killed half-way, or is empty", () => {
    const state = shop();
    state.deployment.resources = state.deployment.resources.filter(({ type }) => !/NatsAccount|Deployment/.test(type));
    const texts = textsOf(draw(state));
    assert.ok(texts.includes("chat"));
    assert.ok(!texts.includes("NATS account"));
    assert.ok(textsOf(draw(stateOf({}, []))).includes("shop/prod: 0 pipelines, 0 GPU pools"));
  });

  it("refuses what is no state", () => {
    assert.throws(() => environmentOf({ version: 5, deployment: {} }), /found a state of version 5; known are 3 and 4/);
    assert.throws(() => environmentOf(null), /found a state of version none/);
  });

  it("is well-formed, and nothing in it lies on anything else, whatever the environment", () => {
    fc.assert(
      fc.property(environments, (state) => {
        const layout = layoutOf(environmentOf(state));
        textsOf(svgOf(layout));
        assertReadable(layout);
      }),
      { numRuns: 200 },
    );
  });
});

/** Any text, brackets and control characters included: names come from states, and those from anywhere. */
const anyName = fc.oneof(
  fc.stringMatching(/^[a-z][a-z0-9-]{0,30}$/),
  fc.string({ minLength: 1, maxLength: 40 }),
  fc.constantFrom('<&">', "a\u0000b", "]]>", "--", "\ud800"),
);
const nodes = fc.constantFrom<Record<string, string>>(
  {},
  { "nvidia.com/gpu.product": "A" },
  { "nvidia.com/gpu.product": "B" },
);
const port = fc.integer({ min: 1, max: 65535 });
const ingress = fc.array<object>(
  fc.oneof(
    port.map((one) => rules.cluster(one)),
    port.map((one) => rules.tenant(one)),
    fc.constant(rules.tenant()),
    anyName.map((name) => rules.namespace(name, "http", "system")),
  ),
  { maxLength: 4 },
);
const vertices = fc.uniqueArray(
  fc.record({
    name: anyName,
    replicas: fc.nat(9),
    gpus: fc.nat(8),
    nodes,
    ports: fc.dictionary(anyName, port, { maxKeys: 4 }),
    ingress,
    egress: fc.array(
      port.map((one) => rules.world(one)),
      { maxLength: 2 },
    ),
  }),
  { selector: ({ name }) => name, maxLength: 4 },
);
const pipeline: fc.Arbitrary<Pipeline> = fc.record({
  name: anyName,
  generation: fc.stringMatching(/^[0-9a-f]{24}$/),
  vertices,
  proxy: fc.boolean(),
  closed: fc.boolean(),
  etcd: fc.boolean(),
  nats: fc.boolean(),
  native: fc.boolean(),
});
const environments = fc
  .record({
    pools: fc.dictionary(anyName, nodes, { maxKeys: 6 }),
    pipelines: fc.uniqueArray(pipeline, { selector: ({ generation }) => generation, maxLength: 4 }),
  })
  .map(({ pools, pipelines }) => stateOf(pools, pipelines));

const touches = ([x, y]: [number, number], { x: left, y: top, w, h }: Box): boolean =>
  x >= left && x <= left + w && y >= top && y <= top + h;

const parentOf = ({ id, style }: Box): string | undefined =>
  style === "vertex" || style === "proxy" ? id.slice(0, id.indexOf("/")) : undefined;

function assertReadable({ width, height, boxes, lines }: Layout): void {
  assert.equal(new Set(boxes.map(({ id }) => id)).size, boxes.length, "two boxes with one id");
  for (const [index, a] of boxes.entries()) {
    assert.ok(a.x >= 0 && a.y >= 0 && a.x + a.w <= width && a.y + a.h <= height, `${a.id} is outside of the picture`);
    for (const text of a.lines.slice(1))
      assert.ok([...text].length * FONT.text * 0.6 <= a.w, `${a.id} is narrower than '${text}'`);
    const parent = boxes.find(({ id }) => id === parentOf(a));
    if (parent) {
      const inside = touches([a.x, a.y], parent) && touches([a.x + a.w, a.y + a.h], parent);
      assert.ok(inside, `${a.id} is not inside ${parent.id}`);
    }
    for (const b of boxes.slice(index + 1)) {
      if (parentOf(b) === a.id || parentOf(a) === b.id) continue;
      const apart = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y;
      assert.ok(apart, `${a.id} lies on ${b.id}`);
    }
  }
  const solid = boxes.filter(({ style }) => style !== "pipeline");
  for (const line of lines)
    for (const box of solid) assert.ok(!runsThrough(line, box), `a line runs through ${box.id}`);
}

/** Whether a part of a line is inside a box; ending at its edge is not. */
function runsThrough({ points }: Line, { x, y, w, h }: Box): boolean {
  return points.slice(1).some(([x2, y2], index) => {
    const [x1, y1] = points[index] as [number, number];
    const [left, right, top, bottom] = [Math.min(x1, x2), Math.max(x1, x2), Math.min(y1, y2), Math.max(y1, y2)];
    return left < x + w && right > x && top < y + h && bottom > y;
  });
}
