import { local } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { refusal } from "./judged.ts";
import type { Pipeline } from "./pipeline.ts";

export interface SmokeTestArgs {
  /** The pipeline to try, one with an endpoint. */
  pipeline: Pipeline;
  /** For kubectl and curl, for example KUBECONFIG. @default that of `pulumi up` */
  environment?: pulumi.Input<Record<string, pulumi.Input<string>>>;
}

/**
 * Sends a pipeline its own request whenever it was changed, and fails the `up` unless it is answered well. It needs kubectl
 * and curl where `pulumi up` runs, and Pulumi's plugin `command`.
 */
export class SmokeTest extends pulumi.ComponentResource {
  static readonly __pulumiType = "ringfence:index:SmokeTest";
  /** What the pipeline answered; of a paused one, that it is paused. */
  readonly answer: pulumi.Output<string>;

  /** @throws pulumi.ResourceError when the pipeline has no endpoint */
  constructor(name: string, args: SmokeTestArgs, opts?: pulumi.ComponentResourceOptions) {
    super(SmokeTest.__pulumiType, name, {}, opts);
    const { pipeline, environment } = args;
    const { smokeTest, phase, planDigest, tenant } = pipeline;
    if (!smokeTest) {
      const reason = "found one without an endpoint; give it 'endpoint', or a vertex with a port 'http'";
      throw refusal([{ path: `${name}.pipeline`, reason }], this);
    }
    const request = new local.Command(
      `${name}-request`,
      {
        create: pulumi.all([phase, smokeTest]).apply(([now, test]) => (now === "Paused" ? "echo paused" : test)),
        // Another value replaces the command, which runs it again.
        triggers: [planDigest, tenant.generation, tenant.credentialsDigest],
        ...(environment && { environment }),
      },
      // All of it: the vertices are ready by then.
      { parent: this, dependsOn: pipeline },
    );
    this.answer = request.stdout;
    this.registerOutputs({ answer: this.answer });
  }
}
