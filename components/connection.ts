/** How the pods of a vertex reach their tenant's stores, under the names that Dynamo reads. */
import type * as k8s from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";
import { type PodTrust, TRUST_ANNOTATION } from "./inside.ts";

/** What the pods of one vertex get from their tenant: to be spread into their template. */
export interface PodConnection {
  /** @default the namespace's own, which may do nothing */
  serviceAccountName?: pulumi.Output<string>;
  automountServiceAccountToken: boolean;
  /** The connection settings of the planes in use, and of no other. */
  env: Array<pulumi.Input<k8s.types.input.core.v1.EnvVar>>;
  volumes: Array<pulumi.Input<k8s.types.input.core.v1.Volume>>;
  volumeMounts: Array<pulumi.Input<k8s.types.input.core.v1.VolumeMount>>;
  /** Of the pod. They change when something does that pods read once, at their start. */
  annotations: Record<string, pulumi.Input<string>>;
}

const fromField = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });

/** Which pod it is: whoever asks the API server has to say that. */
export const POD_IDENTITY = [
  fromField("POD_NAME", "metadata.name"),
  fromField("POD_NAMESPACE", "metadata.namespace"),
  fromField("POD_UID", "metadata.uid"),
];

/** Where a vertex finds its NATS credentials file. */
const CREDS_DIRECTORY = "/var/run/ringfence/nats";

export interface ConnectionArgs {
  /** Through etcd, when instances are found there. */
  etcd?: {
    endpoints: pulumi.Output<string[]>;
    secret: k8s.core.v1.Secret;
    /** The prefix that every key must begin with. @default none: there is a proxy before etcd that puts it there */
    prefix?: pulumi.Output<string>;
  };
  /** Through NATS, when it carries requests or events. */
  nats?: { servers: pulumi.Output<string[]>; secret: k8s.core.v1.Secret };
  /** As whom pods ask the API server, when instances are found there. */
  account?: pulumi.Output<string>;
  trust: PodTrust | undefined;
}

/** @returns what each of the vertex' pods needs, for the stores that were given */
export function connect({ etcd, nats, account, trust }: ConnectionArgs): PodConnection {
  const env: PodConnection["env"] = [];
  const volumes: PodConnection["volumes"] = [];
  const volumeMounts: PodConnection["volumeMounts"] = [];
  // A proxy is inside the namespace and has no certificate; it is the one that trusts etcd's.
  const etcdCA = etcd?.prefix && trust?.paths.etcd;
  const natsCA = nats && trust?.paths.nats;
  if (etcd) {
    const fromSecret = (key: string) => ({ secretKeyRef: { name: etcd.secret.metadata.name, key } });
    if (etcd.prefix) env.push({ name: "RINGFENCE_ETCD_PREFIX", value: etcd.prefix });
    env.push(
      { name: "ETCD_ENDPOINTS", value: etcd.endpoints.apply((endpoints) => endpoints.join(",")) },
      { name: "ETCD_AUTH_USERNAME", valueFrom: fromSecret("username") },
      { name: "ETCD_AUTH_PASSWORD", valueFrom: fromSecret("password") },
    );
    // Not ETCD_AUTH_CA: with it Dynamo logs in by certificate, and never by password.
    if (etcdCA) env.push({ name: "RINGFENCE_ETCD_CA_PATH", value: etcdCA });
  }
  if (nats) {
    env.push(
      { name: "NATS_SERVER", value: nats.servers.apply((servers) => servers.join(",")) },
      { name: "NATS_AUTH_CREDENTIALS_FILE", value: `${CREDS_DIRECTORY}/nats.creds` },
    );
    if (natsCA) env.push({ name: "NATS_TLS_CA_CERT_PATH", value: natsCA });
    volumes.push({ name: "nats", secret: { secretName: nats.secret.metadata.name } });
    volumeMounts.push({ name: "nats", mountPath: CREDS_DIRECTORY, readOnly: true });
  }
  if (account) env.push(...POD_IDENTITY);
  const trusts = etcdCA || natsCA ? trust : undefined;
  if (trusts) {
    volumes.push(trusts.volume);
    volumeMounts.push(trusts.mount);
  }
  return {
    ...(account && { serviceAccountName: account }),
    automountServiceAccountToken: account !== undefined,
    env,
    volumes,
    volumeMounts,
    annotations: trusts ? { [TRUST_ANNOTATION]: trusts.digest } : {},
  };
}
