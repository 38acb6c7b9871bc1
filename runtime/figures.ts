/** Answers whoever asks a pipeline's processes how they do: `ringfence status`. */
import { FIGURES_SUBJECT, type Figures } from "../components/plan/figures.ts";
import type { Connection } from "./connection.ts";
import { encode } from "./wire.ts";

/**
 * @param own what this part of the process does
 * @returns a function that ends it
 */
export function answerFigures(
  { bus, vertex, host }: Connection,
  own: () => Omit<Figures, "vertex" | "host">,
): () => Promise<void> {
  return bus.subscribe(FIGURES_SUBJECT, ({ reply }) => {
    if (reply) bus.publish(reply, encode({ vertex, host, ...own() } satisfies Figures), {});
  });
}
