import * as pulumi from "@pulumi/pulumi";
import { deleted } from "./deleted.ts";
import type { TenantPartArgs } from "./part.ts";
import { ForwardedResource, MODULE, stub } from "./stub.ts";

const provider = stub("etcd-prefix");

export interface EtcdPrefixArgs extends TenantPartArgs {
  /** Any text; another one makes another user, see RetiredCredentials for the end of the earlier one. */
  rotation?: pulumi.Input<string> | undefined;
}

/** An etcd user and role, bound to the claim's physical prefix. Its deletion deletes the user: no write of its lands after that. */
export class EtcdPrefix extends ForwardedResource {
  static readonly __pulumiType = `pulumi-nodejs:dynamic/${MODULE}:EtcdPrefix`;
  declare readonly prefix: pulumi.Output<string>;
  declare readonly username: pulumi.Output<string>;
  /** The user's role. */
  declare readonly role: pulumi.Output<string>;
  /** Secret. */
  declare readonly password: pulumi.Output<string>;
  /** What the role may do, as read back; `pulumi refresh` shows drift here. */
  declare readonly permissions: pulumi.Output<string[]>;
  /** The user's roles, as read back. */
  declare readonly roles: pulumi.Output<string[]>;

  constructor(name: string, args: EtcdPrefixArgs, opts?: pulumi.CustomResourceOptions) {
    const outputs = {
      prefix: undefined,
      username: undefined,
      role: undefined,
      password: undefined,
      permissions: undefined,
      roles: undefined,
    };
    const secret = pulumi.mergeOptions(deleted(name, opts), { additionalSecretOutputs: ["password"] });
    super(provider, name, { ...args, ...outputs }, secret, "EtcdPrefix");
  }
}
