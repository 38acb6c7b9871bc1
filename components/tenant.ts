import { createHash } from "node:crypto";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import {
  CREDENTIALS_ANNOTATION,
  GENERATION_LABEL,
  LOGICAL_NAME_ANNOTATION,
  OWNER_LABEL,
  PIPELINE_LABEL,
} from "./plan/labels.ts";
import { namespaceName } from "./plan/names.ts";
import type { OnResidue } from "./plan/spec.ts";
import type { Platform } from "./platform.ts";
import { deleted } from "./resources/deleted.ts";
import { EtcdPrefix } from "./resources/etcd-prefix.ts";
import { type JetStreamArgs, NatsAccount } from "./resources/nats-account.ts";
import { TenantClaim } from "./resources/tenant-claim.ts";

export interface TenantArgs {
  platform: Platform;
  /** `<realm>/<pipeline>`, under which the tenant is claimed on the platform. */
  logicalName: pulumi.Input<string>;
  /** The pipeline's name, as a label of the tenant's objects. */
  pipeline: pulumi.Input<string>;
  /** Names of the vertices: each gets a NATS user and a Secret of its own. */
  users: string[];
  /** The namespace under which Dynamo would register. @default pipeline */
  dynamoNamespace?: pulumi.Input<string>;
  /**
   * What to do, when the tenant is claimed, about what earlier deployments of the name left behind: older generations, NATS accounts and Kubernetes namespaces that
   * no claim accounts for, keys of its Dynamo namespace at etcd's root. `purge` removes it as a destroy would, `adopt`
   * takes it over, `fail` counts and names it. @default "fail"
   */
  onResidue?: pulumi.Input<OnResidue>;
  /** Take over the deployment that `ringfence adopt` registered under the logical name: its data go with this tenant. @default false */
  adopt?: pulumi.Input<boolean>;
  /** How much of JetStream the tenant may take. */
  jetStream: pulumi.Input<JetStreamArgs>;
}

/** For people: a NATS user beside the vertices'. No vertex can have its name, for a label does not begin with `_`. */
const CONSOLE_USER = "_console";

/**
 * A pipeline's boundary: a Kubernetes namespace, an etcd prefix and a NATS account, held by one claim. Destroying it
 * ends in a verified zero, see docs/protocol.md.
 */
export class Tenant extends pulumi.ComponentResource {
  static readonly __pulumiType = "ringfence:index:Tenant";
  readonly platform: Platform;
  /** Random, part of every physical name. */
  readonly generation: pulumi.Output<string>;
  /** The Kubernetes namespace; known once it exists. */
  readonly namespace: pulumi.Output<string>;
  readonly etcd: { prefix: pulumi.Output<string>; username: pulumi.Output<string>; password: pulumi.Output<string> };
  /** The account's public key, and the credentials of a user for people. */
  readonly nats: { account: pulumi.Output<string>; creds: pulumi.Output<string> };
  /** Changes when a credential does. Not a secret: a hash of random ones. */
  readonly credentialsDigest: pulumi.Output<string>;
  /** The Secret with `username` and `password` for etcd. */
  readonly etcdSecret: k8s.core.v1.Secret;
  /** The Secret of each vertex with its NATS credentials file, `nats.creds`. */
  readonly natsSecrets: Record<string, k8s.core.v1.Secret>;

  constructor(name: string, args: TenantArgs, opts?: pulumi.ComponentResourceOptions) {
    super(Tenant.__pulumiType, name, {}, deleted(name, opts));
    const { platform, logicalName } = args;
    const parent = { parent: this };
    this.platform = platform;

    const owner = { platform: platform.access, owner: platform.ledger.id, logicalName };
    const claim = new TenantClaim(
      `${name}-claim`,
      {
        ...owner,
        organization: organization(),
        project: pulumi.getProject(),
        stack: pulumi.getStack(),
        resource: name,
        dynamoNamespace: args.dynamoNamespace ?? args.pipeline,
        onResidue: args.onResidue,
        adopt: args.adopt,
      },
      parent,
    );
    // A preview knows the id of a claim that is only updated, and none of its outputs.
    this.generation = claim.id.apply((id) => id.slice(id.indexOf("#") + 1));
    const part = { ...owner, generation: this.generation };
    const prefix = new EtcdPrefix(`${name}-etcd`, part, parent);
    const account = new NatsAccount(
      `${name}-nats`,
      { ...part, users: [...args.users, CONSOLE_USER], jetStream: args.jetStream },
      parent,
    );
    this.etcd = { prefix: prefix.prefix, username: prefix.username, password: prefix.password };
    this.nats = { account: account.account, creds: credsOf(account, CONSOLE_USER) };
    this.credentialsDigest = pulumi.unsecret(
      pulumi
        .all([prefix.password, account.creds])
        .apply((secrets) => createHash("sha256").update(JSON.stringify(secrets)).digest("hex").slice(0, 16)),
    );

    const labels = { [PIPELINE_LABEL]: args.pipeline, [GENERATION_LABEL]: this.generation };
    const inCluster = { parent: this, provider: platform.kubernetes };
    const namespace = new k8s.core.v1.Namespace(
      `${name}-namespace`,
      {
        metadata: {
          name: pulumi
            .all([logicalName, this.generation])
            .apply(([tenant, generation]) => namespaceName(tenant, generation)),
          labels: { ...labels, [OWNER_LABEL]: platform.ledger.id },
          annotations: { [LOGICAL_NAME_ANNOTATION]: logicalName },
        },
      },
      // Deleted first, so that pods are gone before credentials die and data is purged.
      { ...inCluster, dependsOn: [prefix, account] },
    );
    this.namespace = namespace.metadata.name;
    const metadata = (secret: string) => ({
      name: secret,
      namespace: this.namespace,
      labels,
      annotations: { [CREDENTIALS_ANNOTATION]: this.credentialsDigest },
    });
    this.etcdSecret = new k8s.core.v1.Secret(
      `${name}-etcd-secret`,
      { metadata: metadata("etcd"), stringData: { username: prefix.username, password: prefix.password } },
      inCluster,
    );
    this.natsSecrets = Object.fromEntries(
      args.users.map((user) => [
        user,
        new k8s.core.v1.Secret(
          `${name}.${user}-nats-secret`,
          { metadata: metadata(`nats-${user}`), stringData: { "nats.creds": credsOf(account, user) } },
          inCluster,
        ),
      ]),
    );
    this.registerOutputs({ namespace: this.namespace, generation: this.generation });
  }
}

/** Unit tests with mocks have none, unless they set it. */
function organization(): string | undefined {
  try {
    return pulumi.getOrganization();
  } catch {
    return undefined;
  }
}

const credsOf = (account: NatsAccount, user: string): pulumi.Output<string> =>
  pulumi.secret(account.creds.apply((creds) => creds[user] as string));
