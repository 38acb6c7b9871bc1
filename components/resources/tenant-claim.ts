import type * as pulumi from "@pulumi/pulumi";
import type { OnResidue } from "../plan/spec.ts";
import { deleted } from "./deleted.ts";
import { ForwardedResource, MODULE, stub } from "./stub.ts";

const provider = stub("tenant-claim");

export interface TenantClaimArgs {
  /** The platform's name. */
  platform: pulumi.Input<string>;
  /** The ledger's id. */
  owner: pulumi.Input<string>;
  /** `<realm>/<pipeline>`. */
  logicalName: pulumi.Input<string>;
  /** Where the claim is made, recorded for people and for `ringfence sweep`. */
  organization?: pulumi.Input<string> | undefined;
  project: pulumi.Input<string>;
  stack: pulumi.Input<string>;
  /** The Pulumi name of the tenant. */
  resource: pulumi.Input<string>;
  /** The namespace under which Dynamo would register: its keys at etcd's root are residue. */
  dynamoNamespace: pulumi.Input<string>;
  /** What to do when earlier deployments of the name left something behind. @default "fail" */
  onResidue?: pulumi.Input<OnResidue> | undefined;
  /** Take over what `ringfence adopt` registered under the name. @default false */
  adopt?: pulumi.Input<boolean> | undefined;
  /**
   * Let a change of the name, the platform or the owner remove the tenant and all of its data.
   * @default false, such a change is refused
   */
  allowReplace?: pulumi.Input<boolean> | undefined;
}

/**
 * The claim on a tenant's logical name, written by compare-and-swap before anything else of the tenant exists. A name
 * that equals, contains or lies within another live claim's is refused. Its deletion is the tenant's release.
 */
export class TenantClaim extends ForwardedResource {
  static readonly __pulumiType = `pulumi-nodejs:dynamic/${MODULE}:TenantClaim`;
  declare readonly logicalName: pulumi.Output<string>;
  /** Random, part of every physical name. */
  declare readonly generation: pulumi.Output<string>;
  /** The physical etcd prefix; ends in a slash. */
  declare readonly prefix: pulumi.Output<string>;
  /** The Kubernetes namespace. */
  declare readonly namespace: pulumi.Output<string>;

  constructor(name: string, args: TenantClaimArgs, opts?: pulumi.CustomResourceOptions) {
    const outputs = {
      generation: undefined,
      attempt: undefined,
      prefix: undefined,
      username: undefined,
      namespace: undefined,
    };
    super(provider, name, { ...args, ...outputs }, deleted(name, opts), "TenantClaim");
  }
}
