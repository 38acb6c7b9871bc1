/** The map as an SVG: text that can be searched, colours that a legend explains, no script and nothing from elsewhere. */
import { type Box, FONT, type Layout, LINE, type Line, PAD, type Style, TITLE } from "./map-layout.ts";

const STYLES: Record<Style, { fill: string; stroke: string; dashed?: boolean }> = {
  source: { fill: "#f1f3f5", stroke: "#868e96" },
  pipeline: { fill: "#f8f9fa", stroke: "#343a40" },
  vertex: { fill: "#ffffff", stroke: "#adb5bd" },
  proxy: { fill: "#fff9db", stroke: "#e67700" },
  store: { fill: "#e7f5ff", stroke: "#1c7ed6" },
  unused: { fill: "#ffffff", stroke: "#adb5bd", dashed: true },
  pool: { fill: "#ffffff", stroke: "#343a40" },
};

/** Of pools, as a stripe on them and on the vertices that run there; each also says its pool's name. */
const COLOURS = ["#2f9e44", "#9c36b5", "#e8590c", "#1971c2", "#c2255c", "#5f3dc4", "#0c8599", "#846358"];

/** Of lines, by their source. */
const DASHES = ["", "6 3", "2 3", "9 3 2 3"];

const INK = "#212529";
const FAINT = "#495057";

export function svgOf({ width, height, heading, boxes, lines }: Layout): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" font-family="ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace">`,
    `<title>${escaped(heading)}</title>`,
    "<desc>Pipelines with their vertices, their parts of etcd and NATS, and GPU pools. An arrow leads from who connects to what it may reach.</desc>",
    `<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="${FAINT}"/></marker></defs>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="${PAD * 2}" y="${PAD * 2 + FONT.heading}" font-size="${FONT.heading}" fill="${INK}">${escaped(heading)}</text>`,
    ...boxes.map(boxSvg),
    ...lines.map(lineSvg),
    "</svg>",
    "",
  ].join("\n");
}

function boxSvg({ style, x, y, w, h, lines, title, pool }: Box): string {
  const { fill, stroke, dashed } = STYLES[style];
  const texts = lines.map((line, index) =>
    index === 0
      ? `<text x="${x + PAD}" y="${y + TITLE - 9}" font-size="${FONT.title}" font-weight="bold" fill="${INK}">${escaped(line)}</text>`
      : `<text x="${x + PAD}" y="${y + TITLE - 9 + index * LINE}" font-size="${FONT.text}" fill="${FAINT}">${escaped(line)}</text>`,
  );
  return [
    "<g>",
    ...(title ? [`<title>${escaped(title)}</title>`] : []),
    `<rect x="${x}" y="${y}" width="${w}" height="${h}" rx="4" fill="${fill}" stroke="${stroke}"${dashed ? ' stroke-dasharray="4 3"' : ""}/>`,
    ...(pool === undefined
      ? []
      : [`<rect x="${x}" y="${y}" width="5" height="${h}" rx="2" fill="${COLOURS[pool % COLOURS.length]}"/>`]),
    ...texts,
    "</g>",
  ].join("");
}

function lineSvg({ points, arrow, source = 0, label }: Line): string {
  const dashes = DASHES[source % DASHES.length];
  const path = points.map(([x, y], index) => `${index === 0 ? "M" : "L"}${x} ${y}`).join("");
  const text = label
    ? `<text x="${label.x}" y="${label.y}" font-size="${FONT.label}" fill="${FAINT}">${escaped(label.text)}</text>`
    : "";
  return `<path d="${path}" fill="none" stroke="${FAINT}"${dashes ? ` stroke-dasharray="${dashes}"` : ""}${arrow ? ' marker-end="url(#arrow)"' : ""}/>${text}`;
}

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/** Characters that XML 1.0 has no way to write become a replacement. */
const escaped = (text: string): string =>
  text
    .replaceAll(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, "\uFFFD")
    .replaceAll(/[&<>"']/g, (character) => ENTITIES[character] as string);
