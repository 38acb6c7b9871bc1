import * as pulumi from "@pulumi/pulumi";
import { refusal } from "./judged.ts";
import type { Pipeline } from "./pipeline.ts";
import { modelNameProblem } from "./plan/models.ts";
import { deleted } from "./resources/deleted.ts";
import { ModelRegistration } from "./resources/model-registration.ts";

export interface ModelRouteArgs {
  /** The pipeline that serves the model: one with an endpoint. */
  pipeline: Pipeline;
  /** As clients ask for it, for example `deepseek-ai/DeepSeek-R1-Distill-Llama-8B`: at most 200 characters. */
  model: string;
  /**
   * Let frontends of Dynamo 0.1 to 0.2.0 at etcd's root list the model: by `public/components/http/models/{chat,completion}/<model>`,
   * the one pair of keys that pipelines share. It is kept for all routes of the model that ask for it, and left alone where
   * somebody outside wrote it. See docs/models.md. @default false
   */
  legacyAlias?: boolean;
}

/** By pipeline, the models that its routes have: two of one model would be one registration. */
const routed = new WeakMap<Pipeline, Map<string, string>>();

/**
 * Registers that a pipeline serves a model: after all of its vertices are ready, until before the first of them goes, and
 * not while it is paused. Any number of pipelines may serve one model.
 */
export class ModelRoute extends pulumi.ComponentResource {
  static readonly __pulumiType = "ringfence:index:ModelRoute";
  readonly model: string;
  /** Where this pipeline serves it, inside the cluster. */
  readonly url: pulumi.Output<string>;
  /** When it was published, as ISO 8601; empty while the pipeline is paused. */
  readonly since: pulumi.Output<string>;
  /** Keys for old frontends that somebody outside wrote, and that were left as they are; none without `legacyAlias`. */
  readonly foreign: pulumi.Output<string[]>;

  /** @throws pulumi.ResourceError when the model cannot be called so, or the pipeline has no endpoint or another route of the model */
  constructor(name: string, args: ModelRouteArgs, opts?: pulumi.ComponentResourceOptions) {
    super(ModelRoute.__pulumiType, name, {}, deleted(name, opts));
    const { pipeline, model, legacyAlias = false } = args;
    const refuse = (property: string, reason: string) => refusal([{ path: `${name}.${property}`, reason }], this);
    const problem = modelNameProblem(model);
    if (problem) throw refuse("model", `found '${model}'; it ${problem}`);
    const { url, tenant, dynamoNamespace, namespace, phase } = pipeline;
    if (!url) {
      const way = "give it 'endpoint', or a vertex with a port 'http'";
      throw refuse("pipeline", `found one without an endpoint, so nobody can ask it for a model; ${way}`);
    }
    const others = routed.get(pipeline) ?? new Map<string, string>();
    const other = others.get(model);
    if (other !== undefined)
      throw refuse("model", `found '${model}', which route '${other}' of this pipeline has already`);
    routed.set(pipeline, others.set(model, name));

    const serving = phase.apply((now) => now === "Running");
    const registration = new ModelRegistration(
      `${name}-registration`,
      {
        ...tenant.part,
        model,
        dynamoNamespace,
        namespace,
        url,
        serving,
        legacyAlias,
      },
      // A pipeline that pauses does not wait with its withdrawal until its pods are gone.
      { parent: this, dependsOn: serving.apply((now): pulumi.Resource[] => (now ? [pipeline] : [])) },
    );
    this.model = model;
    this.url = url;
    this.since = registration.since;
    this.foreign = registration.foreign;
    this.registerOutputs({ model, url, since: this.since, foreign: this.foreign });
  }
}
