import type * as pulumi from "@pulumi/pulumi";
import { deleted } from "./deleted.ts";
import { ForwardedResource, MODULE, stub } from "./stub.ts";

const provider = stub("ledger");

export interface LedgerArgs {
  /** The platform's name. */
  platform: pulumi.Input<string>;
}

/**
 * A stack's owner id on a platform: random, first to be created and last to be deleted. Its deletion releases every
 * claim that carries the id, those included that a killed run made and Pulumi's state never learnt of.
 */
export class Ledger extends ForwardedResource {
  static readonly __pulumiType = `pulumi-nodejs:dynamic/${MODULE}:Ledger`;

  constructor(name: string, args: LedgerArgs, opts?: pulumi.CustomResourceOptions) {
    super(provider, name, { ...args }, deleted(name, opts), "Ledger");
  }
}
