/** A case through the whole Pulumi CLI: `pulumi` is killed while its provider is about to write, or has just written. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { clearDeadLocks } from "../../cli/pulumi.ts";
import { op } from "../../components/stores/etcd-txn.ts";
import { readClaim } from "../../components/tenancy/registry.ts";
import { idle } from "../e2e/command.ts";
import { chat, Project, STACK } from "../e2e/scene.ts";
import type { Case } from "./cases.ts";
import type { Ground } from "./platform.ts";
import { nameClaimed } from "./play.ts";
import { type Proxied, proxied } from "./proxied.ts";

/** How late a write of a provider without a pulumi lands, milliseconds. */
const LATE_MS = 5_000;

const COMMANDS = { create: "up", delete: "destroy" } as Record<string, string>;

/** Plays a case to its end. @param names is told what all that was the tenant's is called */
export async function playWithPulumi(ground: Ground, each: Case<string>, names: Set<string>): Promise<void> {
  // The cluster is reached directly: Pulumi's own provider for it writes a lot, and watches.
  const by = await proxied(ground.platform.env, { cluster: false });
  const project = new Project(by.env, { pipelines: { chat } });
  names.add(project.realm);
  const { act, point, side, sequel } = each;
  const run = (command: string) => project.pulumi(command, "--yes", "--skip-preview");
  try {
    await project.pulumi("stack", "init");
    if (act === "delete") {
      await run("up");
      // As in the recording, the tenant has data, so that there is something to purge.
      const held = await readClaim(ground.stores.etcd, `${project.realm}/chat`);
      await ground.stores.etcd.txn([], [op.put(`${held?.claim.intents.prefix}config`, "1")]);
    }
    const { landed } = await killAt(project, by, each);
    await nameClaimed(names, ground, `${project.realm}/chat`);
    const env = { ...by.env, PULUMI_BACKEND_URL: `file://${join(project.directory, "state")}` };
    await clearDeadLocks({ root: project.directory, env }, STACK);
    if (sequel === "up and destroy") await upAgain(project);
    await nameClaimed(names, ground, `${project.realm}/chat`);
    await run("destroy");
    await landed;
    for (const zombie of project.processes("cmd/dynamic-provider")) await idle(zombie);
    assert.deepEqual(await project.resources(), []);
  } catch (error) {
    const trace = by.gate.points.map(({ name }) => `\n    ${name}`).join("");
    throw new Error(`${(error as Error).message}\n  ${project.realm}, ${side} ${point.name}; writes:${trace}`);
  } finally {
    project.close();
    by.close();
  }
}

/** The next `pulumi up`; after a `pulumi refresh` where its error asks for one: a write came late enough to end its stack. */
async function upAgain(project: Project): Promise<void> {
  const up = ["up", "--yes", "--skip-preview"];
  const { code, output } = await project.pulumiSpawn(...up).ended;
  if (code === 0) return;
  assert.match(output, /nothing may be claimed for it: run 'pulumi refresh'/);
  await project.pulumi("refresh", "--yes", "--skip-preview");
  await project.pulumi(...up);
}

/** Has pulumi killed at the write of the command. @returns `landed`: when the write has gone on */
async function killAt(
  project: Project,
  { gate }: Proxied,
  { act, point, side }: Case<string>,
): Promise<{ landed: Promise<void> }> {
  const landed = Promise.withResolvers<void>();
  let reached = false;
  gate.begin();
  gate.arm(point.name, side, async () => {
    reached = true;
    process.kill(lockHolder(project), "SIGKILL");
    await delay(LATE_MS);
    landed.resolve();
    return "pass";
  });
  const { code, output } = await project.pulumiSpawn(COMMANDS[act] ?? assert.fail(act), "--yes", "--skip-preview")
    .ended;
  assert(reached, `pulumi ended with ${code}, and never came to ${side} ${point.name}\n${output}`);
  assert.notEqual(code, 0, output);
  // Not awaited here: what comes next comes straight away.
  return { landed: landed.promise };
}

/** The pulumi that has the stack's lock. */
function lockHolder(project: Project): number {
  const directory = join(project.directory, "state/.pulumi/locks/organization/ringfence", STACK);
  const [file] = existsSync(directory) ? readdirSync(directory).filter((name) => name.endsWith(".json")) : [];
  assert(file, `${directory}: no lock`);
  return JSON.parse(readFileSync(join(directory, file), "utf8")).pid;
}
