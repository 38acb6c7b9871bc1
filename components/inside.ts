/** What the objects in a tenant's namespace share. */
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { digestOf } from "./plan/digest.ts";

/** Where a tenant's objects go. */
export interface Inside {
  /** The tenant's Pulumi name, with which its objects' Pulumi names begin. */
  name: string;
  namespace: pulumi.Output<string>;
  /** Of every object of the tenant. */
  labels: Record<string, pulumi.Input<string>>;
  options: pulumi.CustomResourceOptions;
}

/** How pods trust stores whose certificates no public CA has signed. */
export interface PodTrust {
  /** Where a pod that has the volume finds a store's CA, in PEM; none for a store that needs no trust. */
  paths: { etcd?: string; nats?: string };
  volume: k8s.types.input.core.v1.Volume;
  mount: k8s.types.input.core.v1.VolumeMount;
  /** Of all of them: pods read a CA once, at their start. */
  digest: pulumi.Output<string>;
}

type CAs = { [store in "etcd" | "nats"]?: pulumi.Input<string> | undefined };

/** On pods that trust a CA: they change when it does. */
export const TRUST_ANNOTATION = "ringfence.dev/trust";

const CA_DIRECTORY = "/var/run/ringfence/ca";

/** Puts the stores' CAs where the tenant's pods can mount them; nothing when there are none. */
export function trustIn({ name, namespace, labels, options }: Inside, cas: CAs): PodTrust | undefined {
  const given = (["etcd", "nats"] as const).flatMap((store) => {
    const ca = cas[store];
    return ca === undefined ? [] : [[store, ca] as const];
  });
  if (given.length === 0) return undefined;
  const files = given.map(([store, ca]): [string, pulumi.Input<string>] => [`${store}.crt`, ca]);
  const map = new k8s.core.v1.ConfigMap(
    `${name}-platform-ca`,
    { metadata: { name: "platform-ca", namespace, labels }, data: Object.fromEntries(files) },
    options,
  );
  return {
    paths: Object.fromEntries(given.map(([store]) => [store, `${CA_DIRECTORY}/${store}.crt`])),
    volume: { name: "platform-ca", configMap: { name: map.metadata.name } },
    mount: { name: "platform-ca", mountPath: CA_DIRECTORY, readOnly: true },
    digest: pulumi.output(given).apply(digestOf),
  };
}
