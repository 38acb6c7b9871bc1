import * as pulumi from "@pulumi/pulumi";
import { deleted } from "./deleted.ts";
import type { TenantPartArgs } from "./etcd-prefix.ts";
import { MODULE, stub } from "./stub.ts";

const provider = stub(() => import("ringfence/provider/v1/nats-account") as Promise<pulumi.dynamic.ResourceProvider>);

/** How much of JetStream an account may take. The servers reserve the bytes, whether they are used or not. */
export interface JetStreamArgs {
  /** Bytes for streams in memory. @default 0, streams are kept on disk */
  memoryBytes?: pulumi.Input<number>;
  /** Bytes for streams on disk. @default 1 GiB */
  diskBytes?: pulumi.Input<number>;
  /** @default 100 */
  streams?: pulumi.Input<number>;
  /** @default 1000 */
  consumers?: pulumi.Input<number>;
}

export interface NatsAccountArgs extends TenantPartArgs {
  /** Names of the users to make, one credentials text each. */
  users: pulumi.Input<pulumi.Input<string>[]>;
  jetStream: pulumi.Input<JetStreamArgs>;
}

/** A NATS account with its users. Its deletion revokes them all and waits until nobody is connected. */
export class NatsAccount extends pulumi.dynamic.Resource {
  static readonly __pulumiType = `pulumi-nodejs:dynamic/${MODULE}:NatsAccount`;
  /** The account's public key. */
  declare readonly account: pulumi.Output<string>;
  /** Secret: signs further users. */
  declare readonly seed: pulumi.Output<string>;
  /** Secret: user → text of its credentials file. */
  declare readonly creds: pulumi.Output<Record<string, string>>;
  /** The account's limits, as read back; `pulumi refresh` shows drift here. */
  declare readonly limits: pulumi.Output<Record<string, unknown>>;

  constructor(name: string, args: NatsAccountArgs, opts?: pulumi.CustomResourceOptions) {
    const outputs = {
      account: undefined,
      seed: undefined,
      creds: undefined,
      limits: undefined,
      revocations: undefined,
      imports: undefined,
      exports: undefined,
      others: undefined,
    };
    const secret = pulumi.mergeOptions(deleted(name, opts), { additionalSecretOutputs: ["seed", "creds"] });
    super(provider, name, { ...args, ...outputs }, secret, MODULE, "NatsAccount");
  }
}
