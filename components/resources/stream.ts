import type * as pulumi from "@pulumi/pulumi";
import type { BufferPlan } from "../plan/topology.ts";
import { deleted } from "./deleted.ts";
import type { AccountPartArgs } from "./part.ts";
import { ForwardedResource, MODULE, stub } from "./stub.ts";

const provider = stub("stream");

export interface StreamArgs extends AccountPartArgs {
  /** The buffer's name, also that of its subject and durable consumer. */
  name: pulumi.Input<string>;
  config: pulumi.Input<BufferPlan["config"]>;
  /** Of the buffer's plan. */
  digest: pulumi.Input<string>;
  /** Of the Topology. */
  topologyGeneration: pulumi.Input<number>;
}

/**
 * A buffer: a JetStream stream and its durable consumer in the tenant's account. Updated in place where JetStream can,
 * made anew where it must. What would take unread messages with it is refused, unless the Topology has `discard` or the
 * tenant is on its way out.
 */
export class Stream extends ForwardedResource {
  static readonly __pulumiType = `pulumi-nodejs:dynamic/${MODULE}:Stream`;

  constructor(name: string, args: StreamArgs, opts?: pulumi.CustomResourceOptions) {
    super(provider, name, { ...args }, deleted(name, opts), "Stream");
  }
}
