import type * as pulumi from "@pulumi/pulumi";
import type { Phase } from "../plan/spec.ts";
import { deleted } from "./deleted.ts";
import type { AccountPartArgs } from "./part.ts";
import { ForwardedResource, MODULE, stub } from "./stub.ts";

const provider = stub("drain");

export interface DrainArgs extends AccountPartArgs {
  /** The tenant's Kubernetes namespace. */
  namespace: pulumi.Input<string>;
  phase: pulumi.Input<Phase>;
  /** Names of the vertices that are sources. */
  sources: pulumi.Input<pulumi.Input<string>[]>;
  /** Names of the buffers. */
  buffers: pulumi.Input<pulumi.Input<string>[]>;
  /** How long a pause waits at most, seconds: `lifecycle.pauseGracePeriodSeconds`. */
  graceSeconds: pulumi.Input<number>;
  /** The same of a deletion: `lifecycle.deletionGracePeriodSeconds`. */
  deletionGraceSeconds: pulumi.Input<number>;
}

/**
 * The gate between the sources and the rest. When the phase becomes Paused, and when it is deleted, it waits until the
 * sources' pods are gone and no buffer has a message that is unread or not acknowledged, at most until the grace is over.
 */
export class Drain extends ForwardedResource {
  static readonly __pulumiType = `pulumi-nodejs:dynamic/${MODULE}:Drain`;
  /** `running`, `drained`, or `timed out, …` with what was left. */
  declare readonly outcome: pulumi.Output<string>;

  constructor(name: string, args: DrainArgs, opts?: pulumi.CustomResourceOptions) {
    super(provider, name, { ...args, outcome: undefined }, deleted(name, opts), "Drain");
  }
}
