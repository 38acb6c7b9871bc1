import * as pulumi from "@pulumi/pulumi";
import { deleted } from "./deleted.ts";
import type { TenantPartArgs } from "./part.ts";
import { ForwardedResource, MODULE, stub } from "./stub.ts";

const provider = stub("nats-account");

/** How much of JetStream an account may take. The servers reserve the bytes, whether they are used or not. */
export interface JetStreamArgs {
  /** Bytes for streams in memory. @default 0, streams are kept on disk */
  memoryBytes?: pulumi.Input<number>;
  /** Bytes for streams on disk. @default 1 GiB */
  diskBytes?: pulumi.Input<number>;
  /** How many streams there may be. @default 100 */
  streams?: pulumi.Input<number>;
  /** How many consumers, of all streams together. @default 1000 */
  consumers?: pulumi.Input<number>;
}

export interface NatsAccountArgs extends TenantPartArgs {
  /** Names of the users to make, one credentials text each. */
  users: pulumi.Input<pulumi.Input<string>[]>;
  jetStream: pulumi.Input<JetStreamArgs>;
  /** Any text; another one makes another signing key and other users, see RetiredCredentials for the end of the earlier ones. */
  rotation?: pulumi.Input<string> | undefined;
}

/** A NATS account with its users. Its deletion revokes them all and waits until nobody is connected. */
export class NatsAccount extends ForwardedResource {
  static readonly __pulumiType = `pulumi-nodejs:dynamic/${MODULE}:NatsAccount`;
  /** The account's public key. */
  declare readonly account: pulumi.Output<string>;
  /** Secret: signs further users; stays when credentials are rotated, which ends what it has signed before. */
  declare readonly seed: pulumi.Output<string>;
  /** The public key that signs the users. */
  declare readonly signingKey: pulumi.Output<string>;
  /** Secret: signs further users until the next rotation. */
  declare readonly signingSeed: pulumi.Output<string>;
  /** Secret: user → text of its credentials file. */
  declare readonly creds: pulumi.Output<Record<string, string>>;
  /** The account's limits, as read back; `pulumi refresh` shows drift here. */
  declare readonly limits: pulumi.Output<Record<string, unknown>>;

  constructor(name: string, args: NatsAccountArgs, opts?: pulumi.CustomResourceOptions) {
    const outputs = {
      account: undefined,
      seed: undefined,
      signingKey: undefined,
      signingSeed: undefined,
      creds: undefined,
      limits: undefined,
      revocations: undefined,
      imports: undefined,
      exports: undefined,
      others: undefined,
    };
    const secret = pulumi.mergeOptions(deleted(name, opts), {
      additionalSecretOutputs: ["seed", "signingSeed", "creds"],
    });
    super(provider, name, { ...args, ...outputs }, secret, "NatsAccount");
  }
}
