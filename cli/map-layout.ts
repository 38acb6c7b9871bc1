/** Where everything of the map lies: boxes in boxes, and lines between them that only run where no box is. */
import type { Environment, MappedPipeline, MappedPool } from "./map-model.ts";
import { headingOf, pipelineLines, poolLines, proxyLines, storesOf, vertexLines } from "./map-text.ts";

export type Style = "source" | "pipeline" | "vertex" | "proxy" | "store" | "unused" | "pool";

export interface Box {
  /** Unique; a box that lies in another one begins with that one's id and a slash. */
  id: string;
  style: Style;
  x: number;
  y: number;
  w: number;
  h: number;
  /** From its top to its bottom; the first is its heading. */
  lines: string[];
  /** Shown when a pointer rests on it. */
  title?: string;
  /** The number of the pool whose colour it has. */
  pool?: number;
}

export interface Line {
  points: Array<[x: number, y: number]>;
  arrow: boolean;
  /** Lines of one source look alike, and others do not. */
  source?: number;
  /** Along the line's last stretch, over it. */
  label?: { text: string; x: number; y: number };
}

export interface Layout {
  width: number;
  height: number;
  heading: string;
  boxes: Box[];
  lines: Line[];
}

/** Monospaced, so that a text's width is known wherever the picture is shown. */
export const FONT = { heading: 20, title: 14, text: 12, label: 10 };
const widest = (texts: string[], size: number): number =>
  Math.ceil(Math.max(0, ...texts.map((text) => [...text].length)) * size * 0.62);

export const PAD = 12;
export const LINE = 17;
/** Of a box's heading, its padding included. */
export const TITLE = 30;
const GAP = 24;
const MARGIN = 24;
/** Between lines that run side by side. */
const TRACK = 14;

const widthOf = (lines: string[]): number =>
  2 * PAD + Math.max(widest(lines.slice(0, 1), FONT.title), widest(lines.slice(1), FONT.text));
const heightOf = (lines: string[]): number => TITLE + (lines.length - 1) * LINE + PAD;

export function layoutOf(environment: Environment): Layout {
  const { pools, pipelines } = environment;
  const heading = headingOf(environment);
  const boxes: Box[] = [];
  const lines: Line[] = [];
  const top = MARGIN + FONT.heading + GAP;

  // Columns, left to right: who comes from outside, pipelines, their parts of the stores.
  const sources = [
    ...new Set(pipelines.flatMap(({ vertices }) => vertices.flatMap(({ from }) => from.map(({ source }) => source)))),
  ].sort();
  const sourceWidth = Math.max(0, ...sources.map((source) => widthOf([source])));
  const vertices = pipelines.flatMap((pipeline) => pipeline.vertices);
  const entering = widest(
    vertices.flatMap(({ from }) => from.map(({ ports }) => ports)),
    FONT.label,
  );
  const pipelineX = MARGIN + (sources.length > 0 ? sourceWidth + (sources.length + 1) * TRACK + entering + PAD : 0);
  const column: Column = {
    x: pipelineX,
    sources,
    vertexWidth: Math.max(120, ...vertices.map((vertex) => widthOf(vertexLines(vertex)))),
    // Lines from the other vertices to one carry the ports.
    within:
      widest(
        vertices.map(({ tenant }) => tenant ?? ""),
        FONT.label,
      ) +
      2 * PAD,
    proxyWidth: pipelines.some(({ proxies }) => proxies !== undefined) ? widthOf(proxyLines(9)) : 0,
    least: Math.max(0, ...pipelines.map((pipeline) => widthOf(pipelineLines(pipeline)))),
  };

  sources.forEach((source, index) => {
    const h = heightOf([source]);
    boxes.push({
      id: `source ${source}`,
      style: "source",
      x: MARGIN,
      y: top + index * (h + GAP),
      w: sourceWidth,
      h,
      lines: [source],
    });
  });
  let y = top;
  for (const pipeline of pipelines) {
    const drawn = drawPipeline(pipeline, column, y, pools);
    boxes.push(...drawn.boxes);
    lines.push(...drawn.lines, ...entries(pipeline, drawn.boxes, boxes, column));
    y = bottom(drawn.boxes) + GAP;
  }
  const upper = Math.max(y, bottom(boxes) + GAP);
  const right = Math.max(...boxes.map(({ x, w }) => x + w), MARGIN + 480);
  boxes.push(...drawPools(pools, upper, right));
  return {
    width: Math.max(...boxes.map(({ x, w }) => x + w), MARGIN + widest([heading], FONT.heading)) + MARGIN,
    height: Math.max(bottom(boxes), upper) + MARGIN,
    heading,
    boxes,
    lines,
  };
}

const bottom = (boxes: Box[]): number => Math.max(0, ...boxes.map(({ y, h }) => y + h));

interface Column {
  x: number;
  sources: string[];
  vertexWidth: number;
  within: number;
  proxyWidth: number;
  /** For the widest heading. */
  least: number;
}

/** A pipeline's box with its vertices, and beside it its parts of the stores. */
function drawPipeline(
  pipeline: MappedPipeline,
  column: Column,
  y: number,
  pools: MappedPool[],
): Pick<Layout, "boxes" | "lines"> {
  const { generation, vertices, proxies } = pipeline;
  const { x, vertexWidth, within, proxyWidth, least } = column;
  const lines = pipelineLines(pipeline);
  const inner = y + heightOf(lines);

  let rowY = inner;
  const rows = vertices.map((vertex): Box => {
    const text = vertexLines(vertex);
    const h = Math.max(heightOf(text), (vertex.from.length + 1) * TRACK);
    const pool = pools.findIndex(({ name }) => name === vertex.pool);
    const row: Box = {
      id: `${generation}/${vertex.name}`,
      style: "vertex",
      x: x + PAD,
      y: rowY,
      w: vertexWidth,
      h,
      lines: text,
      ...(pool >= 0 && { pool }),
    };
    rowY += h + PAD;
    return row;
  });

  const busX = x + PAD + vertexWidth + within;
  const proxyX = busX + GAP;
  const w = Math.max(busX + (proxyWidth ? GAP + proxyWidth : 0) + PAD - x, least);
  const storeX = x + w + 3 * GAP;
  let storeY = inner;
  const stores = storesOf(pipeline).map(({ kind, used, lines, title }) => {
    const [w, h] = [widthOf(lines), heightOf(lines)];
    const id = `${generation} ${kind}`;
    const box: Box = {
      id,
      style: used ? "store" : "unused",
      x: storeX,
      y: storeY,
      w,
      h,
      lines,
      ...(title && { title }),
    };
    storeY += h + PAD;
    return { kind, used, box };
  });
  const box: Box = {
    id: generation,
    style: "pipeline",
    x,
    y,
    w,
    h: Math.max(rowY, storeY, inner + PAD) - y,
    lines,
  };

  const boxes = [box, ...rows, ...stores.map(({ box }) => box)];
  const connections: Line[] = [];
  const joints: number[] = [];
  for (const { kind, used, box: store } of stores) {
    if (!used) continue;
    const middle = Math.round(store.y + store.h / 2);
    joints.push(middle);
    const proxied = kind === "etcd" && proxies !== undefined;
    if (proxied) {
      const text = proxyLines(proxies);
      const h = heightOf(text);
      const proxy: Box = {
        id: `${generation}/ proxy`,
        style: "proxy",
        x: proxyX,
        y: middle - Math.round(h / 2),
        w: proxyWidth,
        h,
        lines: text,
      };
      boxes.push(proxy);
      connections.push({
        points: [
          [busX, middle],
          [proxy.x, middle],
        ],
        arrow: true,
      });
      connections.push({
        points: [
          [proxy.x + proxy.w, middle],
          [store.x, middle],
        ],
        arrow: true,
      });
    } else
      connections.push({
        points: [
          [busX, middle],
          [store.x, middle],
        ],
        arrow: true,
      });
  }
  for (const [index, { tenant }] of vertices.entries()) {
    const row = rows[index] as Box;
    const middle = Math.round(row.y + row.h / 2);
    joints.push(middle);
    // What a vertex offers to the others comes from the line that they share; one that offers nothing only calls.
    const end: [number, number] = [row.x + row.w, middle];
    connections.push(
      tenant === undefined
        ? { points: [end, [busX, middle]], arrow: false }
        : { points: [[busX, middle], end], arrow: true, label: { text: tenant, x: end[0] + PAD, y: middle - 4 } },
    );
  }
  if (joints.length > 1)
    connections.push({
      points: [
        [busX, Math.min(...joints)],
        [busX, Math.max(...joints)],
      ],
      arrow: false,
    });
  return { boxes, lines: connections };
}

/** Lines from outside into a pipeline's vertices: each source has a track of its own before the pipelines. */
function entries({ generation, vertices }: MappedPipeline, drawn: Box[], all: Box[], { x, sources }: Column): Line[] {
  return vertices.flatMap(({ name: vertex, from }) => {
    const row = drawn.find(({ id }) => id === `${generation}/${vertex}`) as Box;
    return from.map(({ source, ports }, index): Line => {
      const box = all.find(({ id }) => id === `source ${source}`) as Box;
      const start = Math.round(box.y + box.h / 2);
      const track = box.x + box.w + (sources.indexOf(source) + 1) * TRACK;
      const end = row.y + (index + 1) * TRACK;
      return {
        points: [
          [box.x + box.w, start],
          [track, start],
          [track, end],
          [row.x, end],
        ],
        arrow: true,
        source: sources.indexOf(source),
        label: { text: ports, x: x - widest([ports], FONT.label) - PAD / 2, y: end - 4 },
      };
    });
  });
}

/** Side by side, as many as fit. */
function drawPools(pools: MappedPool[], top: number, right: number): Box[] {
  let [x, y, lowest] = [MARGIN, top, top];
  return pools.map((pool, index) => {
    const lines = poolLines(pool);
    const [w, h] = [widthOf(lines), heightOf(lines)];
    if (x > MARGIN && x + w > right) [x, y] = [MARGIN, lowest + GAP];
    const box: Box = { id: `pool ${pool.name}`, style: "pool", x, y, w, h, lines, pool: index };
    x += w + GAP;
    lowest = Math.max(lowest, y + h);
    return box;
  });
}
