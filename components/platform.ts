import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { Access } from "./plan/access.ts";
import { InvalidSpec } from "./plan/problem.ts";
import { deleted } from "./resources/deleted.ts";
import { Ledger } from "./resources/ledger.ts";
import { resolveAccess } from "./tenancy/resolve-access.ts";

/** The authorities that signed a store's certificates. */
export interface Trust {
  /** PEM, one after another. No secret. */
  ca: pulumi.Input<string>;
}

export interface PlatformArgs {
  etcd: {
    /** As the admin's machine reaches them. */
    endpoints: pulumi.Input<pulumi.Input<string>[]>;
    /** As pods reach them. @default endpoints */
    clusterEndpoints?: pulumi.Input<pulumi.Input<string>[]>;
    /** What pods must trust. @default the authorities that their images trust */
    tls?: Trust;
  };
  nats: {
    /** As the admin's machine reaches them. */
    servers: pulumi.Input<pulumi.Input<string>[]>;
    /** As pods reach them. @default servers */
    clusterServers?: pulumi.Input<pulumi.Input<string>[]>;
    /** What pods must trust. @default the authorities that their images trust */
    tls?: Trust;
  };
  kubernetes?: {
    /** A path or the text of a kubeconfig. @default KUBECONFIG, or ~/.kube/config */
    kubeconfig?: pulumi.Input<string>;
    /** @default the kubeconfig's current context */
    context?: pulumi.Input<string>;
  };
}

/**
 * What pipelines share: an etcd, a NATS and a Kubernetes cluster. A program may hold several.
 *
 * A platform's name is also the name of its access: the addresses with the admin's credentials, which providers read
 * when they need them, from the file that RINGFENCE_PLATFORM names or else from the config key `ringfence:<name>`.
 */
export class Platform extends pulumi.ComponentResource {
  static readonly __pulumiType = "ringfence:index:Platform";
  /** The name of the access. */
  readonly access: string;
  readonly etcd: {
    endpoints: pulumi.Output<string[]>;
    clusterEndpoints: pulumi.Output<string[]>;
    /** What pods must trust; undefined where their images do already, and without TLS. */
    tls?: { ca: pulumi.Output<string> };
  };
  readonly nats: {
    servers: pulumi.Output<string[]>;
    clusterServers: pulumi.Output<string[]>;
    /** What pods must trust; undefined where their images do already, and without TLS. */
    tls?: { ca: pulumi.Output<string> };
  };
  /** The provider of the tenants' Kubernetes objects. */
  readonly kubernetes: k8s.Provider;
  /** The stack's owner id on this platform. */
  readonly ledger: Ledger;

  constructor(name: string, args: PlatformArgs, opts?: pulumi.ComponentResourceOptions) {
    super(Platform.__pulumiType, name, {}, deleted(name, opts));
    const { etcd, nats, kubernetes } = args;
    this.access = name;
    this.etcd = {
      endpoints: pulumi.output(etcd.endpoints),
      clusterEndpoints: pulumi.output(etcd.clusterEndpoints ?? etcd.endpoints),
      ...(etcd.tls && { tls: { ca: pulumi.output(etcd.tls.ca) } }),
    };
    this.nats = {
      servers: pulumi.output(nats.servers),
      clusterServers: pulumi.output(nats.clusterServers ?? nats.servers),
      ...(nats.tls && { tls: { ca: pulumi.output(nats.tls.ca) } }),
    };
    this.ledger = new Ledger(`${name}-ledger`, { platform: name }, { parent: this });
    this.kubernetes = new k8s.Provider(`${name}-kubernetes`, { ...kubernetes }, { parent: this });
    this.registerOutputs({ etcd: this.etcd, nats: this.nats, ledger: this.ledger.id });
  }

  /**
   * The platform with that name, its addresses taken from its access.
   * @param name @default "platform", that is, the config key `ringfence:platform`
   * @throws pulumi.RunError when the access is missing or malformed; it names the path, never a value that may be secret
   */
  static fromConfig(name = "platform", opts?: pulumi.ComponentResourceOptions): Platform {
    const { etcd, nats, kubernetes } = accessOf(name);
    const { kubeconfig, context } = kubernetes;
    return new Platform(
      name,
      {
        etcd: {
          endpoints: etcd.endpoints,
          ...(etcd.clusterEndpoints && { clusterEndpoints: etcd.clusterEndpoints }),
          ...(etcd.tls?.ca && { tls: { ca: etcd.tls.ca } }),
        },
        nats: {
          servers: nats.servers,
          ...(nats.clusterServers && { clusterServers: nats.clusterServers }),
          ...(nats.tls?.ca && { tls: { ca: nats.tls.ca } }),
        },
        kubernetes: {
          // A text has credentials in it, a path has none.
          ...(kubeconfig && { kubeconfig: kubeconfig.includes("\n") ? pulumi.secret(kubeconfig) : kubeconfig }),
          ...(context && { context }),
        },
      },
      opts,
    );
  }
}

function accessOf(name: string): Access {
  const config = new pulumi.Config("ringfence");
  try {
    return resolveAccess(name, (key) => config.get(key.slice("ringfence:".length)));
  } catch (error) {
    if (error instanceof InvalidSpec) throw new pulumi.RunError(error.message);
    throw error;
  }
}
