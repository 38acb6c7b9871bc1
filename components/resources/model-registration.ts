import type * as pulumi from "@pulumi/pulumi";
import { deleted } from "./deleted.ts";
import type { TenantPartArgs } from "./part.ts";
import { ForwardedResource, MODULE, stub } from "./stub.ts";

const provider = stub("model-registration");

export interface ModelRegistrationArgs extends TenantPartArgs {
  /** As clients ask for it, for example `deepseek-ai/DeepSeek-R1-Distill-Llama-8B`. */
  model: pulumi.Input<string>;
  /** The namespace under which the tenant's workers register in Dynamo. */
  dynamoNamespace: pulumi.Input<string>;
  /** The tenant's Kubernetes namespace. */
  namespace: pulumi.Input<string>;
  /** Where it is served, inside the cluster. */
  url: pulumi.Input<string>;
  /** Whether it is served now; false withdraws the registration. */
  serving: pulumi.Input<boolean>;
  /** Whether old frontends of Dynamo shall learn of it, by keys that pipelines share. */
  legacyAlias: pulumi.Input<boolean>;
}

/** That a tenant serves a model, in the platform's registry. Its deletion withdraws that; so does the tenant's release. */
export class ModelRegistration extends ForwardedResource {
  static readonly __pulumiType = `pulumi-nodejs:dynamic/${MODULE}:ModelRegistration`;
  /** When it was published, as ISO 8601; empty while the model is not served. */
  declare readonly since: pulumi.Output<string>;
  /** Keys for old frontends that somebody outside wrote, and that were left as they are. */
  declare readonly foreign: pulumi.Output<string[]>;

  constructor(name: string, args: ModelRegistrationArgs, opts?: pulumi.CustomResourceOptions) {
    const outputs = { since: undefined, foreign: undefined };
    super(provider, name, { ...args, ...outputs }, deleted(name, opts), "ModelRegistration");
  }
}
