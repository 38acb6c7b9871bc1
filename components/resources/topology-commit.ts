import type * as pulumi from "@pulumi/pulumi";
import type { Phase } from "../plan/spec.ts";
import { deleted } from "./deleted.ts";
import type { AccountPartArgs } from "./part.ts";
import { ForwardedResource, MODULE, stub } from "./stub.ts";

const provider = stub("topology-commit");

export interface TopologyCommitArgs extends AccountPartArgs {
  /** Of the Topology. */
  topologyGeneration: pulumi.Input<number>;
  /** The tenant's Kubernetes namespace. */
  namespace: pulumi.Input<string>;
  phase: pulumi.Input<Phase>;
  /** How long buffers that left the topology have to drain, seconds: `lifecycle.pauseGracePeriodSeconds`. */
  graceSeconds: pulumi.Input<number>;
}

/**
 * The end of each change of the topology: every vertex has been updated, so nothing writes to the buffers that left it.
 * Waits until their readers have emptied them, then the topology counts as committed, and Pulumi may delete the readers.
 * Every vertex has to be named in `dependsOn`. Its deletion does nothing.
 */
export class TopologyCommit extends ForwardedResource {
  static readonly __pulumiType = `pulumi-nodejs:dynamic/${MODULE}:TopologyCommit`;

  constructor(name: string, args: TopologyCommitArgs, opts?: pulumi.CustomResourceOptions) {
    super(provider, name, { ...args }, deleted(name, opts), "TopologyCommit");
  }
}
