/**
 * A worker of `bench:restart`, in a process of its own as a pod would be. `ringfence` is the runtime's; `naive` is the
 * article's: registered under a lease that nobody gives back, and gone at SIGTERM with whatever it was doing.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { HeldKey } from "../components/stores/etcd-held.ts";
import { openConnection } from "../runtime/connection.ts";
import { serve, type Worker } from "../runtime/index.ts";
import { instancesOf, subjectOf } from "../runtime/registration.ts";
import { decode, encode } from "../runtime/wire.ts";

export interface WorkerSpec {
  kind: "ringfence" | "naive";
  endpoint: string;
  /** Seconds. */
  leaseTtl: number;
  /** Milliseconds that the handler works. */
  workMs: number;
}

export interface Answer {
  by: string;
}

const { kind, endpoint, leaseTtl, workMs } = JSON.parse(process.argv[2] ?? "") as WorkerSpec;
const id = kind === "naive" ? await serveNaively() : await serveWell();
process.send?.(id);

async function serveWell(): Promise<string> {
  const worker: Worker = await serve(
    endpoint,
    workMs > 0 ? () => sleep(workMs, { by: worker.instance }) : () => ({ by: worker.instance }),
    { leaseTtl, propagationSeconds: 2, port: false },
  );
  return worker.instance;
}

async function serveNaively(): Promise<string> {
  const { bus, etcd, prefix } = await openConnection("naive worker", {});
  const name = randomBytes(6).toString("hex");
  const subject = subjectOf(endpoint, name);
  bus.subscribe(subject, async ({ data, reply }) => {
    decode(data, "j");
    if (workMs > 0) await sleep(workMs);
    bus.publish(reply, encode({ by: name } satisfies Answer), {});
  });
  await bus.flush();
  const value = () => JSON.stringify({ id: name, subject, rollout: "", started: Date.now(), host: "" });
  const silent = { restored: () => undefined, trouble: () => undefined };
  await HeldKey.hold(
    etcd,
    { key: instancesOf(prefix, endpoint) + name, value, ttl: leaseTtl, withinMs: 10_000 },
    silent,
  );
  process.on("SIGTERM", () => process.exit(0));
  return name;
}
