/**
 * Speaks as much of vLLM's HTTP API as adapters need, in a process of its own: /health, /v1/models, /v1/completions, /pooling,
 * /v1/load_lora_adapter, /v1/unload_lora_adapter (answers and errors as vllm/entrypoints/serve/lora has them). It runs no
 * model: a completion says which process answered, and of what artifact.
 *
 * Environment: PORT (0 takes any), MODEL, RINGFENCE_BIND_ADDRESS, START_MS until it listens, LOAD (see
 * Behaviour). It prints `listening on PORT`.
 * `POST /stand-in` takes its behaviour, for tests.
 */
import { existsSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { isAbsolute, join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";

export interface Behaviour {
  /** What comes of a request to load. `unlisted`: it says yes and does not have it; `mute`: it lists it, and cannot answer with it; `kills`: its process ends. */
  load: "works" | "fails" | "hangs" | "unlisted" | "mute" | "kills";
  /** How long it takes, milliseconds. */
  loadMs: number;
  /** Whether its model is one for embeddings, which has no completions: as vLLM 0.11 has it. */
  pools: boolean;
  /** Whether anything is answered at all. */
  hangs: boolean;
}

let behaviour: Behaviour = {
  load: (process.env.LOAD as Behaviour["load"] | undefined) ?? "works",
  loadMs: 0,
  pools: false,
  hangs: false,
};
const base = process.env.MODEL ?? "base";
const adapters = new Map<string, { root: string; mute: boolean; says: string }>();
/** Milliseconds since the epoch, by adapter. */
const loadedAt: Record<string, number> = {};

const server = createServer(async (request, response) => {
  const answer = (status: number, body: unknown) =>
    response
      .writeHead(status, { "content-type": typeof body === "string" ? "text/plain" : "application/json" })
      .end(typeof body === "string" ? body : JSON.stringify(body));
  const error = (status: number, type: string, message: string) =>
    answer(status, { error: { message, type, param: null, code: status } });
  const path = `${request.method} ${request.url?.split("?", 1)[0]}`;
  if (path === "POST /stand-in") {
    behaviour = { ...behaviour, ...((await json(request)) as Partial<Behaviour>) };
    return answer(200, behaviour);
  }
  if (behaviour.hangs) return;
  switch (path) {
    case "GET /health":
      return answer(200, "");
    case "GET /stand-in":
      return answer(200, { pid: process.pid, loadedAt });
    case "GET /v1/models": {
      const lora = [...adapters].map(([id, { root }]) => ({ id, object: "model", root, parent: base }));
      return answer(200, { object: "list", data: [{ id: base, object: "model", root: base, parent: null }, ...lora] });
    }
    case "POST /pooling":
    case "POST /v1/completions": {
      if (behaviour.pools !== (path === "POST /pooling"))
        return error(behaviour.pools ? 200 : 404, "BadRequestError", "The model does not support this API");
      const { model = "" } = (await json(request)) as { model?: string };
      const adapter = adapters.get(model);
      if (model !== base && (!adapter || adapter.mute))
        return error(404, "NotFoundError", `The model \`${model}\` does not exist.`);
      const said = { pid: process.pid, adapter: adapter?.says ?? "" };
      return answer(200, { object: "text_completion", model, choices: [{ index: 0, text: JSON.stringify(said) }] });
    }
    case "POST /v1/load_lora_adapter": {
      const { lora_name: name = "", lora_path: root = "" } = (await json(request)) as Record<string, string>;
      await sleep(behaviour.loadMs);
      if (behaviour.load === "hangs") return;
      if (behaviour.load === "kills") process.exit(1);
      if (behaviour.load === "fails") return error(500, "InternalServerError", "CUDA error: out of memory");
      if (adapters.has(name))
        return error(400, "InvalidUserInput", `The lora adapter '${name}' has already been loaded.`);
      const config = join(root, "adapter_config.json");
      if (!isAbsolute(root) || !existsSync(config)) return error(404, "NotFoundError", `No adapter found for ${root}`);
      if (behaviour.load !== "unlisted")
        adapters.set(name, { root, mute: behaviour.load === "mute", says: readFileSync(config, "utf8") });
      loadedAt[name] = performance.timeOrigin + performance.now();
      return answer(200, `Success: LoRA adapter '${name}' added successfully.`);
    }
    case "POST /v1/unload_lora_adapter": {
      const { lora_name: name = "" } = (await json(request)) as Record<string, string>;
      if (!adapters.delete(name)) return error(404, "NotFoundError", `The lora adapter '${name}' cannot be found.`);
      return answer(200, `Success: LoRA adapter '${name}' removed successfully.`);
    }
    default:
      return error(404, "NotFoundError", "Not Found");
  }
});

async function json(request: IncomingMessage): Promise<unknown> {
  return JSON.parse((await text(request)) || "{}");
}

await sleep(Number(process.env.START_MS ?? 0));
server.listen(Number(process.env.PORT ?? 8000), process.env.RINGFENCE_BIND_ADDRESS ?? "127.0.0.1", () => {
  process.stdout.write(`listening on ${(server.address() as AddressInfo).port}\n`);
});
process.on("SIGTERM", () => {
  // Ends as vLLM does: nothing new, and what runs to its end.
  server.close(() => process.exit(0));
  server.closeIdleConnections();
  setTimeout(() => process.exit(0), 2_000);
});
