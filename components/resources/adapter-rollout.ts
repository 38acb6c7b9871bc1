import type * as pulumi from "@pulumi/pulumi";
import { deleted } from "./deleted.ts";
import { ForwardedResource, MODULE, stub } from "./stub.ts";

const provider = stub("adapter-rollout");

export interface AdapterRolloutArgs {
  /** The platform's name. */
  platform: pulumi.Input<string>;
  /** The tenant's generation and Kubernetes namespace. */
  generation: pulumi.Input<string>;
  namespace: pulumi.Input<string>;
  vertex: pulumi.Input<string>;
  /** The generation of the adapter that shall serve, as JSON (plan/adapter.ts, `adapterRecord`). */
  record: pulumi.Input<string>;
  /** Pods that have to have it and be ready before traffic moves. */
  minReady: pulumi.Input<number>;
  /** Pods that the vertex shall have. */
  pods: pulumi.Input<number>;
  /** How long it waits for them at most, seconds. */
  timeoutSeconds: pulumi.Input<number>;
}

/**
 * Waits until enough pods have an adapter's generation. When they do not get it, what served before goes on serving, and
 * `problem` says why; where nothing has served before, its creation fails. Its deletion does nothing.
 */
export class AdapterRollout extends ForwardedResource {
  static readonly __pulumiType = `pulumi-nodejs:dynamic/${MODULE}:AdapterRollout`;
  /** The generation that serves, as JSON. */
  declare readonly serving: pulumi.Output<string>;
  /** Why the one that shall does not; empty when it does. */
  declare readonly problem: pulumi.Output<string>;
  /** Pods that shall have it, have it loaded, and are ready with it, at the end of the last `up` or `refresh`. */
  declare readonly wanted: pulumi.Output<number>;
  declare readonly loaded: pulumi.Output<number>;
  declare readonly ready: pulumi.Output<number>;

  constructor(name: string, args: AdapterRolloutArgs, opts?: pulumi.CustomResourceOptions) {
    const outputs = { serving: undefined, problem: undefined, wanted: undefined, loaded: undefined, ready: undefined };
    super(provider, name, { ...args, ...outputs }, deleted(name, opts), "AdapterRollout");
  }
}
