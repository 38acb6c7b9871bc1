/** The benchmarks' pictures: plain SVG, to be read on a light and on a dark page. */

const WIDTH = 820;
const FONT = 13;

const STYLE = `
    text { fill: #1f2328; font: ${FONT}px Helvetica, Arial, sans-serif }
    .title { font-weight: bold; font-size: 15px }
    .small { font-size: 11px; fill: #59636e }
    .axis { stroke: #59636e; fill: none }
    .grid { stroke: #d1d9e0; fill: none }
    .goal { fill: #2da44e; opacity: 0.13 }
    .c0 { fill: #2da44e; stroke: #2da44e }
    .c1 { fill: #8250df; stroke: #8250df }
    .c2 { fill: #bc4c00; stroke: #bc4c00 }
    .line { fill: none; stroke-width: 2 }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc }
      .small { fill: #9198a1 }
      .axis { stroke: #9198a1 }
      .grid { stroke: #3d444d }
      .c0 { fill: #3fb950; stroke: #3fb950 }
      .c1 { fill: #ab7df8; stroke: #ab7df8 }
      .c2 { fill: #f0883e; stroke: #f0883e }
    }`;

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

const text = (x: number, y: number, words: string, more = "") =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${escaped(words)}</text>`;

const picture = (height: number, title: string, parts: string[]): string =>
  [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img">`,
    `  <title>${escaped(title)}</title>`,
    `  <style>${STYLE}\n  </style>`,
    `  ${text(20, 26, title, 'class="title"')}`,
    ...parts.map((part) => `  ${part}`),
    "</svg>\n",
  ].join("\n");

export interface BarChart {
  title: string;
  /** What each group's bars stand for, in their order. */
  bars: string[];
  groups: Array<{ label: string; bars: number[] }>;
  unit: string;
}

/** Groups of bars that lie on their side. */
export function barChart({ title, bars, groups, unit }: BarChart): string {
  const [left, top, thickness, gap] = [210, 76, 18, 16];
  const step = bars.length * thickness + gap;
  const most = Math.max(...groups.flatMap((group) => group.bars), Number.EPSILON);
  const scale = (WIDTH - left - 80) / most;
  const bottom = top + groups.length * step;
  const legend = bars.flatMap((bar, i) => [
    `<rect class="c${i}" x="${20 + i * 130}" y="42" width="12" height="12"/>`,
    text(38 + i * 130, 52, bar),
  ]);
  const drawn = groups.flatMap(({ label, bars: values }, group) => [
    text(left - 12, top + group * step + (bars.length * thickness) / 2 + 4, label, 'text-anchor="end"'),
    ...values.flatMap((value, i) => {
      const y = top + group * step + i * thickness;
      const width = Math.max(value * scale, 1);
      return [
        `<rect class="c${i}" x="${left}" y="${y}" width="${width.toFixed(1)}" height="${thickness - 3}"/>`,
        text(left + width + 6, y + thickness - 6, String(value)),
      ];
    }),
  ]);
  const axis = `<path class="axis" d="M${left} ${top - 6} V${bottom - gap + 6}"/>`;
  return picture(bottom + 24, title, [...legend, ...drawn, axis, text(left, bottom + 10, unit, 'class="small"')]);
}

export interface Point {
  x: number;
  y: number;
  label?: string;
}

export interface CurveChart {
  title: string;
  x: string;
  y: string;
  /** Where a point should lie: below both. */
  goal: { x: number; y: number };
  curves: Array<{ name: string; points: Point[] }>;
  /** Points of their own, each with its label, in the colour of that curve. */
  marks: Array<Point & { curve: number }>;
}

/** Curves over two logarithmic axes. */
export function curveChart({ title, x, y, goal, curves, marks }: CurveChart): string {
  const [left, right, top, bottom] = [70, WIDTH - 30, 76, 440];
  const points = [...curves.flatMap((curve) => curve.points), ...marks];
  const range = (values: number[]) => [Math.min(...values) / 1.4, Math.max(...values) * 1.4] as const;
  const place =
    ([least, most]: readonly [number, number], from: number, to: number) =>
    (value: number) =>
      from + ((Math.log(value) - Math.log(least)) / (Math.log(most) - Math.log(least))) * (to - from);
  const spans = {
    x: range([...points.map((point) => point.x), goal.x]),
    y: range([...points.map((point) => point.y), goal.y]),
  };
  const [px, py] = [place(spans.x, left, right), place(spans.y, bottom, top)];
  const at = (point: Point) => `${px(point.x).toFixed(1)} ${py(point.y).toFixed(1)}`;
  const grid = [
    ...ticks(spans.x).flatMap((tick) => [
      `<path class="grid" d="M${px(tick).toFixed(1)} ${top} V${bottom}"/>`,
      text(px(tick), bottom + 18, `${tick}×`, 'text-anchor="middle"'),
    ]),
    ...ticks(spans.y).flatMap((tick) => [
      `<path class="grid" d="M${left} ${py(tick).toFixed(1)} H${right}"/>`,
      text(left - 8, py(tick) + 4, `${tick}×`, 'text-anchor="end"'),
    ]),
  ];
  const goalArea = `<rect class="goal" x="${left}" y="${py(goal.y).toFixed(1)}" width="${(px(goal.x) - left).toFixed(1)}" height="${(bottom - py(goal.y)).toFixed(1)}"/>`;
  const drawn = curves.flatMap(({ name, points: along }, i) => [
    `<path class="c${i} line" style="fill:none" d="M${along.map(at).join(" L")}"/>`,
    ...along.flatMap((point) => [
      `<circle class="c${i}" cx="${px(point.x).toFixed(1)}" cy="${py(point.y).toFixed(1)}" r="3.5"/>`,
      text(px(point.x) + 6, py(point.y) - 6, point.label ?? "", 'class="small"'),
    ]),
    `<rect class="c${i}" x="${20 + i * 250}" y="42" width="12" height="12"/>`,
    text(38 + i * 250, 52, name),
  ]);
  const marked = marks.flatMap((mark) => [
    `<path class="c${mark.curve}" d="M${at(mark)} m0 -8 l8 8 l-8 8 l-8 -8 z"/>`,
    text(px(mark.x) + 11, py(mark.y) + 4, mark.label ?? ""),
  ]);
  return picture(bottom + 48, title, [
    goalArea,
    ...grid,
    `<path class="axis" d="M${left} ${top} V${bottom} H${right}"/>`,
    ...drawn,
    ...marked,
    text(left, top - 8, y, 'class="small"'),
    text(right, bottom + 38, x, 'class="small" text-anchor="end"'),
  ]);
}

/** 1, 2 and 5 of each power of ten in between. */
function ticks([least, most]: readonly [number, number]): number[] {
  const found: number[] = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.log10(most); power++)
    found.push(...[1, 2, 5].map((digit) => Number((digit * 10 ** power).toPrecision(1))));
  return found.filter((tick) => tick >= least && tick <= most);
}

export interface TimelineChart {
  title: string;
  x: string;
  y: string;
  /** One above the other, over the same time; a mark is a moment, on the axis of x. */
  lanes: Array<{ name: string; dots: Array<{ x: number; y: number; bad: boolean }>; marks: number[] }>;
}

/** What happened when: a dot for each request, a logarithmic axis for each lane. Equal dots are drawn once. */
export function timelineChart({ title, x, y, lanes }: TimelineChart): string {
  const [left, right, top, height, gap] = [70, WIDTH - 30, 70, 130, 46];
  const dots = lanes.flatMap((lane) => lane.dots);
  const end = Math.max(...dots.map((dot) => dot.x), 1);
  const [least, most] = [Math.min(...dots.map((dot) => dot.y)), Math.max(...dots.map((dot) => dot.y))];
  const px = (value: number) => left + (value / end) * (right - left);
  const share = (value: number) => (Math.log(value) - Math.log(least)) / (Math.log(most) - Math.log(least) || 1);
  const drawn = lanes.flatMap(({ name, dots: own, marks }, i) => {
    const bottom = top + i * (height + gap) + height;
    const py = (value: number) => bottom - share(value) * height;
    const path = (bad: boolean) => {
      const places = own
        .filter((dot) => dot.bad === bad)
        .map((dot) => `M${px(dot.x).toFixed(0)} ${py(dot.y).toFixed(0)}h1`);
      return `<path class="${bad ? "c2" : "c0"} line" d="${[...new Set(places)].join("")}"/>`;
    };
    return [
      text(left, bottom - height - 8, name),
      ...ticks([least, most])
        .filter((tick) => Number.isInteger(Math.log10(tick)))
        .flatMap((tick) => [
          `<path class="grid" d="M${left} ${py(tick).toFixed(1)} H${right}"/>`,
          text(left - 8, py(tick) + 4, String(tick), 'class="small" text-anchor="end"'),
        ]),
      ...marks.map(
        (mark) => `<path class="c1 line" d="M${px(mark).toFixed(1)} ${bottom} v-${height}" stroke-dasharray="3 3"/>`,
      ),
      path(false),
      path(true),
      `<path class="axis" d="M${left} ${bottom - height} V${bottom} H${right}"/>`,
    ];
  });
  const bottom = top + lanes.length * (height + gap) - gap;
  const step = Math.max(1, Math.round(end / 10));
  const seconds = Array.from({ length: Math.floor(end / step) + 1 }, (_, i) => i * step).map((second) =>
    text(px(second), bottom + 16, String(second), 'class="small" text-anchor="middle"'),
  );
  const words = [text(left, 46, y, 'class="small"'), text(right, bottom + 34, x, 'class="small" text-anchor="end"')];
  return picture(bottom + 48, title, [...words, ...drawn, ...seconds]);
}
