/**
 * The loader: a sidecar beside an engine, as components/adapter-loader.ts puts it there. It reads its environment, and ends
 * with its pod.
 */
import { VisibleError } from "../components/plan/visible-error.ts";
import { Cluster } from "./adapter-cluster.ts";
import { Engine } from "./adapter-engine.ts";
import { Keeper } from "./adapter-keeper.ts";
import { serveHealth } from "./health.ts";
import { integerOf } from "./settings.ts";
import { endWithSignals } from "./signals.ts";

function needed(name: string): string {
  const value = process.env[name];
  if (!value) throw new VisibleError(`${name}: found nothing; the loader is started by a vertex with 'adapters'`);
  return value;
}

const port = (name: string) => integerOf(name, undefined, needed(name), { least: 1, fallback: 0 });
const say = (line: string) => process.stderr.write(`${new Date().toISOString()} ${line}\n`);

try {
  const host = process.env.RINGFENCE_BIND_ADDRESS;
  const pod = needed("POD_NAME");
  const cluster = new Cluster({
    server: `https://${bracketed(needed("KUBERNETES_SERVICE_HOST"))}:${needed("KUBERNETES_SERVICE_PORT")}`,
    tokenDirectory: needed("RINGFENCE_TOKEN_DIRECTORY"),
    namespace: needed("POD_NAMESPACE"),
    pod,
    uid: needed("POD_UID"),
    pipeline: needed("RINGFENCE_PIPELINE"),
    vertex: needed("RINGFENCE_VERTEX"),
    changed: () => keeper.wake(),
    say,
  });
  // One network for all of a pod's containers.
  const engine = new Engine({ host: host ?? "127.0.0.1", port: port("RINGFENCE_ENGINE_PORT") });
  const keeper = new Keeper({ engine, cluster, pod, directory: needed("RINGFENCE_ADAPTERS_DIRECTORY"), say });
  const health = await serveHealth(
    { dead: () => undefined, unready: () => keeper.unsettled, metrics: () => "" },
    { host: host ?? "0.0.0.0", port: port("RINGFENCE_ADAPTERS_PORT") },
  );
  endWithSignals({
    stop: async () => {
      keeper.stop();
      cluster.stop();
      health.close();
      return true;
    },
  });
  await keeper.run();
} catch (error) {
  say((error as Error).message);
  process.exit(1);
}

/** An IPv6 address, as URLs have it. */
function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}
