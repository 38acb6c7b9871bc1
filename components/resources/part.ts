import type * as pulumi from "@pulumi/pulumi";

/** Whose part a resource is. */
export interface TenantPartArgs {
  /** The platform's name. */
  platform: pulumi.Input<string>;
  /** The ledger's id. */
  owner: pulumi.Input<string>;
  /** The claim's `logicalName`. */
  logicalName: pulumi.Input<string>;
  /** The claim's `generation`. */
  generation: pulumi.Input<string>;
}

/** What lies inside a tenant's NATS account. */
export interface AccountPartArgs extends TenantPartArgs {
  /** The `account` of the tenant's NatsAccount. */
  account: pulumi.Input<string>;
}
