import type * as pulumi from "@pulumi/pulumi";
import { deleted } from "./deleted.ts";
import type { AccountPartArgs } from "./part.ts";
import { ForwardedResource, MODULE, stub } from "./stub.ts";

const provider = stub("bucket");

export interface BucketArgs extends AccountPartArgs {
  /** The bucket's name, from the plan; its key-value store is `<name>_OT`. */
  name: pulumi.Input<string>;
  /** Of its stream. */
  replicas: pulumi.Input<number>;
  /** Of the bucket's plan. */
  digest: pulumi.Input<string>;
  /** Of the Topology. */
  topologyGeneration: pulumi.Input<number>;
}

/** A bucket of an edge, a source or a sink: a JetStream key-value store in the tenant's account. */
export class Bucket extends ForwardedResource {
  static readonly __pulumiType = `pulumi-nodejs:dynamic/${MODULE}:Bucket`;

  constructor(name: string, args: BucketArgs, opts?: pulumi.CustomResourceOptions) {
    super(provider, name, { ...args }, deleted(name, opts), "Bucket");
  }
}
