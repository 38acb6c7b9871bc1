import * as pulumi from "@pulumi/pulumi";
import { deleted } from "./deleted.ts";
import { MODULE, stub } from "./stub.ts";

const provider = stub(() => import("ringfence/provider/v1/ledger") as Promise<pulumi.dynamic.ResourceProvider>);

export interface LedgerArgs {
  /** The platform's name. */
  platform: pulumi.Input<string>;
}

/**
 * A stack's owner id on a platform: random, first to be created and last to be deleted. Its deletion releases every
 * claim that carries the id, those included that a killed run made and Pulumi's state never learnt of.
 */
export class Ledger extends pulumi.dynamic.Resource {
  static readonly __pulumiType = `pulumi-nodejs:dynamic/${MODULE}:Ledger`;

  constructor(name: string, args: LedgerArgs, opts?: pulumi.CustomResourceOptions) {
    super(provider, name, { ...args }, deleted(name, opts), MODULE, "Ledger");
  }
}
