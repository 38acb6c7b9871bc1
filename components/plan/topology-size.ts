/** How much room a topology takes where it is kept and told, and what of it would be refused in the middle of an `up`. */
import { brotliCompressSync, brotliDecompressSync, constants } from "node:zlib";
import { type Problem, pathText } from "./problem.ts";
import { FLOW_VARIABLE, type TopologyPlan, type VertexFlow } from "./topology.ts";

/** Plans whose JSON is longer are kept compressed; the others stay readable. */
const READABLE = 2 ** 18;
/** No JSON begins so. */
const COMPRESSED = "brotli:";

/** A plan as the registry keeps it. */
export function packed(plan: TopologyPlan): string {
  const json = JSON.stringify(plan);
  return json.length > READABLE ? compressed(json) : json;
}

/** The same few names stand all over a plan, far from each other: little effort takes nine tenths away. */
function compressed(json: string): string {
  const { BROTLI_PARAM_QUALITY, BROTLI_PARAM_LGWIN, BROTLI_MAX_WINDOW_BITS } = constants;
  const params = { [BROTLI_PARAM_QUALITY]: 4, [BROTLI_PARAM_LGWIN]: BROTLI_MAX_WINDOW_BITS };
  return COMPRESSED + brotliCompressSync(json, { params }).toString("base64");
}

/** @param text what `packed` gave */
export function unpacked(text: string): TopologyPlan {
  const json = text.startsWith(COMPRESSED)
    ? brotliDecompressSync(Buffer.from(text.slice(COMPRESSED.length), "base64")).toString()
    : text;
  return JSON.parse(json) as TopologyPlan;
}

/** etcd's default `--max-request-bytes`, but for keys and guards. */
const REQUEST_BYTES = 1.5 * 2 ** 20 - 2 ** 14;

/** Linux' most for one environment variable, its name and its end included (MAX_ARG_STRLEN with pages of 4 KiB). */
const VARIABLE_BYTES = 2 ** 17;

/**
 * What is too large to be kept, or to be told to a vertex.
 * @param root the path of the pipeline
 */
export function sizeProblems(plan: TopologyPlan, root: string): Problem[] {
  const found: Problem[] = [];
  const json = JSON.stringify(plan);
  const beside = besidePlan(plan);
  // To compress it takes long, and few are as large.
  if (json.length + beside > REQUEST_BYTES && compressed(json).length + beside > REQUEST_BYTES) {
    const [vertices, buffers, buckets] = [plan.vertices, plan.buffers, plan.buckets].map(
      (of) => Object.keys(of).length,
    );
    const reason =
      `found ${vertices} vertices, ${buffers} buffers and ${buckets} buckets, ${compressed(json).length + beside} bytes in a change of them; ` +
      `expected at most ${REQUEST_BYTES}, for etcd takes no larger request by default: make several pipelines of it, or give it fewer partitions or shorter names`;
    found.push({ path: pathText(root, ["edges"]), reason });
  }
  if (json.length <= VARIABLE_BYTES) return found;
  for (const [vertex, flow] of Object.entries(plan.vertices)) {
    if (namesIn(flow) * NAME_BYTES <= VARIABLE_BYTES) continue;
    const bytes = `${FLOW_VARIABLE}=${JSON.stringify(flow)}`.length + 1;
    if (bytes <= VARIABLE_BYTES) continue;
    const reason =
      `found edges and partitions that take ${bytes} bytes of its pods' variable ${FLOW_VARIABLE}; ` +
      `expected at most ${VARIABLE_BYTES}, for Linux takes no longer one: let fewer edges lead to and from it, or give its neighbours fewer partitions`;
    found.push({ path: pathText(root, ["vertices", vertex]), reason });
  }
  return found;
}

/** More than any buffer, bucket or edge takes in a flow: names of vertices have 63 characters at most. */
const NAME_BYTES = 160;

/** How many there are, at least one. */
const namesIn = ({ in: inlets, out, bucketNames }: VertexFlow): number =>
  out.reduce((sum, { buffers }) => sum + 1 + buffers.length, 1 + inlets.length + bucketNames.length);

/**
 * What is written beside the plan, at most, when one topology becomes another of its size that has nothing in common with it: each
 * vertex' name and digest once for the one and twice for the other, and the names of all that is retired.
 */
function besidePlan({ vertices, buffers, buckets, digest }: TopologyPlan): number {
  const places = Object.keys(vertices).map((vertex) => `"${vertex}":"${digest}",`);
  const retired = [
    ...Object.values(buffers).map(({ name, vertex }) => `"${name}":"${vertex}",`),
    ...Object.keys(buckets).map((name) => `"${name}",`),
  ];
  return 3 * places.join("").length + retired.join("").length;
}
