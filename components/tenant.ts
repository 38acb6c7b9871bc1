import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { boundary } from "./boundary.ts";
import type { PodConnection } from "./connection.ts";
import type { EtcdProxyArgs } from "./etcd-proxy.ts";
import { digestOf } from "./plan/digest.ts";
import { GENERATION_LABEL, LOGICAL_NAME_ANNOTATION, OWNER_LABEL, PIPELINE_LABEL } from "./plan/labels.ts";
import { namespaceName } from "./plan/names.ts";
import type { NetworkOpening } from "./plan/openings.ts";
import { type Planes, planesOf } from "./plan/planes.ts";
import type { OnResidue } from "./plan/spec.ts";
import type { Platform } from "./platform.ts";
import type { QuotaArgs } from "./quota.ts";
import { deleted } from "./resources/deleted.ts";
import { EtcdPrefix } from "./resources/etcd-prefix.ts";
import { type JetStreamArgs, NatsAccount } from "./resources/nats-account.ts";
import type { TenantPartArgs } from "./resources/part.ts";
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
   * What to do, when the tenant is claimed, about what earlier deployments of the name left behind: older generations, NATS
   * accounts and Kubernetes namespaces that no claim accounts for, keys of its Dynamo namespace at etcd's root. `purge`
   * removes it as a destroy would, `adopt` takes it over, `fail` counts and names it. @default "fail"
   */
  onResidue?: pulumi.Input<OnResidue>;
  /**
   * Take over the deployment that `ringfence adopt` registered under the logical name: its data go with this tenant.
   * @default false
   */
  adopt?: pulumi.Input<boolean>;
  /**
   * Let a change of `logicalName`, or of the platform, remove this tenant with all its data and make another one.
   * @default false, such a change is refused
   */
  allowReplace?: pulumi.Input<boolean> | undefined;
  /**
   * Any text, for example a date: another one than before makes another etcd user, other NATS users and another key that
   * signs them. The earlier ones are good until RetiredCredentials ends them, as a Pipeline has it. @default no rotation
   */
  rotation?: pulumi.Input<string> | undefined;
  /** How much of JetStream the tenant may take; `{}` for the defaults of each field. */
  jetStream: pulumi.Input<JetStreamArgs>;
  /**
   * Over what the vertices find each other and talk: they get credentials and ways for these planes alone.
   * @default brokered: etcd and NATS
   */
  planes?: Planes;
  /**
   * What keeps the tenant's keys apart in etcd. `rbac`: its role may touch its prefix alone, and its software puts the prefix
   * before every key. `proxy`: a proxy does that for it, as software with fixed keys needs; the role holds there, too.
   * Without effect where instances are not found through etcd. See docs/threat-model.md. @default "rbac"
   */
  isolation?: "proxy" | "rbac";
  /** The proxies, with `isolation: "proxy"`. */
  proxy?: EtcdProxyArgs;
  /** What the vertices accept and make beside what the planes need. @default nothing */
  openings?: NetworkOpening[];
  /** What the namespace may take of the cluster. @default any number of GPUs */
  quota?: QuotaArgs;
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
  /** With these a resource says whose part it is. */
  readonly part: TenantPartArgs;
  /** Random, part of every physical name. */
  readonly generation: pulumi.Output<string>;
  /** The Kubernetes namespace; known once it exists. */
  readonly namespace: pulumi.Output<string>;
  readonly etcd: { prefix: pulumi.Output<string>; username: pulumi.Output<string>; password: pulumi.Output<string> };
  /** The public keys of the account and of what signs its users, and the credentials of a user for people. */
  readonly nats: { account: pulumi.Output<string>; signingKey: pulumi.Output<string>; creds: pulumi.Output<string> };
  /** Secret: signs further users of the account. A rotation ends those that it has signed before; the seed stays. */
  readonly accountSeed: pulumi.Output<string>;
  /** Changes when a credential does. Not a secret: a hash of random ones. */
  readonly credentialsDigest: pulumi.Output<string>;
  /** What the pods of each vertex get, by the vertex' name. */
  readonly pods: Record<string, PodConnection>;
  /** Of each vertex' Service; with native discovery every vertex needs one. */
  readonly serviceLabels: Record<string, string>;
  /** What has to be there before a pod is, and goes after the last one: the network's policies, the proxies. */
  readonly guards: pulumi.Resource[];

  /** @throws pulumi.ResourceError for options that would skip its release: `retainOnDelete`, `deletedWith` */
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
        allowReplace: args.allowReplace,
      },
      parent,
    );
    // A preview knows the id of a claim that is only updated, and none of its outputs.
    this.generation = claim.id.apply((id) => id.slice(id.indexOf("#") + 1));
    const part = { ...owner, generation: this.generation };
    this.part = part;
    const { rotation, jetStream } = args;
    const prefix = new EtcdPrefix(`${name}-etcd`, { ...part, rotation }, parent);
    const account = new NatsAccount(
      `${name}-nats`,
      { ...part, users: [...args.users, CONSOLE_USER], jetStream, rotation },
      parent,
    );
    this.etcd = { prefix: prefix.prefix, username: prefix.username, password: prefix.password };
    // Its id is its key, and of an account that is only updated a preview knows the id and nothing else.
    const { id: key, signingKey } = account;
    this.nats = { account: key, signingKey, creds: credsOf(account, CONSOLE_USER) };
    this.accountSeed = pulumi.secret(account.seed);
    this.credentialsDigest = pulumi.unsecret(pulumi.all([prefix.password, account.creds]).apply(digestOf));

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

    const { guards, pods, serviceLabels } = boundary(
      { name, namespace: this.namespace, labels, options: inCluster },
      {
        platform,
        vertices: args.users,
        planes: args.planes ?? planesOf("brokered"),
        isolation: args.isolation ?? "rbac",
        proxy: args.proxy,
        openings: args.openings ?? [],
        quota: args.quota,
        etcd: this.etcd,
        creds: (vertex) => credsOf(account, vertex),
        credentialsDigest: this.credentialsDigest,
      },
    );
    this.guards = guards;
    this.pods = pods;
    this.serviceLabels = serviceLabels;
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
