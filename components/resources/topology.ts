import type * as pulumi from "@pulumi/pulumi";
import type { TopologyPlan } from "../plan/topology.ts";
import { deleted } from "./deleted.ts";
import type { TenantPartArgs } from "./part.ts";
import { ForwardedResource, MODULE, stub } from "./stub.ts";

const provider = stub("topology");

export interface TopologyArgs extends TenantPartArgs {
  /** The whole topology as it shall be, from `compile`. */
  plan: pulumi.Input<TopologyPlan>;
  /**
   * Let buffers that leave the topology, or have to be made anew, take their unread messages with them.
   * @default false, they are refused to go until they are drained
   */
  discard?: pulumi.Input<boolean> | undefined;
}

/**
 * The tenant's topology in the registry, written by compare-and-swap: whoever computed its plan from an older generation
 * than the registry's loses. Streams, buckets and vertices come after it, TopologyCommit after them.
 */
export class Topology extends ForwardedResource {
  static readonly __pulumiType = `pulumi-nodejs:dynamic/${MODULE}:Topology`;
  /** Counts the tenant's topologies. */
  declare readonly topologyGeneration: pulumi.Output<number>;
  /** The plan's. */
  declare readonly digest: pulumi.Output<string>;

  constructor(name: string, args: TopologyArgs, opts?: pulumi.CustomResourceOptions) {
    const outputs = { topologyGeneration: undefined, digest: undefined };
    super(provider, name, { ...args, ...outputs }, deleted(name, opts), "Topology");
  }
}
