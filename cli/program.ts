/** The `ringfence` command: what it understands. */
import { Command } from "commander";
import { type AdoptOptions, adoptCommand } from "./adopt.ts";
import { auditCommand } from "./audit.ts";
import { devDown, devEnv, devReset, devStatus, devUp } from "./dev.ts";
import { doctor } from "./doctor.ts";
import { mapCommand } from "./map.ts";
import { type RequestOptions, requestCommand } from "./request.ts";
import { destroy, start } from "./start.ts";
import { type StatusOptions, statusCommand } from "./status.ts";
import { sweepCommand } from "./sweep.ts";

export const program = new Command("ringfence").description(
  "Inference pipelines that keep to themselves and leave nothing behind",
);

/** Ends with the code that the command returns; an error is one line on stderr, its stack with RINGFENCE_DEBUG. */
const run =
  <Options>(command: (options: Options) => Promise<unknown>) =>
  async (options: Options): Promise<void> => {
    try {
      const code = await command(options);
      process.exitCode = typeof code === "number" ? code : 0;
    } catch (error) {
      console.error(process.env.RINGFENCE_DEBUG ? error : `error: ${(error as Error).message}`);
      process.exitCode = 1;
    }
  };

program.command("start").description("bring everything and run 'pulumi up' on the dev stack").action(run(start));
program
  .command("destroy")
  .description("run 'pulumi destroy' on the dev stack and prove that nothing is left")
  .action(run(destroy));
program
  .command("audit")
  .description("list tenants, and whatever no live claim accounts for; exit code 3 when something is found")
  .option("--json", "print JSON")
  .option("--metrics [file]", "print Prometheus' text instead, or write it to a file beside what is printed")
  .action(run(auditCommand));
program
  .command("adopt")
  .description(
    "put under a claim what has none: a Dynamo deployment from before Ringfence, or tenants that a restored etcd lacks",
  )
  .argument("[logical-name]", "<realm>/<pipeline>, for a deployment")
  .option("--dynamo-namespace <namespace...>", "its Dynamo namespaces, those of workers with a suffix included")
  .option("--from-state <file>", "claim again the tenants of this file, printed by 'pulumi stack export'; - is stdin")
  .action((logicalName: string | undefined, options: AdoptOptions) =>
    run(() => adoptCommand(logicalName, options))(undefined),
  );
program
  .command("sweep")
  .description("release the claims of stacks that are gone, by the state of the backend that each was recorded in")
  .option("--dry-run", "print what would be released")
  .option("--yes", "do not ask")
  .option("--claim <id...>", "release these claims and no others, also when nothing tells whose they are")
  .action(run(sweepCommand));
program
  .command("map")
  .description("draw a stack as an SVG: pools, pipelines, their parts of etcd and NATS, who may talk to whom")
  .option("--stack <name>", "a stack of this project; else the selected one")
  .option("--state <file>", "draw what 'pulumi stack export' printed; - is stdin")
  .option("--output <file>", "write it there, not to stdout")
  .action(run(mapCommand));
program
  .command("status")
  .description("how pipelines do: replicas, instances, requests in flight, rate, times, retries, failures")
  .argument("[pipeline]", "its name, or <realm>/<name>; else all")
  .option("--watch", "again every two seconds")
  .option("--json", "print JSON")
  .action((pipeline: string | undefined, options: StatusOptions) =>
    run(() => statusCommand(pipeline, options))(undefined),
  );
program
  .command("request")
  .description("send a pipeline a request over its own planes, as its own software would")
  .argument("<pipeline>", "its name, or <realm>/<name>")
  .argument("<json>", "what is sent")
  .option("--endpoint <name>", "which of its endpoints; else the only one")
  .action((pipeline: string, json: string, options: RequestOptions) =>
    run(() => requestCommand(pipeline, json, options))(undefined),
  );
program.command("doctor").description("list each tool, its version and where it came from").action(run(doctor));

const dev = program.command("dev").description("the embedded etcd, NATS and Kubernetes");
dev
  .command("up")
  .description("start what does not run")
  .option("--tls", "etcd and NATS speak TLS only, to clients with a certificate; stays so until reset")
  .option("--real-node", "add a node that runs the demo's pods as containers (root, Linux); stays until down")
  .action(run(devUp));
dev.command("down").description("stop all servers; their data stay").action(run(devDown));
dev.command("reset").description("stop all servers and forget their data").action(run(devReset));
dev
  .command("status")
  .description("what runs, where, and where the admin's credentials are")
  .option("--json", "print JSON")
  .action(run(devStatus));
dev.command("env").description(`print what a shell needs: eval "$(npx ringfence dev env)"`).action(run(devEnv));
