import type * as pulumi from "@pulumi/pulumi";
import { deleted } from "./deleted.ts";
import type { JetStreamArgs } from "./nats-account.ts";
import type { TenantPartArgs } from "./part.ts";
import { ForwardedResource, MODULE, stub } from "./stub.ts";

const provider = stub("retired-credentials");

export interface RetiredCredentialsArgs extends TenantPartArgs {
  /** The `username` of the tenant's EtcdPrefix. */
  username: pulumi.Input<string>;
  /** The `account` and the `signingKey` of its NatsAccount, and what that was given for `jetStream`. */
  account: pulumi.Input<string>;
  signingKey: pulumi.Input<string>;
  jetStream: pulumi.Input<JetStreamArgs>;
  /** The tenant's Kubernetes namespace. */
  namespace: pulumi.Input<string>;
  /** What the annotation `ringfence.dev/credentials` of its pods says once they have the present credentials. */
  credentials: pulumi.Input<string>;
}

/**
 * The end of each rotation: waits until no pod of the tenant has earlier credentials, then all but the present ones stop
 * working. Everything that uses them has to be named in `dependsOn`. Its deletion does nothing.
 */
export class RetiredCredentials extends ForwardedResource {
  static readonly __pulumiType = `pulumi-nodejs:dynamic/${MODULE}:RetiredCredentials`;

  constructor(name: string, args: RetiredCredentialsArgs, opts?: pulumi.CustomResourceOptions) {
    super(provider, name, { ...args }, deleted(name, opts), "RetiredCredentials");
  }
}
